"""A real language model, SmolLM2-135M-Instruct as a GGUF file: `make real` runs these tests.

They need the file that tools/fetch_real.py fetches, and fail without it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import by_hand
import numpy as np
import pytest
import torch
from conftest import TEXT, cut_into_windows

import hiddenscope as hs
from benchmarks.exactness import direct
from hiddenscope import analysis, corpus
from hiddenscope.capture import Capture
from hiddenscope.models import describe, find_structure, load
from hiddenscope.strata import CHAT
from tools import fetch_real

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile

pytestmark = [
    pytest.mark.real,
    # torchao and torch's compiler warn at import about their own dependencies.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:torch.*", "ignore::FutureWarning:torch.*"
    ),
]

SOURCE, WINDOW, BATCH_TOKENS, MAX_TOKENS = "sample:mixed", 512, 1024, 2048
BLOCKS, WIDTH = 30, 576
COMPARED = ("embed", "block.14.resid_post", "final_norm")
LEVELS = (0.0, 1e-3, 0.05, 0.5, 0.95, 0.999, 1.0)

MESSAGES = [
    {"role": "user", "content": "How many legs have 12 ants?"},
    {"role": "assistant", "content": "72."},
]
RENDERED = (
    "<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nHow many legs have 12 ants?<|im_end|>\n"
    "<|im_start|>assistant\n72.<|im_end|>\n"
)


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


@pytest.fixture(scope="session")
def smol() -> LoadedModel:
    """The model; tests must leave it as it is."""
    path = fetch_real.place()
    if not path.is_file():
        pytest.fail(f"{path} is missing: run `make real`, or python tools/fetch_real.py")
    return load(str(path))


@pytest.fixture(scope="session")
def tokenizer(smol: LoadedModel) -> PreTrainedTokenizerBase:
    assert smol.tokenizer is not None
    return smol.tokenizer


@pytest.fixture(scope="session")
def measured(smol: LoadedModel) -> Profile:
    """A profile of the trunk on the sample texts."""
    return hs.profile(
        smol.model,
        SOURCE,
        tokenizer=smol.tokenizer,
        window=WINDOW,
        batch_tokens=BATCH_TOKENS,
        max_tokens=MAX_TOKENS,
    )


@pytest.fixture(scope="session")
def direct_states(
    smol: LoadedModel,
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int8]]:
    """The same tokens' states at every site, [token, channel], and their strata."""
    options = {"window": WINDOW, "batch_tokens": BATCH_TOKENS, "max_tokens": MAX_TOKENS}
    return direct(smol, SOURCE, **options)


@pytest.fixture(scope="session")
def states(
    direct_states: tuple[dict[str, NDArray[np.float32]], NDArray[np.int8]],
) -> dict[str, NDArray[np.float32]]:
    return direct_states[0]


