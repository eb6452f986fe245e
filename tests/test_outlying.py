"""Massive activations, outlier channels and loud channels against direct counts in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import hiddenscope as hs
from benchmarks.exactness import direct
from hiddenscope import analysis
from hiddenscope.errors import InputError
from hiddenscope.stats import find_massive

if TYPE_CHECKING:
    from hiddenscope import Profile
    from hiddenscope.models import LoadedModel

CHANNELS, TOKENS = 48, 400


def outlier_channels(states: dict[str, np.ndarray]) -> dict[int, float]:
    """Count by the rule relative to the root mean square: channel → largest share of tokens."""
    shares = []
    for site, values in states.items():
        if site.endswith(".resid_post"):
            x = values.astype(np.float64)
            rms = np.sqrt((x**2).mean(1, keepdims=True))
            shares.append(((np.abs(x) >= 6 * rms) & (rms > 0)).mean(0))
    often = np.stack(shares) >= 0.06
    found = np.flatnonzero(often.mean(0) >= 0.25)
    return {int(c): float(np.stack(shares)[:, c].max()) for c in found}


def massive_values(
    states: dict[str, np.ndarray], shown: np.ndarray | slice = slice(None)
) -> list[tuple[str, int, float]]:
    """List the values over 100 and over 1,000 medians of their site, largest first.

    The median is over all tokens, also where only some are shown.
    """
    found = []
    for site, values in states.items():
        median = np.median(np.abs(values.astype(np.float64)))
        size = np.abs(values[shown].astype(np.float64))
        for token, channel in zip(*np.nonzero((size > 100) & (size > 1000 * median)), strict=True):
            found.append((site, int(channel), float(values[shown][token, channel])))
    return sorted(found, key=lambda row: -abs(row[2]))


def check(p: Profile, states: dict[str, np.ndarray], view: str) -> None:
    """Compare a profile's outliers with what is counted in the states of the view."""
    found = p.outliers(view)
    expected = outlier_channels(states)
    assert set(found.channels.index) == set(expected)
    for channel, share in expected.items():
        assert found.channels.loc[channel, "token_share"] == pytest.approx(share, abs=1e-12)


@pytest.fixture(scope="module")
def synthetic() -> dict[str, np.ndarray]:
    """Four blocks and embeddings, ``[token, channel]``, with planted outliers.

    Channel 5 stands out at every block for a tenth of the tokens, 6 for a tenth at block 0
    only, 7 for 3 %; 9 holds massive values, of which two are in one token.
    """
    rng = np.random.default_rng(3)
    sites = ["embed", *(f"block.{i}.resid_post" for i in range(5))]
    states = {s: rng.normal(size=(TOKENS, CHANNELS)).astype(np.float32) for s in sites}
    for i, site in enumerate(sites):
        x = states[site]
        x *= 0.1 * (i + 1)
        x[::10, 5] = 20 * 0.1 * (i + 1)
        x[::30, 7] = 20 * 0.1 * (i + 1)
        x[17] = 0
    states["block.0.resid_post"][5::10, 6] = -20
    states["block.1.resid_post"][[3, 50], 9] = -3e4
    states["block.2.resid_post"][3, [9, 11]] = 5e4, 4e4
    return states


def profile_of(states: dict[str, np.ndarray]) -> Profile:
    return hs.from_states({s: x[None] for s, x in states.items()}, causal=False)


def test_outlier_channels_are_those_of_a_direct_count(synthetic: dict[str, np.ndarray]) -> None:
    p = profile_of(synthetic)
    check(p, synthetic, "all")
    table = p.outliers("all").channels
    assert table.index.tolist() == [5]
    assert table.loc[5, ["point", "rule", "sites"]].tolist() == ["resid_post", "over_rms", 5]
    assert "1 outlier channel: 5 (|a| ≥ 6 × the root mean square" in analysis.channel_words(
        p.outliers("all")
    )


def test_a_massive_value_is_held_against_the_median_of_its_site(
    synthetic: dict[str, np.ndarray],
) -> None:
    p = profile_of(synthetic)
    expected = massive_values(synthetic)
    assert len(expected) == 4
    found = p.outliers("all").massive
    rows = zip(found["site"], found["channel"], found["value"], strict=True)
    assert list(rows) == expected
    for site, median in zip(found["site"], found["site_median"], strict=True):
        exact = np.median(np.abs(synthetic[site].astype(np.float64)))
        assert median == pytest.approx(exact, rel=2**-7)
    # The token's own median is another number, and larger where it is loud all over.
    assert (found["median"] != found["site_median"]).all()
    by_channel = p.outliers("all").massive_channels
    assert by_channel.index.tolist() == [9, 11]
    assert by_channel.loc[9, ["sites", "blocks", "values"]].tolist() == [2, "1–2", 2]
    assert not by_channel["cut"].any()


