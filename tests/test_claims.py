"""Claims: data are planted for and against each, and such that nothing can be told.

docs/claims.md is written anew where it does not say what the claims say.
"""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from known import VIEWS, known

import hiddenscope as hs
from hiddenscope import analysis, figures
from hiddenscope.analysis.verdicts import CLAIMS, COLUMNS, FAILS, HOLDS, UNTOLD, Seen, judge
from hiddenscope.analysis.verdicts.massive import token_kind
from hiddenscope.errors import HiddenscopeWarning, ViewError

if TYPE_CHECKING:
    from hiddenscope.analysis.verdicts import Verdict
    from hiddenscope.profiles import Profile

BY_NAME = {claim.name: claim for claim in CLAIMS}
TOKENS, CHANNELS, WINDOWS = 120, 48, 4


def told(profile: Profile, name: str, view: str = "rest") -> Verdict:
    return judge(BY_NAME[name], Seen(profile.stream, view))


def measured(
    blocks: list[np.ndarray],
    embed: np.ndarray | None = None,
    final_norm: np.ndarray | None = None,
    *,
    causal: bool = False,
) -> Profile:
    """Measure states ``[batch, pos, channel]`` of the blocks in order, and of the ends."""
    ends = {"embed": embed} if embed is not None else {}
    states = ends | {f"block.{i}.resid_post": x for i, x in enumerate(blocks)}
    if final_norm is not None:
        states["final_norm"] = final_norm
    with warnings.catch_warnings():
        # Values that are not finite and channels that do not vary are meant.
        warnings.simplefilter("ignore", HiddenscopeWarning)
        return hs.from_states({k: x.astype(np.float32) for k, x in states.items()}, causal=causal)


def noise(seed: int = 0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(WINDOWS, TOKENS, CHANNELS))


def scaled(*scales: float) -> list[np.ndarray]:
    """Return blocks of independent normal values of these deviations."""
    return [noise(i, scale) for i, scale in enumerate(scales)]


def width(x: np.ndarray) -> float:
    low, high = np.quantile(x, [0.158655, 0.841345])
    return (high - low) / 2


def without(profile: Profile, group: str) -> Profile:
    """Return the profile without a group, as an older one may be."""
    tree = profile.dataset.copy(deep=True)
    del tree["residual"][group]
    return type(profile)(tree)


