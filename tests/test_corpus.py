"""From text to batches of tokens: documents, shards, windows, strata, padding."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shlex
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tiny
from conftest import TEXT, cut_into_windows
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import EXAMPLES
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertTokenizer, ByT5Tokenizer

from hiddenscope import corpus
from hiddenscope.errors import InputError, SourceError
from hiddenscope.measuring.manifest import describe_tokenizer
from hiddenscope.strata import PADDING, PLAIN
from hiddenscope.tokens import NO_TOKEN, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def names(*strata: str) -> list[int]:
    return [PLAIN.index(s) for s in strata]


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

    def test_lines_end_at_line_breaks_alone(self) -> None:
        inside = "a\u2028b\u2029c\x0bd\x0ce\x1cf\x1dg\x1eh\x85i"
        for ends in ("\n", "\r\n", "\r"):
            text = ends.join([inside, "two", "", "three"])
            lines = [d.text for d in corpus.documents([], [text], split="lines")]
            assert lines == [inside, "two", "three"]
            paragraphs = [d.text for d in corpus.documents([], [text], split="paragraphs")]
            assert paragraphs == [ends.join([inside, "two"]), "three"]

    @pytest.mark.parametrize(
        "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-32-be"]
    )
    def test_a_byte_order_mark_tells_the_encoding(self, tmp_path: Path, codec: str) -> None:
        mark = "\ufeff" if codec[-3:] in {"-le", "-be"} else ""
        words = "Nước sông dâng, 水."
        rows = "\r\n".join(json.dumps({"text": t}, ensure_ascii=False) for t in (words, "two"))
        (tmp_path / "a.txt").write_bytes((mark + words).encode(codec))
        for name in ("rows.jsonl", "rows.NDJSON"):
            (tmp_path / name).write_bytes((mark + rows + "\n").encode(codec))
        found = list(corpus.documents([str(tmp_path)]))
        assert [d.text for d in found] == [words, *[words, "two"] * 2]
        assert found[-1].name == f"{tmp_path / 'rows.jsonl'}:2"

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            ("Nuoc song dang len.".encode("utf-16-le"), "full of NUL.*iconv -f utf-16le -t utf-8"),
            ("Nuoc song dang len.".encode("utf-16-be"), "full of NUL.*iconv -f utf-16be -t utf-8"),
            ("Nước sông dâng".encode("utf-16-le"), "not UTF-8.*iconv -f utf-16le"),
            ("“Quoted” – café".encode("cp1252"), "byte 0 is 0x93; .*iconv -f windows-1252"),
            ("Only \xfcber".encode("latin-1"), "byte 5 is 0xFC; .*iconv -f windows-1252"),
            (bytes(range(256)) * 8, "not UTF-8.*find its encoding"),
            (b"\x7fELF" + b"\0" * 60, "full of NUL.*find its encoding"),
            ("odd".encode("utf-16") + b"x", "not whole UTF-16"),
        ],
    )
    def test_what_is_no_utf8_is_refused_with_the_right_advice(
        self, tmp_path: Path, data: bytes, says: str
    ) -> None:
        (tmp_path / "a.txt").write_bytes(data)
        with pytest.raises(SourceError, match=says):
            list(corpus.documents([str(tmp_path / "a.txt")]))

    def test_a_wide_file_of_rows_that_is_cut_is_refused_by_line(self, tmp_path: Path) -> None:
        data = '{"text": "one"}\n{"text": "two"}'.encode("utf-16")
        (tmp_path / "a.jsonl").write_bytes(data[:-1])
        with pytest.raises(SourceError, match=r"a\.jsonl:\d is not whole UTF-16"):
            list(corpus.documents([str(tmp_path / "a.jsonl")]))

    @pytest.mark.parametrize("suffix", ["json", "csv", "tsv", "CSV"])
    def test_rows_that_are_not_jsonl_are_refused_with_code_that_converts_them(
        self, tmp_path: Path, suffix: str
    ) -> None:
        path = tmp_path / f"it's mine.{suffix}"
        rows = {"text": ["one, two", "three"], "n": [1, 2]}
        table = pd.DataFrame(rows)
        if suffix == "json":
            table.to_json(path, orient="records")
        else:
            table.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
        with pytest.raises(SourceError, match="not read as prose") as refused:
            corpus.check_sources([str(path)])
        code = shlex.split(str(refused.value).split("convert it with ")[1].split(" and choose")[0])
        assert code[:2] == ["python", "-c"]
        exec(code[2])
        found = [d.text for d in corpus.documents([str(path.with_suffix(".jsonl"))])]
        assert found == rows["text"]

    def test_what_a_folder_skips_is_counted_and_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a.png", "b.png", "c.png", "d.PNG", "e.csv", ".f.txt", ".git/g", "z.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("some words", "utf-8")
        (tmp_path / "empty.txt").touch()
        (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
        (tmp_path / "linked").symlink_to(tmp_path / ".git")
        (tmp_path / "shut").mkdir()
        access = os.access
        monkeypatch.setattr(os, "access", lambda p, mode: p.name != "shut" and access(p, mode))
        source = str(tmp_path)
        assert [d.name for d in corpus.documents([source])] == [str(tmp_path / "z.txt")]
        (what,) = corpus.unread_files([source]).values()
        assert sorted(what.split("; ")) == sorted(
            [
                "3 left out as .png, no text (a.png, b.png, c.png)",
                "1 left out as .PNG, no text (d.PNG)",
                "1 left out as .csv, no text (e.csv)",
                "2 left out as hidden (.f.txt, .git/g)",
                "1 left out as empty (empty.txt)",
                "1 left out as no file (gone.txt)",
                "1 left out as a linked folder (linked)",
                "1 left out as a folder that may not be read (shut)",
            ]
        )
        assert "z.txt" in corpus.unread_files([source], chat=True)[source]
        assert corpus.unread_files([str(tmp_path / "z.txt"), "-", "sample:mixed"]) == {}

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


@pytest.mark.parametrize("package", ["hiddenscope", "hiddenscope.corpus", "hiddenscope.models"])
def test_no_module_shadows_a_public_name(package: str) -> None:
    found = importlib.import_module(package)
    modules = {module.name for module in pkgutil.iter_modules(found.__path__)}
    assert len(modules) > 5
    assert not modules & set(found.__all__)


@EXAMPLES
@given(st.lists(st.text(min_size=1, max_size=60), max_size=12), st.integers(8, 50))
def test_shards_keep_every_document_in_order_within_their_size(
    texts: list[str], limit: int
) -> None:
    documents = [corpus.Document(t, str(i), i) for i, t in enumerate(texts)]
    made = list(corpus.shards(documents, limit))
    assert [d for shard in made for d in shard] == documents
    sizes = [sum(len(d.text.encode()) for d in shard) for shard in made]
    assert all(n <= limit or len(shard) == 1 for n, shard in zip(sizes, made, strict=True))
    # No shard has room for the document that follows it.
    following = [len(shard[0].text.encode()) for shard in made[1:]]
    assert all(n + more > limit for n, more in zip(sizes, following, strict=False))


class TestWindows:
    def test_a_long_document_is_cut_and_every_window_starts_at_zero(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        windower = corpus.Windower(tokenizer, 10)
        documents = [corpus.Document(TEXT, "a", 4), corpus.Document("Short", "b", 5)]
        windows, tally = cut_into_windows(windower, documents)
        ids = tokenizer(TEXT)["input_ids"]
        assert {w.ids.shape for w in windows[:-2]} == {(1, 10)}
        assert np.concatenate([w.ids[0] for w in windows[:-1]]).tolist() == ids
        assert [int(w.window[0]) for w in windows] == [*range(len(windows) - 1), 0]
        assert all((w.strata == PLAIN.index("regular")).all() for w in windows)
        assert all(w.starts.tolist() == [[True] + [False] * (w.length - 1)] for w in windows)
        assert all(w.positions.tolist() == [list(range(w.length))] for w in windows)
        assert [set(w.document[0]) for w in windows] == [{4}] * (len(windows) - 1) + [{5}]
        digests = [d.digest for d in documents]
        assert [int(w.digest[0]) for w in windows] == digests[:1] * (len(windows) - 1) + digests[1:]
        assert windower.strata == PLAIN
        assert (tally.documents, tally.cut, tally.windows) == (2, 1, len(windows))

    def test_every_window_carries_the_tokenizers_special_tokens(
        self, bert: PreTrainedTokenizerBase
    ) -> None:
        letters = [5 + i % 10 for i in range(13)]
        text = " ".join("abcdefghij"[i - 5] for i in letters)
        windows, tally = cut_into_windows(corpus.Windower(bert, 7), [corpus.Document(text, "a")])
        assert [w.length for w in windows] == [7, 7, 5]
        assert all((w.ids[0, 0], w.ids[0, -1]) == (2, 3) for w in windows)
        assert np.concatenate([w.ids[0, 1:-1] for w in windows]).tolist() == letters
        for causal, first in ((True, "first"), (False, "special")):
            made = windows[0].stratified(PLAIN, corpus.special_ids(bert), causal=causal)
            assert made.strata.tolist() == [names(first, *["regular"] * 5, "special")]
            # A copy: the other stream of an encoder-decoder reads the same tokens.
            assert windows[0].strata.tolist() == [names(*["regular"] * 7)]
        assert corpus.adds_bos(bert)
        assert tally.with_bos == 3

    def test_an_id_that_serves_only_as_unknown_is_not_special(
        self, bert: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        assert corpus.special_ids(bert) == {0, 2, 3, 4}
        # The demo's one special token is BOS, EOS and UNK at once.
        assert corpus.special_ids(tokenizer) == {tokenizer.eos_token_id}
        bert.add_special_tokens({"additional_special_tokens": ["[NEW]"]})
        assert len(corpus.special_ids(bert)) == 5
        # SmolLM calls the token between its documents UNK, as no bytes are unknown to it.
        bert.add_special_tokens({"unk_token": "<|endoftext|>"})
        assert corpus.special_ids(bert) >= {bert.unk_token_id}

    def test_a_limit_cuts_the_last_window(self, tokenizer: PreTrainedTokenizerBase) -> None:
        windower = corpus.Windower(tokenizer, 8)
        windows = windower([corpus.Document(TEXT, "a")], corpus.Tally())
        made = list(corpus.limit_tokens(windows, 21))
        for name in ("ids", "strata", "starts", "positions", "document"):
            assert [getattr(w, name).shape for w in made] == [(1, 8), (1, 8), (1, 5)]


@EXAMPLES
@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 90))
def test_batches_hold_every_window_once_sorted_stably_within_the_bound(
    lengths: list[int], batch_tokens: int
) -> None:
    windows = [
        Tokens.of_window(
            np.arange(n) + 1,
            np.full(n, PLAIN.index("regular"), np.int8),
            np.arange(n) % 4 == 0,
            i + np.arange(n) // 4,
            window=i + 7,
            digest=i,
        )
        for i, n in enumerate(lengths)
    ]
    made = list(corpus.batches(windows, batch_tokens))
    order = [int(d) for batch in made for d in batch.digest]
    assert order == sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for batch in made:
        assert batch.ids.size <= batch_tokens or len(batch.ids) == 1
        np.testing.assert_array_equal(batch.window, batch.digest + 7)
        for i, document in enumerate(batch.digest.tolist()):
            n = lengths[document]
            expected = np.arange(batch.length) < n
            np.testing.assert_array_equal(batch.real[i], expected)
            np.testing.assert_array_equal(batch.strata[i] == PADDING, ~expected)
            np.testing.assert_array_equal(batch.ids[i, :n], np.arange(n) + 1)
            np.testing.assert_array_equal(batch.positions[i, :n], np.arange(n))
            assert (batch.ids[i, n:] == NO_TOKEN).all()
            np.testing.assert_array_equal(batch.attention_mask[i], expected)
            np.testing.assert_array_equal(batch.input_ids(-7)[i, n:], -7)
            np.testing.assert_array_equal(batch.input_ids(-7)[i, :n], batch.ids[i, :n])
            np.testing.assert_array_equal(batch.starts[i, :n], np.arange(n) % 4 == 0)
            np.testing.assert_array_equal(batch.document[i, :n], document + np.arange(n) // 4)
            assert not batch.starts[i, n:].any()
            assert not batch.document[i, n:].any()
        assert batch.real.sum() == sum(lengths[d] for d in batch.digest.tolist())


def test_windows_run_from_the_start_whatever_the_tokenizer_would_cut(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    def windows() -> list[list[int]]:
        made, _ = cut_into_windows(corpus.Windower(tokenizer, 8), [corpus.Document(TEXT, "t")])
        return [w.ids[0].tolist() for w in made]

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
    tally = corpus.Tally()
    windows = corpus.Windower(tokenizer, 8)([corpus.Document(TEXT, "t")], tally)
    assert not list(corpus.limit_tokens(windows, 0))
    assert tally == corpus.Tally()


def opening(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make a tokenizer put its BOS before every text, as Llama's does."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.bos_token_id)]
    )
    return tokenizer


@pytest.fixture
def own() -> PreTrainedTokenizerBase:
    """A tokenizer that a test may change."""
    return AutoTokenizer.from_pretrained(tiny.DEMO)


def cut(
    tokenizer: PreTrainedTokenizerBase, length: int | None, bos: str, text: str = TEXT
) -> list[list[int]]:
    windower = corpus.Windower(tokenizer, length, bos=bos)
    windows, tally = cut_into_windows(windower, [corpus.Document(text, "t")])
    starts = {tokenizer.bos_token_id, tokenizer.cls_token_id}
    assert tally.with_bos == sum(w.ids[0, 0] in starts for w in windows)
    assert all(w.ids.shape == w.strata.shape == w.starts.shape for w in windows)
    return [w.ids[0].tolist() for w in windows]


class TestBos:
    def test_a_tokenizer_that_puts_none(self, own: PreTrainedTokenizerBase) -> None:
        ids, bos = own(TEXT)["input_ids"], own.bos_token_id
        plain = [ids[i : i + 10] for i in range(0, len(ids), 10)]
        assert cut(own, 10, "auto") == cut(own, 10, "never") == plain
        assert cut(own, 10, "add") == [[bos, *ids[i : i + 9]] for i in range(0, len(ids), 9)]
        assert cut(own, None, "add") == [[bos, *ids]]

    def test_a_tokenizer_that_puts_one(self, own: PreTrainedTokenizerBase) -> None:
        ids, bos = own(TEXT)["input_ids"], own.bos_token_id
        opening(own)
        opened = [[bos, *ids[i : i + 9]] for i in range(0, len(ids), 9)]
        assert cut(own, 10, "auto") == cut(own, 10, "add") == opened
        assert cut(own, 10, "never") == [ids[i : i + 10] for i in range(0, len(ids), 10)]
        assert cut(own, None, "never") == [ids]

    def test_a_bos_in_the_text_stays_and_is_not_doubled(self, own: PreTrainedTokenizerBase) -> None:
        ids = own("<|endoftext|>duck")["input_ids"]
        assert cut(own, 10, "never", "<|endoftext|>duck") == [ids]
        assert cut(own, 10, "add", "<|endoftext|>duck") == [ids]

    def test_cls_is_not_a_bos_unless_it_is(self, bert: PreTrainedTokenizerBase) -> None:
        text = "a b c d e f g"
        expected = [[2, 5, 6, 7, 8, 9, 3], [2, 10, 11, 3]]
        assert cut(bert, 7, "auto", text) == cut(bert, 7, "never", text) == expected
        with pytest.raises(InputError, match=r"starts every window with \[CLS\] already"):
            corpus.Windower(bert, 7, bos="add")
        bert.bos_token = "[CLS]"
        try:
            assert cut(bert, 7, "add", text) == expected
            without = [[5, 6, 7, 8, 9, 10, 3], [11, 3]]
            assert cut(bert, 7, "never", text) == without
        finally:
            bert.bos_token = None

    def test_a_slow_tokenizer_that_ends_texts_with_eos(self) -> None:
        slow = ByT5Tokenizer(bos_token="<pad>")
        assert cut(slow, 4, "add", "abcd") == [[0, 100, 101, 1], [0, 102, 103, 1]]
        assert cut(slow, 4, "auto", "abcd") == [[100, 101, 102, 1], [103, 1]]

    def test_what_cannot_be_done_is_refused(self, own: PreTrainedTokenizerBase) -> None:
        with pytest.raises(InputError, match="unknown bos 'always': choose one of auto, add, nev"):
            corpus.Windower(own, 10, bos="always")
        with pytest.raises(InputError, match="no bos_token"):
            corpus.Windower(ByT5Tokenizer(), 10, bos="add")


def test_the_digest_of_a_tokenizer_is_of_what_it_is_not_of_its_last_call(
    own: PreTrainedTokenizerBase,
) -> None:
    fresh = describe_tokenizer(own)
    cut_into_windows(corpus.Windower(own, 8), [corpus.Document(TEXT, "t")])
    own.backend_tokenizer.enable_truncation(5)
    own.backend_tokenizer.enable_padding(length=5)
    assert own.backend_tokenizer.truncation is not None
    assert own.backend_tokenizer.padding is not None
    assert describe_tokenizer(own) == fresh
    opening(own)
    changed = describe_tokenizer(own)
    assert fresh is not None
    assert changed is not None
    assert changed["sha256"] != fresh["sha256"]


DOCUMENTS = [
    corpus.Document(text, str(i), i) for i, text in enumerate([TEXT, "A duck.", TEXT[:90], "Rain."])
]


class TestPacking:
    def test_documents_are_joined_with_eos_and_cut_into_full_windows(
        self, own: PreTrainedTokenizerBase
    ) -> None:
        windows, tally = cut_into_windows(corpus.Windower(own, 16, pack=True), DOCUMENTS)
        texts = [[*own(d.text)["input_ids"], own.eos_token_id] for d in DOCUMENTS]
        stream = [i for ids in texts for i in ids]
        of_token = [number for number, ids in enumerate(texts) for _ in ids]
        begins = [position == 0 for ids in texts for position in range(len(ids))]
        assert [w.length for w in windows[:-1]] == [16] * (len(windows) - 1)
        assert np.concatenate([w.ids[0] for w in windows]).tolist() == stream
        assert np.concatenate([w.document[0] for w in windows]).tolist() == of_token
        for number, window in enumerate(windows):
            expected = begins[number * 16 : number * 16 + 16]
            assert window.starts.tolist() == [[True, *expected[1:]]]
            assert window.window.tolist() == [number]
            assert (window.strata == PLAIN.index("regular")).all()
        assert len({int(w.digest[0]) for w in windows}) == len(windows)
        _, apart = cut_into_windows(corpus.Windower(own, None), DOCUMENTS)
        assert tally.documents == 4
        assert tally.digest == apart.digest
        across = {n for i, n in enumerate(of_token) if i % 16 == 0 and not begins[i]}
        assert tally.cut == len(across)

    @pytest.mark.parametrize("bos", ["auto", "add", "never"])
    @pytest.mark.parametrize("opens", [False, True])
    def test_a_bos_between_documents_stands_for_eos(
        self, own: PreTrainedTokenizerBase, bos: str, opens: bool
    ) -> None:
        ids = [own(d.text)["input_ids"] for d in DOCUMENTS]
        if opens:
            opening(own)
        windows, _ = cut_into_windows(corpus.Windower(own, 16, bos=bos, pack=True), DOCUMENTS)
        before = bos == "add" or (opens and bos == "auto")
        mark = [own.bos_token_id]
        expected = [i for x in ids for i in ([*mark, *x] if before else [*x, *mark])]
        assert [i for w in windows for i in w.ids[0].tolist()] == expected

    def test_an_eos_that_the_tokenizer_puts_is_not_doubled(self) -> None:
        windower = corpus.Windower(ByT5Tokenizer(), 8, pack=True)
        windows, _ = cut_into_windows(windower, DOCUMENTS[1::2])
        expected = [i for d in DOCUMENTS[1::2] for i in ByT5Tokenizer()(d.text)["input_ids"]]
        assert [i for w in windows for i in w.ids[0].tolist()] == expected

    def test_a_tokenizer_without_eos_puts_none(self, bert: PreTrainedTokenizerBase) -> None:
        documents = [corpus.Document("a b", "0"), corpus.Document("c", "1")]
        (window,), _ = cut_into_windows(corpus.Windower(bert, 16, pack=True), documents)
        assert window.ids.tolist() == [[2, 5, 6, 3, 2, 7, 3]]
        assert np.flatnonzero(window.starts).tolist() == [0, 4]

    def test_what_is_counted_is_what_is_taken(self, own: PreTrainedTokenizerBase) -> None:
        windower = corpus.Windower(own, 16, pack=True)
        tally = corpus.Tally()
        first = next(iter(windower(DOCUMENTS, tally)))
        assert (tally.documents, tally.windows) == (1, 1)
        for seen in (first.length, first.length + 3):
            kept = list(corpus.limit_tokens(windower(DOCUMENTS, corpus.Tally()), seen))
            assert sum(w.length for w in kept) == sum(w.starts.shape[1] for w in kept) == seen

    @pytest.mark.usefixtures("short_parts")
    def test_documents_are_numbered_over_shards_and_their_parts(
        self, own: PreTrainedTokenizerBase
    ) -> None:
        texts = [TEXT * 4, *(d.text for d in DOCUMENTS[1:])]
        parts = list(corpus.documents([], texts))
        shards = list(corpus.shards(parts, 100))
        assert [d.begins for d in parts] == [True, False, False, True, True, True]
        assert [d.part for d in parts] == [True] * 3 + [False] * 3
        whole = {}
        for pack in (True, False):
            windower = corpus.Windower(own, 16, pack=pack)
            made = [cut_into_windows(windower, shard) for shard in shards]
            # Any shard alone, with a windower that has seen no other.
            again = [cut_into_windows(corpus.Windower(own, 16, pack=pack), s) for s in shards[::-1]]
            for (windows, tally), (others, counted) in zip(made, again[::-1], strict=True):
                assert [vars(w).keys() for w in windows] == [vars(w).keys() for w in others]
                for a, b in zip(windows, others, strict=True):
                    assert all(np.array_equal(x, vars(b)[name]) for name, x in vars(a).items())
                assert tally == counted
            numbers = [n for windows, _ in made for w in windows for n in w.document[0].tolist()]
            assert sorted(set(numbers)) == [0, 1, 2, 3]
            assert numbers == sorted(numbers)
            tallies = [tally for _, tally in made]
            whole[pack] = reduce(corpus.Tally.merge, tallies)
            assert reduce(corpus.Tally.merge, tallies[::-1]) == whole[pack]
            assert whole[pack].documents == 4
            assert whole[pack].windows == sum(len(windows) for windows, _ in made)
        # What makes it a corpus does not depend on how it is cut into shards.
        _, apart = cut_into_windows(corpus.Windower(own, None), parts)
        assert whole[True].digest == whole[False].digest == apart.digest
        _, other = cut_into_windows(corpus.Windower(own, None), parts[::-1])
        assert other.digest == apart.digest
        swapped = [replace(d, index=3 - d.index) for d in parts]
        assert cut_into_windows(corpus.Windower(own, None), swapped)[1].digest != apart.digest

    @pytest.mark.usefixtures("short_parts")
    def test_equal_windows_of_a_document_are_drawn_apart(
        self, own: PreTrainedTokenizerBase
    ) -> None:
        shards = list(corpus.shards(corpus.documents([], ["the " * 600, "Rain."]), 900))
        for shard in shards[:-1]:
            windows, _ = cut_into_windows(corpus.Windower(own, 16, pack=True), shard)
            assert len({int(w.digest[0]) for w in windows}) < len(windows) / 2
            places = [(int(w.document[0, 0]), int(w.window[0])) for w in windows]
            assert len(set(places)) == len(places)
        parts = [cut_into_windows(corpus.Windower(own, 16, pack=True), s)[0] for s in shards]
        everywhere = [(int(w.document[0, 0]), int(w.window[0])) for ws in parts for w in ws]
        assert len(set(everywhere)) == len(everywhere) > 30

    def test_packing_needs_a_length(self, own: PreTrainedTokenizerBase) -> None:
        with pytest.raises(InputError, match="length of a window"):
            corpus.Windower(own, None, pack=True)
