"""Massive activations and outlier channels against direct counts in NumPy, and their words."""

from __future__ import annotations

import json
import warnings
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from known import BLOCKS, SITES, THRESHOLDS, VIEWS, Known, from_arrays, known, quantile

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.analysis import massive
from hiddenscope.analysis.outlier_channels import RULES
from hiddenscope.errors import HiddenscopeWarning, InputError, ProfileError
from hiddenscope.profiles import Profile
from hiddenscope.stats import find_massive
from hiddenscope.words import ranges

COLUMNS = [
    "sites",
    "site_share",
    "token_share",
    "first_block",
    "last_block",
    "largest",
    "variance",
    "point",
    "rule",
]

each_view = pytest.mark.parametrize("view", VIEWS)


@pytest.fixture(scope="module")
def full() -> Known:
    return known()


def with_thresholds(p: Profile, **changed: float) -> Profile:
    """Return a profile whose manifest says that it was made with other thresholds."""
    tree = p.dataset.copy()
    manifest = json.loads(tree.attrs["manifest"])
    manifest["thresholds"] |= changed
    tree.attrs = tree.attrs | {"manifest": json.dumps(manifest)}
    return Profile(tree)


def test_the_thresholds_are_those_of_the_papers() -> None:
    assert analysis.THRESHOLDS == {
        "massive": 100,
        "massive_ratio": 1000,
        "outlier": 6,
        "outlier_rms": 6,
        "outlier_site_share": 0.25,
        "outlier_token_share": 0.06,
    }
    x = np.random.default_rng(0).normal(size=(1, 9, 40)).astype(np.float32)
    p = hs.from_states({"embed": x}, massive=7)
    assert p.outliers().thresholds == analysis.THRESHOLDS | {"massive": 7}
    # A manifest that says nothing means the papers' own.
    tree = p.dataset.copy()
    tree.attrs = tree.attrs | {"manifest": "{}"}
    assert Profile(tree).outliers().thresholds == analysis.THRESHOLDS


@each_view
def test_thresholds_can_be_chosen_afterwards(full: Known, view: str) -> None:
    p = full.profile
    medians = {s: quantile(np.abs(full.values(s, "all")), 0.5).item() for s in SITES}
    for limits in ({"massive": 3.0, "massive_ratio": 2.0}, {"massive": 300.0, "massive_ratio": 0}):
        found = p.outliers(view, massive=limits["massive"], ratio=limits["massive_ratio"])
        rows = massive_in(p, medians, view, limits)
        assert found.massive["value"].tolist() == [row["value"] for row in rows]
        assert found.thresholds == THRESHOLDS | limits
    for shares in ((0.0, 0.01), (1.0, 0.5), (0.5, 1.0)):
        found = p.outliers(view, site_share=shares[0], token_share=shares[1]).channels
        usual = p.outliers(view).channels
        stricter = shares[0] >= 0.25 and shares[1] >= 0.06
        if stricter:
            assert set(found.index) <= set(usual.index)
        assert (found["site_share"] >= shares[0]).all()
        assert (found["token_share"] >= shares[1]).all()
    run = {"outlier": THRESHOLDS["outlier"], "outlier_rms": THRESHOLDS["outlier_rms"]}
    pd.testing.assert_frame_equal(p.outliers(view, **run).channels, p.outliers(view).channels)


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ({"outlier": 7.0}, r"for 5 and for powers of two .*; measure again .* --outlier 7`"),
        ({"outlier_rms": 4}, r"has counts for 3; measure again .* --outlier-rms 4`"),
        ({"massive": -1}, "massive must be a finite number"),
        ({"ratio": np.inf}, "ratio must be a finite number"),
        ({"site_share": 1.5}, "site_share must be a share between 0 and 1, got 1.5"),
        ({"token_share": "many"}, "token_share must be a number"),
    ],
)
def test_thresholds_that_cannot_be_answered_are_refused(
    full: Known, thresholds: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        full.profile.outliers(**thresholds)


# Massive activations


def massive_in(p: Profile, medians: dict[str, float], view: str, limits: dict[str, float]) -> list:
    """The extremes, largest first, over both limits; the median is over all tokens."""
    extremes = p.extremes(view)
    rows = []
    for _, row in extremes.iterrows():
        size = abs(float(row["value"]))
        if size > limits["massive"] and size > limits["massive_ratio"] * medians[row["site"]]:
            rows.append({**row, "site_median": medians[row["site"]]})
    return rows


@each_view
def test_massive_activations_are_extremes_over_both_limits(full: Known, view: str) -> None:
    medians = {s: quantile(np.abs(full.values(s, "all")), 0.5).item() for s in SITES}
    rows = massive_in(full.profile, medians, view, THRESHOLDS)
    columns = list(full.profile.extremes(view))
    columns.insert(columns.index("median") + 1, "site_median")
    found = full.profile.outliers(view).massive
    expected = pd.DataFrame(rows, columns=columns)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)
    assert found.index.tolist() == list(range(len(rows)))
    # All that are there, but no more than eight of one channel.
    for site in BLOCKS:
        states = full.every(site, view)
        over = np.isfinite(states) & (np.abs(states) > max(50, 200 * medians[site]))
        listed = found[found["site"] == site].groupby("channel").size()
        assert listed.to_dict() == {c: min(n, 8) for c, n in enumerate(over.sum(0)) if n}