class TestSpread:
    @pytest.mark.parametrize(("embed", "verdict"), [(1.9, HOLDS), (2.1, FAILS)])
    def test_embeddings_are_narrow_against_the_widest_block(
        self, embed: float, verdict: str
    ) -> None:
        x, blocks = noise(9, embed), scaled(1, 3, 2)
        found = told(measured(blocks, x), "embeddings_narrow")
        assert found.verdict == verdict
        assert found.numbers["share"] == pytest.approx(width(x) / width(blocks[1]), rel=0.01)
        assert found.numbers["widest"] == "block.1.resid_post"
        assert found.numbers["std"] == pytest.approx(x.std(ddof=1), rel=1e-6)

    def test_one_massive_value_makes_no_block_wide(self) -> None:
        blocks = scaled(1, 1, 1)
        blocks[1][0, 7, 3] = 1e6
        found = told(measured(blocks, noise(9, 0.9)), "embeddings_narrow")
        assert found.verdict == FAILS
        assert found.numbers["share"] == pytest.approx(0.9, abs=0.03)

    @pytest.mark.parametrize(
        ("scales", "verdict"),
        [
            ((1, 1.4, 1.9, 2.6, 0.1), HOLDS),  # the last is another claim's
            ((1, 5, 1.2, 4, 1.6, 9), FAILS),  # not by and by
            ((1, 1.02, 1.3, 1.4, 9), FAILS),  # not by much
            ((3, 2.5, 2, 1), FAILS),
            ((1, 2, 3), UNTOLD),
        ],
    )
    def test_the_spread_grows(self, scales: tuple[float, ...], verdict: str) -> None:
        blocks = scaled(*scales)
        found = told(measured(blocks), "spread_grows")
        assert found.verdict == verdict
        if verdict == UNTOLD:
            assert "needs 4 blocks or more, and here there are 3" in found.finding
            return
        widths = pd.Series([width(x) for x in blocks[:-1]])
        assert found.numbers["ratio"] == pytest.approx(widths.iloc[-1] / widths[0], rel=0.01)
        rank = widths.corr(pd.Series(range(len(widths))), method="spearman")
        assert found.numbers["rank_correlation"] == pytest.approx(rank)

    def test_an_order_that_is_not_strict_is_not_called_so(self) -> None:
        scales = [1.1**i for i in range(31)]
        assert told(measured(scaled(*scales, 1)), "spread_grows").finding.endswith("depth 1")
        scales[10:12] = scales[11], scales[10]
        assert told(measured(scaled(*scales, 1)), "spread_grows").finding.endswith("depth 0.999")

    def test_extremes_grow_apart_from_the_spread(self) -> None:
        blocks = scaled(1, 1, 1, 1, 1)
        for i, x in enumerate(blocks):
            x[:, ::20, 5] = 10 + 5 * i
        p = measured(blocks)
        assert told(p, "spread_grows").verdict == FAILS
        found = told(p, "extremes_grow")
        assert found.verdict == HOLDS
        assert found.numbers["ratio"] == pytest.approx(25 / 10, rel=0.01)
        assert told(measured(scaled(1, 1, 1, 1)), "extremes_grow").verdict == FAILS
        old = told(without(p, "norms"), "extremes_grow")
        assert old.verdict == UNTOLD
        assert "'norms'" in old.finding

    @pytest.mark.parametrize(
        ("last_block", "final_norm", "verdict", "explained"),
        [
            (20, 1, HOLDS, 1.0),
            (5, 1, HOLDS, np.log(5) / np.log(10)),
            (5, 8, FAILS, np.log(8 / 5) / np.log(8 / 10)),
            (20, 30, FAILS, None),
            (4, None, HOLDS, None),
            (8, None, FAILS, None),
        ],
    )
    def test_the_end_is_narrow_and_what_the_final_norm_explains(
        self, last_block: float, final_norm: float | None, verdict: str, explained: float | None
    ) -> None:
        end = None if final_norm is None else noise(8, final_norm)
        found = told(measured(scaled(1, 10, last_block), final_norm=end), "end_narrow")
        assert found.verdict == verdict
        part = found.numbers["explained_by_final_norm"]
        if explained is None:
            assert part is None
        else:
            assert part == pytest.approx(explained, abs=0.03)
        if explained and explained < 0:
            assert "makes it wider" in found.finding

    def test_the_end_of_a_single_block_cannot_be_told(self) -> None:
        assert told(measured(scaled(1)), "end_narrow").verdict == UNTOLD


