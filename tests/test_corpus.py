"""From text to token batches: documents, shards, windows, strata, padding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
from conftest import TEXT
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import FIXED
from transformers import AutoTokenizer, BertTokenizer

from hiddenscope import corpus
from hiddenscope.errors import SourceError
from hiddenscope.strata import PADDING, STRATA

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def names(*strata: str) -> list[int]:
    return [STRATA.index(s) for s in strata]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny.DEMO)


@pytest.fixture(scope="module", params=["fast", "slow"])
def bert(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PreTrainedTokenizerBase:
    """A tokenizer that puts [CLS] and [SEP] round every sequence."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    if request.param == "fast":
        return BertTokenizer(vocab={w: i for i, w in enumerate(words)})
    from transformers import BertJapaneseTokenizer
    from transformers.models.bert_japanese.tokenization_bert_japanese import CharacterTokenizer

    assert CharacterTokenizer
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(words), "utf-8")
    made = BertJapaneseTokenizer(
        str(path), word_tokenizer_type="basic", subword_tokenizer_type="character"
    )
    assert not made.is_fast
    return made


class TestSources:
    def test_texts_come_first_then_sources_in_order(self, tmp_path: Path) -> None:
        (tmp_path / "b.txt").write_text("bee", "utf-8")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "z.md").write_bytes("\ufeffzed".encode())
        (tmp_path / "folder" / "a.txt").write_text("ay", "utf-8")
        (tmp_path / "folder" / ".hidden.txt").write_text("never", "utf-8")
        (tmp_path / "folder" / "picture.png").write_bytes(b"\xff")
        rows = [{"body": "one"}, {"body": " "}, {"body": "two"}]
        path = tmp_path / "rows.jsonl"
        path.write_text("\n\n".join(json.dumps(r) for r in rows), "utf-8")
        sources = [str(tmp_path / "b.txt"), str(tmp_path / "folder"), str(path)]
        found = list(corpus.documents(sources, ["literal"], column="body"))
        assert [d.text for d in found] == ["literal", "bee", "ay", "zed", "one", "two"]
        assert found[-1].name == f"{path}:5"

    def test_texts_are_cut_into_lines_and_paragraphs(self) -> None:
        text = "one\ntwo\n\n \nthree"
        for split, expected in [
            ("lines", ["one", "two", "three"]),
            ("paragraphs", ["one\ntwo", "three"]),
            ("document", [text]),
        ]:
            assert [d.text for d in corpus.documents([], [text], split=split)] == expected

    def test_the_samples_are_as_promised(self, tokenizer: PreTrainedTokenizerBase) -> None:
        mixed = list(corpus.documents(["sample:mixed"]))
        assert len(mixed) >= 24
        assert sum(len(tokenizer(d.text)["input_ids"]) for d in mixed) >= 4000
        (article,) = corpus.documents(["sample:article"])
        assert article.text.startswith("A language model reads a text one token at a time.")
        assert article.text.endswith("until it points to the word that should come next.")

    @pytest.mark.parametrize("row", ["[1]", '{"text": 3}', '{"text": null}', '"text"'])
    def test_rows_without_a_text_are_refused_by_line(self, tmp_path: Path, row: str) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_text('{"text": "one"}\n' + row, "utf-8")
        with pytest.raises(SourceError, match=r"rows\.jsonl:2"):
            list(corpus.documents([str(path)]))


@FIXED
@given(st.lists(st.text(max_size=60), max_size=12), st.integers(8, 50))
def test_shards_keep_every_character_in_order_within_their_size(
    texts: list[str], limit: int
) -> None:
    documents = [corpus.Document(t, str(i)) for i, t in enumerate(texts) if t.strip()]
    made = list(corpus.shards(documents, limit))
    sizes = [sum(len(d.text.encode("utf-8", "surrogatepass")) for d in shard) for shard in made]
    assert all(0 < size <= limit for size in sizes)

    def solid(found: list[str]) -> str:
        return "".join("".join(found).split())

    assert solid([d.text for shard in made for d in shard]) == solid([d.text for d in documents])
    assert made == list(corpus.shards(documents, limit))