def test_a_value_at_the_limit_is_not_massive(full: Known) -> None:
    stream = full.profile.stream
    keys = ["site", "channel", "document", "window", "position"]

    def listed(magnitude: float, ratio: float) -> list[tuple]:
        limits = {"massive": magnitude, "massive_ratio": ratio}
        return list(
            massive.massive_activations(stream, "all", limits)[keys].itertuples(index=False)
        )

    table = massive.massive_activations(stream, "all", {"massive": 50.0, "massive_ratio": 1.0})
    exact = 0
    for number, row in enumerate(table[keys].head(6).itertuples(index=False)):
        size, median = abs(float(table["value"][number])), float(table["site_median"][number])
        assert row not in listed(size, 1.0)
        assert row in listed(np.nextafter(size, 0), 1.0)
        ratio = size / median
        assert row in listed(50.0, np.nextafter(np.nextafter(ratio, 0), 0))
        if ratio * median == size:
            exact += 1
            assert row not in listed(50.0, ratio)
    assert exact


def by_channel(table: pd.DataFrame) -> pd.DataFrame:
    blocks = table["site"].str.extract(r"block\.(\d+)\.")[0].astype(float)
    rows = {}
    for channel in dict.fromkeys(table["channel"]):
        part = table[table["channel"] == channel]
        own = sorted({int(b) for b in blocks[part.index].dropna()})
        rows[channel] = {
            "sites": part["site"].nunique(),
            "blocks": {(0, 2): "0, 2", (0, 1, 2): "0–2", (1, 2): "1–2"}.get(
                tuple(own), "".join(map(str, own))
            ),
            "values": part["site"].value_counts().max(),
            "cut": part.value_counts(["site", "stratum"]).max() >= 8,
            **part.iloc[0][["value", "site", "piece", "position"]],
        }
    columns = ["sites", "blocks", "values", "cut", "value", "site", "piece", "position"]
    index = pd.Index(rows, name="channel")
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


@each_view
def test_massive_activations_by_channel(full: Known, view: str) -> None:
    found = full.profile.outliers(view)
    pd.testing.assert_frame_equal(
        found.massive_channels, by_channel(found.massive), check_dtype=False, check_index_type=False
    )
    cut = {c: bool(row["cut"]) for c, row in found.massive_channels.iterrows()}
    assert cut == {"rest": {12: False, 7: True}, "first": {30: False}}.get(view, cut)