class TestSharing:
    def chain(self, keep: list[float], seed: int = 3) -> list[np.ndarray]:
        """Return blocks of which each keeps this share of the one before."""
        blocks = [noise(seed)]
        for i, share in enumerate(keep):
            blocks.append(share * blocks[-1] + np.sqrt(1 - share**2) * noise(seed + 1 + i))
        return blocks

    def r2(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1] ** 2)

    @pytest.mark.parametrize("site", ["embed", "final_norm"])
    def test_an_end_shares_little_with_the_middle(self, site: str) -> None:
        name = "embeddings_apart" if site == "embed" else "end_apart"
        blocks = self.chain([0.9] * 5)
        for end, verdict in ((noise(99), HOLDS), (blocks[2] + 0.1 * noise(98), FAILS)):
            found = told(measured(blocks, **{site: end}), name)
            assert found.verdict == verdict
            middle = blocks[1:-1]
            own = np.median([self.r2(end, x) for x in middle])
            pairs = [self.r2(x, y) for i, x in enumerate(middle) for y in middle[i + 1 :]]
            assert found.numbers["site"] == site
            assert found.numbers["r2"] == pytest.approx(own, abs=1e-6)
            assert found.numbers["r2_among_middle"] == pytest.approx(np.median(pairs), abs=1e-6)

    def test_without_a_final_norm_the_end_is_the_last_block(self) -> None:
        blocks = [*self.chain([0.9] * 4), noise(77)]
        found = told(measured(blocks), "end_apart")
        assert (found.verdict, found.numbers["site"]) == (HOLDS, "block.5.resid_post")

    def test_ends_cannot_be_told_of_few_blocks_or_without_them(self) -> None:
        few = measured(self.chain([0.9] * 2), noise(99), noise(98))
        assert told(few, "embeddings_apart").verdict == UNTOLD
        assert told(few, "end_apart").verdict == UNTOLD
        missing = told(measured(self.chain([0.9] * 4)), "embeddings_apart")
        assert (missing.verdict, missing.finding) == (UNTOLD, "embed was not measured")
        still = measured([np.ones_like(x) for x in self.chain([0.9] * 4)], noise(9))
        assert "do not vary" in told(still, "embeddings_apart").finding

    def test_neighbours_change_gradually_until_one_breaks(self) -> None:
        smooth = told(measured(self.chain([0.9] * 5)), "neighbours_gradual")
        assert smooth.verdict == HOLDS
        blocks = self.chain([0.9, 0.9, 0.3, 0.9, 0.9])
        broken = told(measured(blocks), "neighbours_gradual")
        assert broken.verdict == FAILS
        assert broken.numbers["step"] == ["block.2.resid_post", "block.3.resid_post"]
        lowest = self.r2(blocks[2], blocks[3])
        assert broken.numbers["lowest"] == pytest.approx(lowest, abs=1e-6)
        half = told(measured(self.chain([0.9, 0.9, 0.75, 0.9, 0.9])), "neighbours_gradual")
        assert (half.verdict, half.numbers["lowest"]) == (FAILS, pytest.approx(0.56, abs=0.03))
        assert told(measured(scaled(1)), "neighbours_gradual").verdict == UNTOLD
        flat = [np.ones_like(noise()), noise(1), noise(2)]
        assert "do not vary" in told(measured(flat), "neighbours_gradual").finding

    def test_a_loud_channel_makes_neighbours_look_alike(self) -> None:
        blocks = scaled(1, 1, 1, 1, 1)
        for x in blocks:
            x[..., 7] += 60
        found = told(measured(blocks), "neighbours_gradual")
        assert found.verdict == HOLDS
        assert 7 in found.numbers["loudest"]
        rest = [np.delete(x, found.numbers["loudest"], 2) for x in blocks]
        lowest = min(self.r2(x, y) for x, y in itertools.pairwise(rest))
        assert found.numbers["lowest_without_loudest"] == pytest.approx(lowest, abs=1e-6)
        assert found.numbers["lowest_without_loudest"] < 0.01

    def test_one_step_is_sudden(self) -> None:
        found = told(measured(self.chain([0.95, 0.95, 0.95, 0.3, 0.95])), "one_step_sudden")
        assert found.verdict == HOLDS
        assert found.numbers["step"] == ["block.3.resid_post", "block.4.resid_post"]
        assert told(measured(self.chain([0.9] * 5)), "one_step_sudden").verdict == FAILS
        assert told(measured(self.chain([0.9] * 2)), "one_step_sudden").verdict == UNTOLD
        same = [noise()] * 5
        assert told(measured(same), "one_step_sudden").verdict == FAILS


class TestFirstToken:
    @pytest.mark.parametrize(
        ("times", "out", "verdict"),
        [
            ((1, 1, 10, 30, 10, 1), [2, 3, 4], HOLDS),
            ((1, 1, 1, 30, 1, 1), [3], FAILS),  # at one block of six
            ((1.5,) * 6, [], FAILS),
        ],
    )
    def test_it_is_an_outlier_at_some_blocks(
        self, times: tuple[float, ...], out: list[int], verdict: str
    ) -> None:
        blocks = scaled(*[1.0] * len(times))
        for x, factor in zip(blocks, times, strict=True):
            x[:, 0] *= factor
        found = told(measured(blocks, causal=True), "first_token_outlying")
        assert (found.verdict, found.numbers["blocks"]) == (verdict, out)
        l2 = [np.median(np.linalg.norm(x, axis=2)[:, 0]) for x in blocks]
        others = [np.median(np.linalg.norm(x, axis=2)[:, 1:]) for x in blocks]
        most = np.max(np.divide(l2, others))
        assert found.numbers["norm_times"] == pytest.approx(most, rel=0.02)

    def test_it_is_held_against_all_others_whatever_the_view(self) -> None:
        blocks = scaled(1, 1, 1)
        for x in blocks:
            x[:, 0] *= 9
        p = measured(blocks, causal=True)
        assert told(p, "first_token_outlying", "all") == told(p, "first_token_outlying", "rest")
        assert told(p, "first_token_outlying", "first").verdict == UNTOLD

    def test_an_encoder_has_none(self) -> None:
        found = told(measured(scaled(1, 1, 1)), "first_token_outlying")
        assert found.verdict == UNTOLD
        assert "attention looks both ways" in found.finding