class TestWindows:
    def test_a_long_document_is_cut_and_every_window_starts_at_zero(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        windower = corpus.Windower(tokenizer, 10, causal=True)
        windows = list(windower([corpus.Document(TEXT, "a"), corpus.Document("Short", "b")]))
        ids = tokenizer(TEXT)["input_ids"]
        own = [w for w in windows if w.document == 0]
        np.testing.assert_array_equal(np.concatenate([w.ids for w in own]), ids)
        assert [len(w.ids) for w in own[:-1]] == [10] * (len(own) - 1)
        assert [w.window for w in own] == list(range(len(own)))
        assert all(w.strata[0] == STRATA.index("first") for w in windows)
        assert all((w.strata[1:] == STRATA.index("regular")).all() for w in windows)
        assert (windower.documents, windower.cut, windower.windows) == (2, 1, len(windows))

    def test_every_window_carries_the_tokenizers_special_tokens(
        self, bert: PreTrainedTokenizerBase
    ) -> None:
        letters = [5 + i % 10 for i in range(13)]
        text = " ".join("abcdefghij"[i - 5] for i in letters)
        windower = corpus.Windower(bert, 7, causal=False)
        windows = list(windower([corpus.Document(text, "a")]))
        assert [len(w.ids) for w in windows] == [7, 7, 5]
        assert all((w.ids[0], w.ids[-1]) == (2, 3) for w in windows)
        assert np.concatenate([w.ids[1:-1] for w in windows]).tolist() == letters
        expected = names("special", *["regular"] * 5, "special")
        assert windows[0].strata.tolist() == expected
        assert corpus.adds_bos(bert)

    def test_strata_follow_position_in_a_causal_stream_and_special_ids_elsewhere(self) -> None:
        ids, positions = np.array([2, 7, 2, 8]), np.arange(4)
        for causal, first in ((True, "first"), (False, "special")):
            strata = corpus.stratify(ids, positions, frozenset({2}), causal=causal)
            assert strata.tolist() == names(first, "regular", "special", "regular")

    def test_an_id_that_serves_only_as_unknown_is_not_special(
        self, bert: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        assert corpus.special_ids(bert) == {0, 2, 3, 4}
        # The demo's one special token is BOS, EOS and UNK at once.
        assert corpus.special_ids(tokenizer) == {tokenizer.eos_token_id}
        bert.add_special_tokens({"additional_special_tokens": ["[NEW]"]})
        assert len(corpus.special_ids(bert)) == 5

    def test_a_limit_cuts_the_last_window(self, tokenizer: PreTrainedTokenizerBase) -> None:
        windower = corpus.Windower(tokenizer, 8, causal=True)
        made = list(corpus.limit_tokens(windower([corpus.Document(TEXT, "a")]), 21))
        assert [len(w.ids) for w in made] == [8, 8, 5]
        assert [len(w.strata) for w in made] == [8, 8, 5]


@FIXED
@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 90))
def test_batches_hold_every_window_once_sorted_stably_within_the_bound(
    lengths: list[int], batch_tokens: int
) -> None:
    windows = [
        corpus.Window(i, i, 0, np.arange(n) + 1, np.zeros(n, np.int8))
        for i, n in enumerate(lengths)
    ]
    made = list(corpus.batches(windows, batch_tokens, 0))
    order = [int(d) for batch in made for d in batch.document]
    assert order == sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for batch in made:
        assert batch.input_ids.size <= batch_tokens or len(batch.input_ids) == 1
        for i, document in enumerate(batch.document):
            n = lengths[document]
            expected = np.arange(batch.input_ids.shape[1]) < n
            np.testing.assert_array_equal(batch.attention_mask[i], expected)
            np.testing.assert_array_equal(batch.strata[i] == PADDING, ~expected)
            np.testing.assert_array_equal(batch.input_ids[i, :n], np.arange(n) + 1)
        assert batch.tokens == sum(lengths[d] for d in batch.document)


def test_windows_run_from_the_start_whatever_the_tokenizer_would_cut(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    def windows() -> list[list[int]]:
        windower = corpus.Windower(tokenizer, 8, causal=True)
        return [w.ids.tolist() for w in windower([corpus.Document(TEXT, "t")])]

    right = windows()
    tokenizer.truncation_side = "left"
    try:
        assert windows() == right
        assert tokenizer.truncation_side == "left"
    finally:
        tokenizer.truncation_side = "right"
    assert [i for ids in right for i in ids] == tokenizer(TEXT)["input_ids"]


def test_upper_case_jsonl_is_jsonl(tmp_path: Path) -> None:
    (tmp_path / "DATA.JSONL").write_text('{"body": "one"}\n', "utf-8")
    found = list(corpus.documents([str(tmp_path / "DATA.JSONL")], column="body"))
    assert [d.text for d in found] == ["one"]


def test_no_tokens_are_no_windows(tokenizer: PreTrainedTokenizerBase) -> None:
    windower = corpus.Windower(tokenizer, 8, causal=True)
    windows = windower([corpus.Document(TEXT, "t")])
    assert not list(corpus.limit_tokens(windows, 0))
    assert windower.documents == windower.windows == 0