class TestTokenizer:
    def test_its_17_special_tokens(self, tokenizer: PreTrainedTokenizerBase) -> None:
        assert corpus.special_ids(tokenizer) == set(range(17))
        names = tokenizer.convert_ids_to_tokens([0, 1, 2, 16])
        assert names == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<empty_output>"]

    def test_it_adds_no_bos(self, tokenizer: PreTrainedTokenizerBase, measured: Profile) -> None:
        assert not corpus.adds_bos(tokenizer)
        (note,) = [c["detail"] for c in measured.checks if c["name"] == "BOS"]
        assert note.startswith("the tokenizer adds no BOS before a text; 0 of ")

    def test_digits_stand_alone(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """In its vocabulary no digit is joined with anything, so no split is needed but theirs."""
        joined = [t for t in tokenizer.get_vocab() if len(t) > 1 and set(t) & set("0123456789")]
        assert joined == []
        pieces = tokenizer.convert_ids_to_tokens(tokenizer("In  1812,\n\n  12 é")["input_ids"])
        assert pieces == ["In", "ĠĠ", "1", "8", "1", "2", ",", "ĊĊĠĠ", "1", "2", "ĠÃ©"]

    def test_its_chat_template_tells_the_roles_apart(
        self, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
    ) -> None:
        source = tmp_path / "chat.jsonl"
        source.write_text(json.dumps({"messages": MESSAGES}))
        documents = list(corpus.documents([str(source)], chat=True))
        (window,), _ = cut_into_windows(corpus.Windower(tokenizer, WINDOW, chat=True), documents)
        assert tokenizer.decode(window.ids[0]) == RENDERED
        # The default system prompt is the template's own.
        by_role = {
            role: tokenizer.decode(window.ids[window.strata == CHAT.index(role)])
            for role in ("user", "assistant", "system")
        }
        assert by_role == {"user": MESSAGES[0]["content"], "assistant": "72.", "system": ""}


class TestStates:
    def test_what_is_captured_is_bitwise_transformers_hidden_states(
        self, smol: LoadedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        ids = tokenizer(RENDERED * 4, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            plain = smol.model(input_ids=ids, output_hidden_states=True)
        stream = find_structure(smol.model)["residual"]
        held: dict[str, torch.Tensor] = {}
        sites = [site.name for site in stream.trunk]
        with (
            Capture(smol.model, stream, sites, take=lambda name, x: held.update({name: x.clone()})),
            torch.no_grad(),
        ):
            smol.model(input_ids=ids)
        blocks = [f"block.{i}.resid_post" for i in range(BLOCKS)]
        assert sites == ["embed", *blocks, "final_norm"]
        named = ["embed", *blocks[:-1], "final_norm"]
        assert len(plain.hidden_states) == len(named) == BLOCKS + 1
        for name, expected in zip(named, plain.hidden_states, strict=True):
            assert held[name].shape == (1, ids.shape[1], WIDTH)
            assert torch.equal(held[name], expected), name
        # What the tuple does not hold: the last block before the norm.
        assert torch.equal(smol.model.norm(held[blocks[-1]]), plain.last_hidden_state)
        assert not torch.equal(held[blocks[-1]], plain.last_hidden_state)

    def test_every_check_of_the_run_holds(self, measured: Profile) -> None:
        failed = [c for c in measured.checks if c["level"] == "check" and not c["passed"]]
        assert failed == []

    def test_the_model_is_what_the_file_says(self, smol: LoadedModel) -> None:
        expected = {
            "source": "gguf",
            "file": fetch_real.NAME,
            "checkpoint_sha256": fetch_real.SHA256,
            "quantisation": "Q4_1",
            "weight_dtype": "float32",
            "parameters": 134_515_008,
            "tokenizer_pre": "smollm",
            "tokenizer_known": True,
            "left_out": [],
        }
        assert expected.items() <= describe(smol).items()


class TestNumbers:
    """Against float64 NumPy over the concatenated states, within what is promised."""

    @pytest.mark.parametrize("site", COMPARED)
    def test_moments(
        self, measured: Profile, states: dict[str, NDArray[np.float32]], site: str
    ) -> None:
        x = states[site].astype(np.float64)
        assert len(x) == MAX_TOKENS
        channels = measured.channels(site, "all")
        std = x.std(0, ddof=1)
        assert (np.abs(channels["mean"] - x.mean(0)) <= 1e-6 * std).all()
        np.testing.assert_allclose(channels["std"], std, rtol=1e-6)
        np.testing.assert_array_equal(channels["min"], x.min(0))
        np.testing.assert_array_equal(channels["max"], x.max(0))
        pooled = measured.moments("all").loc[site]
        d = x - x.mean()
        variance = np.mean(d**2)
        skewness = np.mean(d**3) / variance**1.5
        kurtosis = np.mean(d**4) / variance**2 - 3
        assert abs(pooled["skewness"] - skewness) <= 1e-4 * max(1.0, abs(skewness))
        assert abs(pooled["excess_kurtosis"] - kurtosis) <= 1e-4 * max(1.0, abs(kurtosis))

    def test_comoments_and_r2(
        self, measured: Profile, states: dict[str, NDArray[np.float32]]
    ) -> None:
        x = np.stack([states[site].astype(np.float64) for site in COMPARED])
        flat = x.reshape(len(x), -1)
        covariance = np.cov(flat)
        scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
        sites = {"site_a": list(COMPARED), "site_b": list(COMPARED)}
        found = measured.covariance("all").sel(sites)
        assert (np.abs(found.values - covariance) <= 1e-6 * scale).all()
        r2 = measured.r2(view="all").sel(sites)
        assert np.abs(r2.values - np.corrcoef(flat) ** 2).max() <= 1e-6
        centred = (x - x.mean(1, keepdims=True)).reshape(len(x), -1)
        within = measured.r2("within", view="all").sel(sites)
        assert np.abs(within.values - np.corrcoef(centred) ** 2).max() <= 1e-6

    @pytest.mark.parametrize("site", COMPARED)
    def test_quantiles_are_right_to_a_cell(
        self, measured: Profile, states: dict[str, NDArray[np.float32]], site: str
    ) -> None:
        expected = np.quantile(states[site].astype(np.float64), LEVELS)
        found = measured.quantiles(list(LEVELS), view="all").sel(site=site).values
        cell = np.exp2(np.floor(np.log2(np.maximum(np.abs(expected), 1e-30))) - 7)
        assert (np.abs(found - expected) <= cell).all()
        assert (found[0], found[-1]) == (expected[0], expected[-1])


class TestPoints:
    """Every point against hooks of the tests' own, and what is added up in float64."""

    @pytest.mark.parametrize("which", ["demo", "smol"])
    def test_every_point_adds_up_and_is_counted_right(
        self, which: str, request: pytest.FixtureRequest
    ) -> None:
        loaded = load("demo") if which == "demo" else request.getfixturevalue("smol")
        ids = loaded.tokenizer(TEXT * 8, add_special_tokens=False)["input_ids"]
        p, states = by_hand.measure(loaded, ids[:512])
        assert len(states) == 9 * loaded.model.config.num_hidden_layers
        assert [c for c in p.checks if c["level"] == "check" and not c["passed"]] == []
        error, unequal = by_hand.identities(loaded.model, states)
        assert error <= 1
        assert unequal == 0
        off = by_hand.compare(p, states)
        assert off["mean / std"] <= 1e-6
        assert off["std, relative"] <= 1e-6
        assert off["min max absmax"] == off["counts"] == 0
        without = states | {"block.1.mlp_out": np.zeros_like(states["block.1.mlp_out"])}
        assert by_hand.identities(loaded.model, without)[0] > 1


class TestOutliers:
    """Both rules against a direct count over every block."""

    @pytest.mark.parametrize("view", ["first", "rest", "all"])
    def test_massive_activations(
        self,
        measured: Profile,
        direct_states: tuple[dict[str, NDArray[np.float32]], NDArray[np.int8]],
        view: str,
    ) -> None:
        states, strata = direct_states
        shown = {"first": strata == 0, "rest": strata >= 2, "all": strata >= 0}[view]
        expected = massive_values(states, shown)
        found = measured.outliers(view).massive
        # Of each channel the profile keeps eight values for each site and stratum.
        places = {(site, channel) for site, channel, _ in expected}
        assert set(zip(found["site"], found["channel"], strict=True)) == places
        largest = {place: max(abs(v) for *p, v in expected if (*p,) == place) for place in places}
        tops = found.assign(size=found["value"].abs()).groupby(["site", "channel"])["size"].max()
        assert {place: tops[place] for place in places} == pytest.approx(largest)

    def test_channel_507_is_massive_at_first_tokens(self, measured: Profile) -> None:
        table = measured.outliers("first").massive_channels
        assert table.loc[507, "blocks"] == "11–27"
        assert table.loc[507, "cut"] == (measured.tokens["first"] >= 8)
        assert 20_000 < table.loc[507, "value"] < 30_000
        assert "channel 507 in blocks 11–27" in analysis.massive_words(measured.outliers("first"))

    def test_outlier_channels(
        self,
        measured: Profile,
        direct_states: tuple[dict[str, NDArray[np.float32]], NDArray[np.int8]],
    ) -> None:
        states, strata = direct_states
        rest = {site: x[strata >= 2] for site, x in states.items()}
        expected = outlier_channels(rest)
        table = measured.outliers().channels
        assert table["token_share"].to_dict() == pytest.approx(expected)
        assert {247, 507} <= set(table.index)
        assert len(table) < 10

    def test_figures_keep_to_what_the_sites_hold(self, measured: Profile) -> None:
        axes = measured.plot.histogram().axes[0]
        assert axes.get_xscale() == "asinh"
        assert max(np.abs(axes.get_xlim())) < 3000
        assert max(np.abs(measured.plot.ridge().axes[0].get_xlim())) < 200