class TestMassive:
    def planted(
        self, last: float = 1.0, channels: tuple[int, ...] = (3,), token: int = 0
    ) -> Profile:
        """Plant massive values at a token of every window, at blocks 2 to 4 of 6."""
        blocks = scaled(*[0.5] * 6)
        for x in blocks[2:5]:
            for channel in channels:
                x[:, token, channel] = 5000
        blocks[5][0, token, channels[0]] = last
        return measured(blocks, causal=True)

    def test_they_are_few_and_counted_in_the_grid(self) -> None:
        found = told(self.planted(), "massive_few")
        assert found.verdict == HOLDS
        assert found.numbers["blocks"] == [2, 3, 4]
        assert found.numbers["most"] == WINDOWS
        assert found.numbers["share"] == pytest.approx(1 / TOKENS / CHANNELS)

    @pytest.mark.parametrize("scale", [0.5, 0.01])
    def test_they_are_over_both_thresholds(self, scale: float) -> None:
        blocks = scaled(scale, scale, scale)
        limit = max(100.0, 1000 * float(np.median(np.abs(blocks[1]))))
        assert (limit > 100) == (scale == 0.5)
        blocks[1][0, 0, [3, 9]] = 1.015 * limit, -1.02 * limit
        blocks[1][1, 0, [3, 9]] = 0.985 * limit, -0.98 * limit
        found = told(measured(blocks, causal=True), "massive_few")
        assert (found.numbers["most"], found.numbers["blocks"]) == (2, [1])
        assert "within" not in found.finding
        blocks[1][2, 0, 5] = limit
        found = told(measured(blocks, causal=True), "massive_few")
        assert "and 1 more within 0.8 % of the threshold" in found.finding

    def test_they_are_not_few_where_all_windows_are_short(self) -> None:
        rng = np.random.default_rng(0)
        blocks = [0.5 * rng.normal(size=(40, 10, 48)) for _ in range(3)]
        blocks[1][:, 0, 4] = 5000
        found = told(measured(blocks, causal=True), "massive_few")
        assert found.verdict == FAILS
        assert found.numbers["share"] == pytest.approx(1 / 480)

    def test_where_there_are_none_nothing_more_is_told(self) -> None:
        p = measured(scaled(*[1.0] * 6), causal=True)
        found = told(p, "massive_few")
        assert (found.verdict, found.numbers["most"]) == (FAILS, 0)
        assert "there are none" in found.finding
        for name in (
            "massive_in_fixed_channels",
            "massive_at_usual_tokens",
            "massive_appear_and_vanish",
        ):
            assert told(p, name).finding == "there are no massive activations"
        old = without(self.planted(), "extremes")
        assert told(old, "massive_in_fixed_channels").verdict == UNTOLD
        one = hs.from_states({"embed": noise()})
        assert told(one, "massive_few").verdict == UNTOLD

    @pytest.mark.parametrize(("count", "verdict"), [(4, HOLDS), (5, FAILS)])
    def test_their_channels_are_fixed(self, count: int, verdict: str) -> None:
        channels = tuple(range(2, 2 + 3 * count, 3))
        found = told(self.planted(channels=channels), "massive_in_fixed_channels")
        assert found.verdict == verdict
        assert sorted(found.numbers["channels"]) == list(channels)
        assert "among the 64 kept" in found.finding
        assert "(blocks 2–4)" in found.finding

    def test_they_sit_at_usual_tokens(self) -> None:
        assert told(self.planted(), "massive_at_usual_tokens").numbers["first"] == WINDOWS
        p = self.planted(token=9)
        found = told(p, "massive_at_usual_tokens")
        assert (found.verdict, found.numbers["other"]) == (FAILS, WINDOWS)
        tree = p.dataset.copy(deep=True)
        extremes = tree["residual/extremes"].to_dataset()
        pieces = np.where(extremes["document"] == 0, "Ġand", "\n")
        extremes["piece"] = extremes["piece"].dims, pieces
        tree["residual/extremes"] = xr.DataTree(extremes)
        found = told(type(p)(tree), "massive_at_usual_tokens")
        assert found.verdict == HOLDS
        assert {k: found.numbers[k] for k in ("weak", "delimiter", "other")} == {
            "weak": 1,
            "delimiter": WINDOWS - 1,
            "other": 0,
        }
        # What counted as what can be seen.
        shown = f"{WINDOWS - 1} delimiters or special tokens ('↵'), 1 weak word ('and'), 0 others"
        assert shown in found.finding

    @pytest.mark.parametrize(
        ("stratum", "piece", "kind"),
        [
            ("first", "The", "first"),
            ("special", "[SEP]", "delimiter"),
            ("massive", "\n", "delimiter"),
            ("massive", "Ċ", "delimiter"),
            ("massive", " .", "delimiter"),
            ("massive", "▁”,", "delimiter"),
            ("massive", "▁Of", "weak"),
            ("massive", " 2", "weak"),
            ("massive", " 3", "other"),
            ("massive", "barley", "other"),
            ("massive", "", "other"),
        ],
    )
    def test_kinds_of_tokens(self, stratum: str, piece: str, kind: str) -> None:
        assert token_kind(stratum, piece) == kind

    def test_they_appear_at_a_block_and_vanish(self) -> None:
        found = told(self.planted(), "massive_appear_and_vanish")
        assert found.verdict == HOLDS
        assert found.numbers["step"] == "block.2.resid_post"
        assert found.numbers["left_at_last"] < 0.01
        assert found.numbers["step_times"] > 1000
        stays = told(self.planted(last=4000), "massive_appear_and_vanish")
        assert stays.verdict == FAILS
        assert stays.numbers["left_at_last"] == pytest.approx(0.8)
        # Less than half of the largest, and massive all the same.
        some = told(self.planted(last=2000), "massive_appear_and_vanish")
        assert (some.verdict, some.numbers["left_at_last"]) == (FAILS, pytest.approx(0.4))
        assert some.finding.endswith("at the last block, which holds some")

    def test_massive_from_the_start_they_appear_behind_the_embeddings(self) -> None:
        blocks = scaled(*[0.5] * 4)
        for x in blocks[:3]:
            x[:, 0, 3] = 5000
        name = "massive_appear_and_vanish"
        found = told(measured(blocks, noise(9, 0.5), causal=True), name)
        assert (found.verdict, found.numbers["step"]) == (HOLDS, "block.0.resid_post")
        # A massive embedding is no step, and of block 0 alone there is none to be seen.
        embed = noise(9, 0.5)
        embed[:, 0, 3] = 4000
        assert told(measured(blocks, embed, causal=True), name).verdict == FAILS
        for x in blocks[1:3]:
            x[:, 0, 3] = 0
        assert "nothing measured before" in told(measured(blocks, causal=True), name).finding