def test_the_view_chooses_what_is_listed_and_not_what_is_massive() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 40, 16)).astype(np.float32)
    # The first tokens are loud all over: their own median is massive too.
    x[:, 0] = 300
    x[:, 0, 3] = 5e4
    x[2, 7, 3] = 4e4
    p = hs.from_states({f"block.{i}.resid_post": x for i in range(3)})
    for view, count in (("first", 30), ("rest", 1)):
        found = p.outliers(view)
        assert found.massive_channels.index.tolist() == [3]
        row = found.massive_channels.loc[3]
        assert row["blocks"] == "0–2"
        # Of a channel no more than eight values are kept for each site.
        assert (row["values"], row["cut"]) == (min(count, 8), count > 8)
    words = analysis.massive_words(p.outliers("first"))
    assert "channel 3 in blocks 0–2, at least 8 values at a site, up to 50,000" in words
    assert "no massive activations" in analysis.massive_words(
        profile_of({"embed": x[3, 1:]}).outliers()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_massive_tokens_of_a_batch_are_those_of_a_direct_count(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(300, 20, generator=random)
    x[4, 2], x[9, 0], x[11, 5] = 5e4, 90.0, -700.0
    x[20] = torch.nan
    x[30, 1] = torch.inf
    x = x.to(dtype)
    size = x.double().abs()
    median = size[torch.isfinite(size)].median()
    expected = torch.isfinite(size).all(1) & ((size > 100) & (size > 1000 * median)).any(1)
    assert expected.nonzero().tolist() == [[4], [11]]
    assert find_massive(x, 100, 1000).tolist() == expected.tolist()
    assert not find_massive(x, 1e6, 1000).any()


def test_both_rules_on_the_demo(demo: LoadedModel) -> None:
    options = {"window": 256, "batch_tokens": 2048, "max_tokens": 4000}
    p = hs.profile("demo", "sample:mixed", **options)
    states, strata = direct(demo, "sample:mixed", **options)
    rest = {site: x[strata >= 2] for site, x in states.items()}
    check(p, rest, "rest")
    assert 104 in p.outliers().channels.index
    assert p.outliers("all").massive.empty == (massive_values(states) == [])


def test_points_that_linear_layers_read_keep_to_the_fixed_magnitude(demo: LoadedModel) -> None:
    sites = "block.*.resid_post,block.*.mlp_norm,block.*.attn_out"
    p = hs.profile("demo", "sample:mixed", sites=sites, max_tokens=500)
    table = p.outliers().channels
    rules = dict(zip(table["point"], table["rule"], strict=True))
    assert rules["mlp_norm"] == "over"
    assert rules["resid_post"] == "over_rms"
    assert "attn_out" not in rules
    part = table[table["point"] == "mlp_norm"]
    over = np.array(
        [p.channels(f"block.{i}.mlp_norm").eval("over / tokens").to_numpy() for i in range(12)]
    )
    expected = np.flatnonzero((over >= 0.06).mean(0) >= 0.25)
    assert sorted(part.index) == expected.tolist()


def test_with_few_channels_the_rule_says_that_it_cannot_speak() -> None:
    x = np.random.default_rng(0).normal(size=(1, 50, 36)).astype(np.float32)
    found = hs.from_states({"block.0.resid_post": x}).outliers()
    assert found.channels.empty
    assert "under 37 the rule of outlier channels cannot speak" in found.notes[0]
    assert analysis.channel_words(found) == found.notes[0]
    wider = np.concatenate([x, x[..., :1]], -1)
    assert not hs.from_states({"block.0.resid_post": wider}).outliers().notes


def test_thresholds_are_parameters_of_the_run() -> None:
    x = np.random.default_rng(0).normal(size=(1, 50, 40)).astype(np.float32)
    x[0, 7, 3] = np.float32(6.1)
    p = hs.from_states({"block.0.resid_post": x}, outlier=6.1, outlier_rms=2.0, causal=False)
    thresholds = p.manifest["thresholds"]
    assert thresholds["outlier_rms"] == 2.0
    # Rounded once, so that a value equal to it counts wherever it stands.
    assert thresholds["outlier"] == float(np.float32(6.1))
    assert p.channels("block.0.resid_post")["over"].sum() == 1
    size = x[0].astype(np.float64) ** 2
    expected = (size * 40 >= 4 * size.sum(1, keepdims=True)).sum(0)
    np.testing.assert_array_equal(p.channels("block.0.resid_post")["over_rms"], expected)
    for wrong in (0, -1, np.inf, np.nan):
        with pytest.raises(InputError, match="outlier_rms"):
            hs.from_states({"embed": x}, outlier_rms=wrong)


def test_loud_channels_by_variance_by_offset_and_by_both() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 300, 6)).astype(np.float32)
    x[..., 2] *= 5
    x[..., 4] += 30
    p = hs.from_states({"embed": x, "block.0.resid_post": x}, causal=False)
    y = x[0].astype(np.float64)
    m2 = ((y - y.mean(0)) ** 2).sum(0)
    apart = len(y) * (y.mean(0) - y.mean()) ** 2
    table = p.loudest()
    assert table.index[0] == 2
    table = table.sort_index()
    np.testing.assert_allclose(table["variance"], m2 / m2.sum())
    np.testing.assert_allclose(table["offset"], apart / (m2 + apart).sum())
    np.testing.assert_allclose(table["pooled"], (m2 + apart) / (m2 + apart).sum())
    assert p.loudest(by="offset").index[0] == p.loudest(by="pooled").index[0] == 4
    assert p.loudest(k=2).index.tolist() == p.loudest().index[:2].tolist()
    with pytest.raises(InputError, match="variance, offset, pooled"):
        p.loudest(by="loudness")


def test_channels_that_stand_out_do_so_at_a_site_of_the_panel() -> None:
    x = np.random.default_rng(0).normal(size=(1, 300, 12)).astype(np.float32)
    y = 50 * x
    x[0, 3, 5] = -40
    y[0, 9, 7] = 4000
    p = hs.from_states({"embed": x, "block.0.resid_post": y}, causal=False)
    largest = {s: np.abs(v[0].astype(np.float64)).max(0) for s, v in {"a": x, "b": y}.items()}
    found = analysis.standing_out(p.stream)
    assert found.index.tolist() == [7, 5]
    assert found[7] == pytest.approx(largest["b"][7] / np.median(largest["b"]))
    assert analysis.standing_out(p.stream, sites=["embed"]).index.tolist() == [5]