def massive_rows(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Massive values by (site, stratum, channel), largest first."""
    table = pd.DataFrame(rows, columns=["site", "stratum", "channel"])
    sizes = 1000.0 - np.arange(len(rows))
    return table.assign(value=sizes, piece="a", position=np.arange(len(rows)))


def test_values_of_a_channel_are_counted_by_site_and_cut_by_stratum() -> None:
    block, other = "block.4.resid_post", "block.5.resid_post"
    rows = [(block, "regular", 3)] * 7 + [(block, "first", 3)] * 4 + [(other, "first", 3)] * 2
    for more, cut in (([], False), ([(block, "regular", 3)], True)):
        table = massive.massive_channels(massive_rows(*rows, *more, ("embed", "first", 9)))
        assert table.loc[3, ["sites", "values", "cut"]].tolist() == [2, 11 + len(more), cut]
        assert table.loc[9, ["sites", "blocks", "values", "cut"]].tolist() == [1, "", 1, False]
        assert table["blocks"].tolist() == ["4–5", ""]
    empty = massive.massive_channels(massive_rows())
    assert empty.empty
    assert empty.index.name == "channel"


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([], ""),
        ([5], "5"),
        ([0, 1], "0–1"),
        ([2, 11, 12, 13, 20], "2, 11–13, 20"),
        ([0, 2, 4, 5], "0, 2, 4–5"),
    ],
)
def test_blocks_are_written_as_ranges(numbers: list[int], words: str) -> None:
    assert ranges(numbers) == words


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


# Outlier channels


def outlier_channels(
    p: Profile, states: dict[str, np.ndarray], over: dict[str, np.ndarray], limits: dict[str, float]
) -> pd.DataFrame:
    """Channels over the limit for enough of the tokens at enough of the sites of one point."""
    sites = list(over)
    shares = np.stack([x.mean(0) if len(x) else np.zeros(x.shape[1]) for x in over.values()])
    meets = (shares >= limits["outlier_token_share"]) & (shares > 0)
    rows = {}
    for channel in range(shares.shape[1]):
        own = np.flatnonzero(meets[:, channel])
        if not len(own) or len(own) / len(sites) < limits["outlier_site_share"]:
            continue
        numbers = [int(sites[i].split(".")[1]) if "." in sites[i] else -1 for i in own]
        values = np.concatenate([states[site][:, channel] for site in sites])
        # Of two as large the positive one.
        largest = max(values, key=lambda v: (abs(v), v))
        rows[channel] = {
            "sites": len(own),
            "site_share": len(own) / len(sites),
            "token_share": shares[:, channel].max(),
            "first_block": min(numbers),
            "last_block": max(numbers),
            "largest": largest,
            "variance": p.loudest(k=None).loc[channel, "variance"],
        }
    index = pd.Index(rows, name="channel", dtype=int)
    return pd.DataFrame(list(rows.values()), index=index, columns=COLUMNS[:7])


def beyond(states: np.ndarray, limits: dict[str, float], rule: str) -> np.ndarray:
    size = np.abs(states)
    if rule == "over":
        return size >= limits["outlier"]
    return (size >= limits["outlier_rms"] * np.sqrt((states**2).mean(1, keepdims=True))) & (
        size > 0
    )


@each_view
def test_outlier_channels_are_those_of_a_direct_count(full: Known, view: str) -> None:
    states = {site: full.finite(site, view) for site in BLOCKS}
    over = {site: beyond(x, THRESHOLDS, "over_rms") for site, x in states.items()}
    expected = outlier_channels(full.profile, states, over, THRESHOLDS)
    variance = full.profile.loudest(view)["variance"].reindex(expected.index)
    expected = expected.assign(variance=variance, point="resid_post", rule="over_rms")
    expected = expected.sort_values("variance", ascending=False, kind="stable")
    found = full.profile.outliers(view)
    pd.testing.assert_frame_equal(found.channels, expected, check_dtype=False, rtol=1e-12)
    assert list(found.channels) == COLUMNS
    assert found.notes == ()
    assert found.thresholds == THRESHOLDS
    assert full.profile.outliers().channels.equals(full.profile.outliers("rest").channels)


def planted() -> dict[str, np.ndarray]:
    """Two blocks and the embeddings, 50 tokens; what stands out is planted by channel.

    4 and 5 do so in just 6 % of the tokens, 5 at one block; 6 in fewer; 8 in all tokens of one
    block, 9 nowhere but in the embeddings; 10 has two as large of either sign.
    """
    rng = np.random.default_rng(3)
    sites = ("embed", *(f"block.{i}.{p}" for i in range(2) for p in ("mlp_norm", "resid_post")))
    states = {s: (0.1 * rng.normal(size=(50, 40))).astype(np.float32) for s in sites}
    for number in range(2):
        for point in ("mlp_norm", "resid_post"):
            x = states[f"block.{number}.{point}"]
            x[10:13, 4] = 7
            x[20:22, 6] = 7 + number
            x[30:33, 10] = 8, -8, 7
        states["block.1.mlp_norm"][23:26, 5] = 9
        states["block.0.resid_post"][35:45, 8] = -7
    states["embed"][:, 9] += 30
    return states


def test_each_point_has_its_rule_and_its_blocks() -> None:
    states = planted()
    p = hs.from_states({s: x[None] for s, x in states.items()}, causal=False)
    limits = analysis.THRESHOLDS
    tables = []
    for point, rule in (("resid_post", "over_rms"), ("mlp_norm", "over")):
        own = {s: x.astype(np.float64) for s, x in states.items() if s.endswith(point)}
        over = {site: beyond(x, limits, rule) for site, x in own.items()}
        table = outlier_channels(p, own, over, limits)
        tables.append(table.assign(point=point, rule=rule))
    expected = pd.concat(tables).sort_values("variance", ascending=False, kind="stable")
    found = p.outliers().channels
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    inner = found[found["point"] == "mlp_norm"]
    assert sorted(inner.index) == [4, 5, 10]
    assert inner.loc[5, ["sites", "first_block", "last_block"]].tolist() == [1, 1, 1]
    assert inner.loc[4, "token_share"] == 0.06
    assert inner.loc[10, "largest"] == 8
    assert found[found["point"] == "resid_post"].loc[8, "largest"] == -7
    words = analysis.channel_words(p.outliers())
    assert words.startswith(f"{len(found)} outlier channels: ")
    assert ": 10, 8, 4 (|a| ≥ 6 × the root mean square of its hidden state for 6% of t" in words
    assert "10, 4, 5 at mlp_norm (|a| ≥ 6 for 6% of tokens at 25% of blocks)" in words


def test_the_rules_are_those_of_what_linear_layers_read() -> None:
    mixers = {f"{r}_norm" for r in ("attn", "mamba", "mix", "cross")}
    over = {*mixers, "attn_mix", "mamba_mix", "mix_act", "cross_mix", "mlp_norm", "mlp_act"}
    rms = {"resid_post", "resid_mid"}
    assert dict.fromkeys(over, "over") | dict.fromkeys(rms, "over_rms") == RULES
    assert massive.KEPT_OF_A_CHANNEL == 8


def test_without_a_point_that_has_a_rule_all_sites_count_together() -> None:
    x = planted()["embed"]
    p = from_arrays(embed=x, final_norm=np.ones_like(x))
    table = p.outliers().channels
    assert table.index.tolist() == [9]
    row = table.loc[9]
    assert row[["sites", "site_share", "point", "rule"]].tolist() == [1, 0.5, "", "over_rms"]
    assert row[["first_block", "last_block"]].tolist() == [-1, -1]
    assert analysis.channel_words(p.outliers()).startswith("1 outlier channel: 9 (|a| ≥ 6 × the r")


def test_shares_at_the_limit_count_and_none_is_too_little() -> None:
    p = hs.from_states({s: x[None] for s, x in planted().items()}, causal=False)

    def channels(**limits: float) -> list[int]:
        table = with_thresholds(p, **limits).outliers().channels
        return sorted(table.index[table["point"] == "mlp_norm"])

    assert channels() == [4, 5, 10]
    assert channels(outlier_site_share=0.5) == [4, 5, 10]
    assert channels(outlier_site_share=0.51) == [4, 10]
    assert channels(outlier_token_share=0.0601) == []
    assert channels(outlier_token_share=0.04) == [4, 5, 6, 10]
    # Without a limit a channel must still be over it once, somewhere.
    assert channels(outlier_token_share=0, outlier_site_share=0) == [4, 5, 6, 10]


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


def test_any_power_of_two_can_be_asked_for_afterwards() -> None:
    states = planted()
    states["block.0.mlp_norm"][5, 3] = np.nan
    given = {s: x[None] for s, x in states.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HiddenscopeWarning)
        p = hs.from_states(given, outlier=5.0)
        for limit in (2.0**-14, 0.125, 4.0, 8.0, 2.0**16):
            asked = p.outliers("all", outlier=limit)
            direct = hs.from_states(given, outlier=limit).outliers("all")
            pd.testing.assert_frame_equal(asked.channels, direct.channels)
            assert asked.thresholds == direct.thresholds
    counts = [len(p.outliers("all", outlier=x).channels) for x in (0.125, 5.0, 8.0)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3
    for limit in (6.0, 2.0**-15, 2.0**17):
        words = f"outlier={limit:g} were not counted: .* for 5 and for powers of two .*--outlier"
        with pytest.raises(InputError, match=words.replace("+", r"\+")):
            p.outliers(outlier=limit)


def test_of_one_token_a_channel_is_an_outlier_in_all() -> None:
    x = np.random.default_rng(0).normal(size=(1, 5, 40)).astype(np.float32)
    x[0, 0, 6] = -300
    table = hs.from_states({"block.0.resid_post": x}).outliers("first").channels
    assert table.loc[6, ["token_share", "site_share", "largest"]].tolist() == [1, 1, -300]
    assert table.index.tolist() == [6]


def test_outliers_are_not_changed_by_accident(full: Known) -> None:
    with pytest.raises(FrozenInstanceError):
        full.profile.outliers().notes = ()


def test_without_its_counts_the_rule_says_what_is_missing(full: Known) -> None:
    tree = full.profile.dataset.copy()
    moments = tree["residual/moments"].to_dataset().drop_vars("over_rms")
    tree["residual/moments"] = xr.DataTree(moments)
    p = Profile(tree)
    found = p.outliers("all")
    assert len(found.notes) == 1
    schema = tree.attrs["schema_version"]
    assert found.notes[0].startswith(f"this profile is of schema {schema} and lacks 'over_rms'")
    with pytest.raises(ProfileError, match="measure again with `hiddenscope profile`"):
        _ = found.channels
    assert analysis.channel_words(found) == found.notes[0]
    # What the other rule finds is there.
    pd.testing.assert_frame_equal(found.massive, full.profile.outliers("all").massive)
    columns = list(full.profile.channels("embed"))
    columns.remove("over_rms")
    assert list(p.channels("embed")) == columns


# Words


def words_of(found: analysis.Outliers, *rows: tuple, **options: int) -> str:
    names = ["channel", "sites", "blocks", "values", "cut", "value", "site", "piece", "position"]
    table = pd.DataFrame(rows, columns=names).set_index("channel")
    return analysis.massive_words(replace(found, _massive_channels=table), **options)


def test_massive_activations_in_words(full: Known) -> None:
    p, rule = full.profile, "(over 50 and 200 × the median magnitude of the site)"
    piece = p.outliers().massive_channels.loc[12, "piece"]
    assert analysis.massive_words(p.outliers()) == (
        f"massive activations {rule}: channel 12 in block 1, 3 values at a site, up to −700 at "
        f"{piece!r}; channel 7 in blocks 0, 2, at least 8 values at a site, up to 370 at "
        f"{p.outliers().massive_channels.loc[7, 'piece']!r}"
    )
    assert analysis.massive_words(p.outliers("special")) == f"no massive activations {rule}"
    rows = [
        (3, 1, "", 1, False, 12345.6, "final_norm", "", 0),
        (4, 2, "1–2", 2, True, -70.0, "block.1.resid_post", "a\n", 0),
        (5, 1, "12", 2, False, 60.0, "block.12.resid_post", "b", 0),
        (6, 1, "3", 1, False, 60.0, "block.3.resid_post", "c", 0),
    ]
    spoken = [
        "channel 3 in final norm, 1 value at a site, up to 12,346",
        "channel 4 in blocks 1–2, at least 2 values at a site, up to −70 at 'a\\n'",
        "channel 5 in block 12, 2 values at a site, up to 60 at 'b'",
        "channel 6 in block 3, 1 value at a site, up to 60 at 'c'",
    ]
    head = f"massive activations {rule}: "
    found = p.outliers()
    assert words_of(found, *rows[:3]) == head + "; ".join(spoken[:3])
    assert words_of(found, *rows) == head + "; ".join(spoken[:3]) + "; and 1 more channel"
    assert words_of(found, *rows, most=2) == head + "; ".join(spoken[:2]) + "; and 2 more channels"
    ratio = replace(found, thresholds=THRESHOLDS | {"massive_ratio": 1000.0})
    assert "over 50 and 1,000 × the median" in words_of(ratio)


def test_outlier_channels_in_words(full: Known) -> None:
    found = full.profile.outliers()
    often = "of its hidden state for 10% of tokens at 50% of blocks)"
    rule = f"(|a| ≥ 3 × the root mean square {often}"
    assert analysis.channel_words(found) == f"3 outlier channels: 25, 23, 15 {rule}"
    assert analysis.channel_words(found, 2) == f"3 outlier channels: 25, 23 and 1 more {rule}"
    assert analysis.channel_words(found, 3) == analysis.channel_words(found)
    assert analysis.channel_words(replace(found, _channels=found.channels.iloc[:0])) == (
        f"no outlier channels {rule}"
    )
    many = pd.concat([found.channels] * 3)
    eight = "25, 23, 15, 25, 23, 15, 25, 23 and 1 more"
    assert analysis.channel_words(replace(found, _channels=many)) == (
        f"9 outlier channels: {eight} {rule}"
    )
    noted = replace(found, notes=("first", "last"), _channels=None)
    assert analysis.channel_words(noted) == "last"
    with pytest.raises(ProfileError, match="last"):
        _ = noted.channels
    table = found.channels.iloc[:1].assign(point="mlp_norm", rule="over")
    one = replace(found, points={"mlp_norm": "over"}, _channels=table)
    assert analysis.channel_words(one) == (
        "1 outlier channel: 25 at mlp_norm (|a| ≥ 5 for 10% of tokens at 50% of blocks)"
    )