class TestChannels:
    def spiked(self, count: int, channels: int = 100) -> Profile:
        rng = np.random.default_rng(1)
        blocks = [rng.normal(size=(2, 60, channels)) for _ in range(4)]
        for channel in range(count):
            for x in blocks[:2]:
                x[:, channel::10, channel] = 40.0
        return measured(blocks)

    @pytest.mark.parametrize(("count", "verdict"), [(0, FAILS), (2, HOLDS), (3, FAILS)])
    def test_outlier_channels_are_few(self, count: int, verdict: str) -> None:
        found = told(self.spiked(count), "outlier_channels")
        assert found.verdict == verdict
        assert sorted(found.numbers["channels"]) == list(range(count))
        assert found.numbers["share"] == pytest.approx(count / 100)

    def test_of_few_channels_none_can_be_far_out(self) -> None:
        found = told(self.spiked(0, channels=36), "outlier_channels")
        assert found.verdict == UNTOLD
        assert "none can reach" in found.finding


class TestCosine:
    def offset(self, *channels: int, by: float = 3.0) -> list[np.ndarray]:
        blocks = scaled(1, 1, 1, 1)
        for x in blocks:
            x[..., channels] += by
        return blocks

    def shares(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean cosine of pairs of different tokens, and what each channel has of it."""
        unit = x.reshape(-1, CHANNELS)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        products = np.einsum("ic,jc->cij", unit, unit)
        pairs = products[:, ~np.eye(len(unit), dtype=bool)].mean(1)
        return float(pairs.sum()), pairs / pairs.sum()

    @pytest.mark.parametrize(
        ("channels", "verdict"), [((7,), HOLDS), ((7, 20, 33), HOLDS), (tuple(range(12)), FAILS)]
    )
    def test_few_channels_dominate(self, channels: tuple[int, ...], verdict: str) -> None:
        blocks = self.offset(*channels)
        found = told(measured(blocks), "cosine_dominated")
        assert found.verdict == verdict
        cosines = [self.shares(x) for x in blocks]
        top = [np.sort(shares)[-3:].sum() for _, shares in cosines]
        at = int(np.argmax(top))
        assert found.numbers["largest_at"] == f"block.{at}.resid_post"
        assert found.numbers["largest_share"] == pytest.approx(top[at], abs=2e-3)
        assert found.numbers["anisotropy"] == pytest.approx(cosines[at][0], abs=1e-6)
        assert set(found.numbers["channels"]) >= set(channels) or len(channels) > 3
        mean = np.mean([shares for _, shares in cosines], axis=0)
        assert found.numbers["channel_shares"] == pytest.approx(np.sort(mean)[:-4:-1], abs=2e-3)

    def test_strata_of_unequal_size_are_joined_by_their_tokens(self) -> None:
        blocks = self.offset(7)
        for x in blocks:
            x[:, 0, 9] = -40
        found = told(measured(blocks, causal=True), "cosine_dominated", "all")
        cosine, _ = self.shares(blocks[int(str(found.numbers["largest_at"])[6])])
        assert found.numbers["anisotropy"] == pytest.approx(cosine, abs=1e-6)

    def test_what_r2_becomes_without_them(self) -> None:
        blocks = self.offset(7, by=20)
        found = told(measured(blocks), "cosine_dominated")
        assert "our consequence, not the paper's" in found.finding
        assert 7 in found.numbers["channels"]
        rest = [np.delete(x, found.numbers["channels"], 2).ravel() for x in blocks]
        r2 = [np.corrcoef(x, y)[0, 1] ** 2 for x, y in itertools.pairwise(rest)]
        assert found.numbers["r2"] > 0.5
        assert found.numbers["r2_without"] == pytest.approx(np.median(r2), abs=1e-6)
        # Constant in all tokens, it has hardly any of the variance.
        assert found.numbers["variance_share"] == pytest.approx(3 / CHANNELS, abs=0.01)

    def test_of_directions_that_are_unlike_there_is_nothing_to_share_out(self) -> None:
        found = told(measured(scaled(1, 1, 1)), "cosine_dominated")
        assert found.verdict == UNTOLD
        assert "too little to be shared out" in found.finding
        narrow = [np.random.default_rng(i).normal(3, 1, (2, 9, 3)) for i in range(2)]
        assert "only 3 channels" in told(measured(narrow), "cosine_dominated").finding

    def test_of_an_older_file_it_cannot_be_told(self) -> None:
        tree = measured(self.offset(7)).dataset.copy(deep=True)
        moments = tree["residual/moments"].to_dataset().drop_vars("unit_mean")
        tree["residual/moments"] = xr.DataTree(moments)
        found = told(hs.Profile(tree), "cosine_dominated")
        assert found.verdict == UNTOLD
        assert "'unit_mean'" in found.finding


class TestNormGrowth:
    @pytest.mark.parametrize(
        ("scales", "verdict", "says"),
        [
            ([1.2**i for i in range(9)], HOLDS, "× 1.2"),
            ([9.0, *[1.2**i for i in range(7)], 0.1], HOLDS, "× 1.2"),  # but for the ends
            ([1, 1, 1, 1, 1, 1, 8, 8, 8], FAILS, "grows in phases"),
            ([1, 1, 1.2, 1, 1.2, 1.1, 1.15, 1.1, 2], FAILS, "hardly grows"),
            ([1.2**-i for i in range(9)], FAILS, "does not grow"),
            ([1, 2, 4, 8, 16], UNTOLD, "needs 6 blocks"),
        ],
    )
    def test_it_is_exponential(self, scales: list[float], verdict: str, says: str) -> None:
        blocks = scaled(*scales)
        for x in blocks:
            x[:, 0] *= 100  # first tokens are apart
        found = told(measured(blocks, causal=True), "norm_exponential", "all")
        assert found.verdict == verdict
        assert says in found.finding
        if verdict == UNTOLD:
            return
        logs = [np.log(np.median(np.linalg.norm(x, axis=2)[:, 1:])) for x in blocks[1:-1]]
        slope, _ = np.polyfit(range(len(logs)), logs, 1)
        line = np.corrcoef(range(len(logs)), logs)[0, 1] ** 2
        assert found.numbers["growth"] == pytest.approx(np.exp(slope), rel=3e-3)
        assert found.numbers["r2"] == pytest.approx(line, abs=0.01)
        steps = np.exp(np.diff(logs))
        assert found.numbers["largest_step"] == pytest.approx(steps.max(), rel=0.02)
        assert found.numbers["smallest_step"] == pytest.approx(steps.min(), rel=0.02)


class TestTails:
    def of(self, *degrees: float) -> list[np.ndarray]:
        rng = np.random.default_rng(4)
        return [rng.standard_t(d, size=(WINDOWS, TOKENS, CHANNELS)) for d in degrees]

    def test_they_are_heavier_than_normal(self) -> None:
        found = told(measured(self.of(3, 3, 3)), "tails_heavy")
        assert found.verdict == HOLDS
        assert found.numbers["degrees"] == pytest.approx(3, rel=0.1)
        assert found.numbers["equal_to_student"] == []

    def test_one_normal_block_is_named(self) -> None:
        found = told(measured(self.of(3, 1e6, 3)), "tails_heavy")
        assert (found.verdict, found.numbers["blocks_not_heavier"]) == (FAILS, [1])
        assert "no heavier than a normal at block 1" in found.finding

    def test_of_normal_values_a_normal_is_as_good(self) -> None:
        found = told(measured(scaled(1, 2, 3)), "tails_heavy")
        assert found.verdict == FAILS
        assert found.numbers["equal_to_student"] == ["normal"]

    def test_few_or_equal_values_have_none(self) -> None:
        few = measured([np.random.default_rng(i).normal(size=(1, 9, 48)) for i in range(3)])
        assert "tails need 1,000" in told(few, "tails_heavy").finding
        still = measured([np.ones_like(x) for x in scaled(1, 1)])
        assert "do not vary" in told(still, "tails_heavy").finding

    def test_without_the_loudest_channels_they_are_the_samples(self) -> None:
        blocks = scaled(1, 1, 1)
        for x in blocks:
            x[..., [4, 11, 30]] *= 20
        p = measured(blocks)
        assert told(p, "tails_heavy").verdict == HOLDS
        found = told(p, "tails_heavy_without_loudest")
        assert found.verdict == FAILS
        assert "(480 sampled tokens, without channels " in found.finding
        assert told(measured(self.of(3, 3)), "tails_heavy_without_loudest").verdict == HOLDS
        gone = told(without(p, "sample"), "tails_heavy_without_loudest")
        assert gone.verdict == UNTOLD
        assert "'sample'" in gone.finding


class TestChecks:
    def with_checks(self, *checks: tuple[str, str, bool]) -> Profile:
        p = measured(scaled(1, 1))
        tree = p.dataset.copy(deep=True)
        tree.attrs["checks"] = json.dumps(
            [
                {"name": n, "level": level, "passed": ok, "detail": f"about {n}", "value": None}
                for n, level, ok in checks
            ]
        )
        return type(p)(tree)

    def test_not_a_number_is_told_first(self) -> None:
        blocks = scaled(1, 1)
        assert told(measured(blocks), "all_finite").verdict == HOLDS
        blocks[1][0, 3, 5] = np.nan
        found = told(measured(blocks), "all_finite")
        assert found.verdict == FAILS
        assert "block.1.resid_post (1; channel 5" in found.finding
        assert [c.name for c in CLAIMS[:4]] == [
            "checks_pass",
            "all_finite",
            "dtype_suffices",
            "texts_begin_as_trained",
        ]

    @pytest.mark.parametrize(
        ("name", "check"),
        [
            ("checks_pass", "residual stream"),
            ("all_finite", "finite"),
            ("dtype_suffices", "float16 range"),
            ("dtype_suffices", "resolution"),
            ("texts_begin_as_trained", "BOS"),
        ],
    )
    def test_each_speaks_of_its_own_checks(self, name: str, check: str) -> None:
        others = [c.name for c in CLAIMS[:4] if c.name != name]
        for passed in (True, False):
            p = self.with_checks((check, "check", passed))
            assert told(p, name).verdict == (HOLDS if passed else FAILS)
            assert {told(p, other).verdict for other in others} == {UNTOLD}
            assert f"about {check}" in told(p, name).finding or name == "checks_pass"

    def test_what_was_only_told_was_not_checked(self) -> None:
        found = told(self.with_checks(("BOS", "note", True)), "texts_begin_as_trained")
        assert found.verdict == UNTOLD
        assert "about BOS" in found.finding


class TestTable:
    @pytest.mark.parametrize(
        ("view", "compact"), [*((view, False) for view in VIEWS), ("rest", True)]
    )
    def test_every_profile_and_view_has_one(self, view: str, compact: bool) -> None:
        table = known(compact=compact).profile.claims(view)
        assert list(table.index) == [claim.name for claim in CLAIMS]
        assert list(table) == list(COLUMNS)
        assert set(table["verdict"]) <= {HOLDS, FAILS, UNTOLD}
        assert table["finding"].str.len().min() > 0
        json.dumps(table["numbers"].tolist(), allow_nan=False)
        assert (table.loc[table["verdict"] == UNTOLD, "numbers"] == {}).all()

    def test_the_views_are_those_that_are_spoken_of(self) -> None:
        views = known().profile.claims("rest-massive")["view"]
        assert views["spread_grows"] == "rest-massive"
        assert views["massive_few"] == "all"
        assert views["first_token_outlying"] == "first against rest-massive"
        assert "holds no tokens" in told(known().profile, "tails_heavy", "generated").finding
        with pytest.raises(ViewError, match="nobody"):
            known().profile.claims("nobody")

    def test_part_of_the_blocks_tells_nothing_of_depth(self) -> None:
        states = {f"block.{i}.resid_post": noise(i) for i in (0, 1, 3, 4)}
        p = hs.from_states(states)
        assert "not the output of every block" in told(p, "spread_grows").finding
        tree = measured(scaled(1, 2, 3, 4)).dataset.copy(deep=True)
        manifest = json.loads(tree.attrs["manifest"])
        manifest["model"]["blocks"] = 12
        tree.attrs["manifest"] = json.dumps(manifest)
        assert told(hs.Profile(tree), "spread_grows").verdict == UNTOLD

    def test_claims_are_whole(self) -> None:
        assert len(BY_NAME) == len(CLAIMS)
        for claim in CLAIMS:
            texts = (claim.statement, claim.source, claim.criterion, claim.formula, claim.caveat)
            assert all(texts), claim.name
            assert claim.statement.endswith(".")
            assert claim.caveat.endswith(".")
            assert claim.figure in {"", *figures.KINDS}
            view = claim.view.split()[0].format(view="rest")
            assert analysis.strata_of(known().profile.stream).select(view)


PAGE = Path(__file__).parent.parent / "docs" / "claims.md"

INTRODUCTION = """# Claims

`p.claims()` and `hiddenscope claims` judge published statements about hidden states, and a few
findings of our own, by the numbers of a profile. A claim holds, does not hold, or cannot be told;
the table says why, with the numbers, the tokens it speaks of and the figure that shows it. A
statement that the data do not support is not made. A verdict is about one model on one text, cut
into windows as it was: near a threshold, other windows may turn it.

The article, Sun et al., Dettmers et al., Timkey and van Schijndel, and Heimersheim and Turner say
what they saw; where they give no threshold, the criterion is ours. Constants stand beside the
code of each claim, in `hiddenscope.analysis.verdicts`.
"""


def page() -> str:
    parts = [INTRODUCTION]
    for claim in CLAIMS:
        figure = f"`{claim.figure}`" if claim.figure else "none"
        rows = {
            "Source": claim.source,
            "Holds if": claim.criterion,
            "Numbers": claim.formula,
            "Tokens": claim.view.format(view="the view"),
            "Figure": figure,
            "Caveat": claim.caveat,
        }
        listed = "\n".join(f"- **{key}**: {text}" for key, text in rows.items())
        parts.append(f"## {claim.name}\n\n{claim.statement}\n\n{listed}\n")
    return "\n".join(parts)


def test_the_page_says_what_the_claims_say() -> None:
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(), "utf-8")
    assert before == page(), f"{PAGE} did not say what the claims say: it was written anew"
