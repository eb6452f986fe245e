"""Texts in pieces: how they are cut and streamed, and how a sample is drawn of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny
from conftest import TEXT, cut_into_windows
from hypothesis import given
from hypothesis import strategies as st
from stat_helpers import EXAMPLES
from transformers import AutoTokenizer

import hiddenscope as hs
from hiddenscope import corpus
from hiddenscope.corpus import cutting
from hiddenscope.corpus.decoding import decoded
from hiddenscope.corpus.drawing import draw
from hiddenscope.errors import InputError, SourceError
from hiddenscope.measuring.manifest import describe_tokenizer
from hiddenscope.models import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Run
    from transformers import PreTrainedTokenizerBase

BOOK = "".join(
    f"{TEXT[: 40 + 7 * (i % 12)]} Number {i}.{chr(10) * (1 + (i % 3 > 0))}" for i in range(200)
)
"""Lines and paragraphs, each with a number of its own."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny.DEMO)


def in_chunks(text: str, sizes: list[int]) -> list[str]:
    bounds = [0, *np.cumsum(sizes).tolist(), len(text)]
    return [text[a:b] for a, b in pairwise(bounds) if a < b]


WORDS = st.text(st.sampled_from("ab水\U0001f986 \n\r\t\u2028\u00e9"), max_size=80)
CHUNKS = st.lists(st.integers(0, 9), max_size=12)


class TestCutting:
    @EXAMPLES
    @given(WORDS, CHUNKS, st.integers(4, 40))
    def test_pieces_are_the_text_however_it_arrives(
        self, text: str, sizes: list[int], limit: int
    ) -> None:
        made = list(cutting.pieces([text], limit))
        assert b"".join(made) == text.encode()
        assert all(0 < len(piece) <= limit for piece in made[: -1 or None])
        assert "".join(piece.decode() for piece in made) == text
        # Only between two characters of several bytes is a piece cut that is not over half full.
        assert all(len(piece) > min(limit // 2, limit - 4) for piece in made[:-1])
        assert list(cutting.pieces(in_chunks(text, sizes), limit)) == made

    @EXAMPLES
    @given(WORDS, CHUNKS, st.integers(4, 20), st.integers(4, 90))
    def test_parts_are_runs_of_pieces(
        self, text: str, sizes: list[int], piece: int, limit: int
    ) -> None:
        data = text.encode()
        made = list(cutting.parts(in_chunks(text, sizes), limit, piece))
        starts = [start for start, _, _ in made]
        assert [data[a:b].decode() for a, b in zip(starts, [*starts[1:], None], strict=True)] == [
            part for _, part, _ in made
        ]
        assert [last for *_, last in made] == [False] * (len(made) - 1) + [True]
        borders = np.cumsum([0, *map(len, cutting.pieces([text], piece))]).tolist()
        assert set(starts) <= set(borders)
        if len(data) <= max(limit, piece):
            assert len(made) == 1
        if piece == limit:
            assert starts == borders[:-1]
        assert all(len(part.encode()) <= max(limit, piece) for _, part, _ in made)

    def test_ends_of_paragraphs_come_before_those_of_lines_and_words(self) -> None:
        paragraph = "aa bb.\n \n\ncc dd\nee ff gg hh ii"
        assert next(iter(cutting.pieces([paragraph + " " * 9], 28))) == b"aa bb.\n \n\ncc dd"
        for text, first in [
            ("aa aa aaa\n\nb\nbb bb bb", b"aa aa aaa"),
            ("aa aa aaa\r\n \r\nb\nbb bb", b"aa aa aaa"),
            # One that would leave less than half does not count.
            ("aa\n\naa aa aa\nb b bb bb", b"aa\n\naa aa aa"),
            ("aa aa aa aa bb bb bb", b"aa aa aa aa bb"),
            ("水" * 12, "水".encode() * 5),
        ]:
            assert next(iter(cutting.pieces([text], 16))) == first

    def test_pieces_apart_have_the_tokens_of_the_whole(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        whole = tokenizer(BOOK)["input_ids"]
        made = [piece.decode() for piece in cutting.pieces([BOOK], 300)]
        assert len(made) > 50
        assert [i for piece in made for i in tokenizer(piece)["input_ids"]] == whole

    @EXAMPLES
    @given(WORDS, CHUNKS, st.sampled_from(["lines", "paragraphs"]))
    def test_lines_and_paragraphs_are_the_same_however_the_text_arrives(
        self, text: str, sizes: list[int], split: str
    ) -> None:
        border = cutting.SPLITS[split]
        assert border is not None
        assert list(cutting.split_text(in_chunks(text, sizes), split)) == border.split(text)


class TestStreaming:
    @EXAMPLES
    @given(
        st.text(max_size=40),
        st.lists(st.integers(1, 9), max_size=9),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    )
    def test_characters_that_lie_in_two_blocks_are_read(
        self, text: str, sizes: list[int], codec: str
    ) -> None:
        text = text.replace("\0", " ").lstrip("\ufeff")
        data = text.encode(codec)
        # The first block holds the mark.
        bounds = [0, *np.cumsum([4, *sizes]).tolist(), len(data)]
        blocks = [data[a:b] for a, b in pairwise(bounds) if a < b]
        assert "".join(decoded(blocks, "a.txt")) == text

    @pytest.mark.parametrize(
        ("blocks", "says"),
        [
            ([b"words ", b"and \xc3", b"\xa9 \xff"], "byte 13 is 0xFF"),
            ([b"\xef\xbb\xbfwords ", b"an\xc3"], "byte 11 is 0xC3"),
            ([b"words " * 50, b"\0" * 40], "full of NUL"),
        ],
    )
    def test_what_is_no_text_is_refused_at_its_byte(self, blocks: list[bytes], says: str) -> None:
        with pytest.raises(SourceError, match=says):
            list(decoded(blocks, "a.txt"))

    @pytest.mark.parametrize(
        ("split", "size"), [("document", 16_000_000), ("paragraphs", 5_000_000)]
    )
    def test_a_large_file_is_never_whole_in_memory(
        self, tmp_path: Path, split: str, size: int
    ) -> None:
        path = tmp_path / "large.txt"
        copies = size // len(BOOK)
        path.write_text(BOOK * copies, "utf-8")
        tracemalloc.start()
        try:
            read = numbers = 0
            for document in corpus.documents([str(path)], split=split):
                read += len(document.text)
                numbers += document.text.count("Number 7.")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert numbers == copies
        assert peak < size / 2
        assert read == path.stat().st_size or split == "paragraphs"

    def test_a_document_of_a_mebibyte_is_one_and_a_longer_one_has_parts(
        self, tmp_path: Path
    ) -> None:
        text = (BOOK * (2_500_000 // len(BOOK)))[:2_400_000]
        (tmp_path / "a.txt").write_text(text[: 1 << 20], "utf-8")
        (tmp_path / "b.txt").write_text(text, "utf-8")
        (one,) = corpus.documents([str(tmp_path / "a.txt")])
        assert (one.text, one.part, one.start) == (text[: 1 << 20], False, 0)
        many = list(corpus.documents([str(tmp_path)]))[1:]
        assert "".join(d.text for d in many) == text
        assert [d.index for d in many] == [1] * len(many)
        assert all(d.part and len(d.text) > (1 << 20) - 66_000 for d in many[:-1])
        assert all(d.text.startswith("\n") for d in many[1:])


def lines(count: int, words: int = 5) -> list[corpus.Document]:
    return [corpus.Document("word " * words, f"{i}", i) for i in range(count)]


class TestDrawing:
    def test_the_fewest_pieces_with_the_smallest_numbers_hold_the_tokens(self) -> None:
        documents = lines(400)
        sizes = [3 + i % 11 for i in range(400)]

        def number(index: int) -> int:
            digest = hashlib.blake2b(f"5/{index}/0".encode(), digest_size=8).digest()
            return int.from_bytes(digest, "little")

        order = sorted(range(400), key=number)
        for tokens in range(2, 2000, 83):
            expected, left = {}, tokens
            for index in order:
                if left > 0:
                    expected[index, 0] = None if sizes[index] <= left else left
                    left -= sizes[index]
            drawn = draw(documents, lambda d: sizes[d.index], tokens, 5)
            assert drawn.limits == expected
            assert drawn.read_tokens == tokens
            assert drawn.size == sum(len(documents[i].text) for i, _ in expected)

    def test_order_and_what_is_beside_it_do_not_change_whether_a_piece_is_drawn(self) -> None:
        documents = lines(300)
        drawn = draw(documents, lambda _: 5, 200, 1)
        again = draw(documents[::-1], lambda _: 5, 200, 1)
        assert drawn.limits == again.limits
        assert drawn.limits != draw(documents, lambda _: 5, 200, 2).limits

    def test_every_place_of_the_corpus_is_drawn_as_often(self) -> None:
        documents = lines(50)
        # Documents of several pieces: all have the same chance.
        documents += [replace(documents[0], index=50, start=64 * i) for i in range(50)]
        times: Counter[tuple[int, int]] = Counter()
        for seed in range(400):
            times.update(list(draw(documents, lambda _: 5, 100, seed).limits))
        counts = np.array([times[d.index, d.start] for d in documents])
        assert counts.sum() == 400 * 20
        # Of each, 80 times with a deviation of 8.
        assert 0.6 < counts.var() / (400 * 0.2 * 0.8) < 1.6
        assert abs(counts - 80).max() < 36
        assert abs(counts[:50].sum() - 4000) < 160

    def test_tokens_are_counted_in_few_pieces(self) -> None:
        counted: list[int] = []

        def count(document: corpus.Document) -> int:
            counted.append(document.index)
            return 5

        drawn = draw(lines(2000), count, 100, 0)
        assert (len(drawn.limits), drawn.of_pieces, drawn.of_documents) == (20, 2000, 2000)
        assert len(counted) < 3 * 20 * (1 + np.log(2000 / 20)) / 2

    def test_a_sample_of_more_than_there_is_is_all_of_it(self) -> None:
        documents = lines(30)
        drawn = draw(documents, lambda _: 5, 151, 0)
        assert drawn.read_tokens == 150
        assert list(drawn.select(documents)) == documents

    def test_pieces_are_read_in_the_order_of_the_corpus(self) -> None:
        documents = [replace(d, index=0, start=9 * d.index, part=True) for d in lines(40)]
        documents += [replace(d, index=1, start=d.start) for d in documents]
        drawn = draw(documents, lambda _: 5, 53, 3)
        made = list(drawn.select(documents))
        assert [(d.index, d.start) for d in made] == sorted(drawn.limits)
        assert [d.begins for d in made] == [
            i == 0 or made[i - 1].index != d.index for i, d in enumerate(made)
        ]
        assert sum(d.limit or 5 for d in made) == 53
        with pytest.raises(SourceError, match="shorter than when pieces"):
            list(drawn.select(documents[:20]))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(BOOK, "utf-8")
    return path


@pytest.mark.usefixtures("short_parts")
class TestSamples:
    @pytest.mark.parametrize("pack", [False, True])
    def test_windows_hold_only_what_stands_together(
        self, tokenizer: PreTrainedTokenizerBase, book: Path, pack: bool
    ) -> None:
        windower = corpus.Windower(tokenizer, 16, pack=pack)
        given = corpus.Corpus([str(book)])
        with given.read(windower, 700, 4) as reading:
            pieces = list(reading.documents)
        assert len(pieces) > 10
        windows, tally = cut_into_windows(windower, pieces)
        assert sum(w.length for w in windows) - 700 in ({0, 1} if pack else {0})
        assert (tally.documents, tally.cut) == (1, 1)
        runs: list[list[int]] = []
        for w in windows:
            for token, starts in zip(w.ids[0].tolist(), w.starts[0].tolist(), strict=True):
                if starts or not runs:
                    runs.append([])
                runs[-1].append(token)
        eos = tokenizer.eos_token
        for run in runs:
            text = tokenizer.decode(run).removesuffix(eos)
            assert eos not in text
            assert any(text in piece.text for piece in pieces)
        ids = [i for d in pieces for i in tokenizer(d.text)["input_ids"][: d.limit]]
        assert [i for run in runs for i in run if i != tokenizer.eos_token_id] == ids

    def test_a_sample_depends_on_seed_and_text_alone(self, small: Path, book: Path) -> None:
        def run(**options: Any) -> hs.Profile:
            options = {"seed": 7, "window": 32, "sites": "embed"} | options
            return hs.profile(small, str(book), sample_tokens=300, **options)

        first = run()
        for p in (run(), run(batch_tokens=64, shard_bytes=200), run(sites="all")):
            assert sum(p.tokens.values()) == 300
            for key in ("sha256", "sample"):
                assert p.manifest["corpus"][key] == first.manifest["corpus"][key]
            for key in ("window", "position", "token_id"):
                a, b = (x.sample("all")[key].values for x in (first, p))
                np.testing.assert_array_equal(a, b)
            assert p.manifest["seeds"] == {"sample_tokens": 7}
        # Where documents are packed, an EOS more is not one token too many.
        assert sum(run(pack=True).tokens.values()) == 300
        other = run(seed=8, batch_tokens=64, shard_bytes=200)
        assert other.manifest["corpus"]["shards"] > first.manifest["corpus"]["shards"]
        assert other.manifest["corpus"]["sha256"] != first.manifest["corpus"]["sha256"]

    def test_the_manifest_and_the_checks_say_what_was_drawn(self, small: Path, book: Path) -> None:
        p = hs.profile(small, str(book), sample_tokens=200, sites="embed")
        pieces = len(list(cutting.pieces([BOOK], 100)))
        said = p.manifest["corpus"]["sample"]
        assert (said["tokens"], said["read_tokens"], said["seed"]) == (200, 200, 0)
        assert (said["of_pieces"], said["of_documents"], said["of_bytes"]) == (
            pieces,
            1,
            len(BOOK.encode()),
        )
        detail = next(c["detail"] for c in p.checks if c["name"] == "sample")
        assert f"200 tokens drawn by hash (seed 0), in {said['pieces']} of the {pieces}" in detail
        assert detail in str(p)
        assert ("so few pieces" in detail) == (said["pieces"] < 10)
        few = hs.profile(small, str(book), sample_tokens=50, sites="embed")
        assert "so few pieces may not speak for all of it" in str(few)
        whole = hs.profile(small, text=TEXT, sample_tokens=10**6, sites="embed")
        assert "all of it, 1,000,000 were asked for" in str(whole)
        assert hs.profile(small, text=TEXT, sites="embed").manifest["corpus"]["sample"] is None

    def test_rows_are_drawn_too(self, small: Path, tmp_path: Path) -> None:
        rows = [{"text": f"Row {i}. {TEXT[:60]}"} for i in range(60)]
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        p = hs.profile(small, str(path), sample_tokens=200, sites="embed")
        assert p.manifest["corpus"]["sample"]["of_documents"] == 60
        assert p.manifest["corpus"]["documents"] == p.manifest["corpus"]["sample"]["pieces"] > 5
        assert p.manifest["corpus"]["documents_cut"] == 0

    def test_standard_input_is_drawn_from_too(self, run: Run, book: Path, small: Path) -> None:
        options = ("--sample-tokens", 200, "--seed", 3, "--no-figures", "--sites", "embed")
        code, out, _ = run("profile", small, "-", *options, "-o", "a", stdin=BOOK.encode())
        assert code == 0
        assert "200 tokens drawn by hash (seed 3)" in " ".join(out.split())
        a = hs.open("a")
        b = hs.profile(small, book, sample_tokens=200, seed=3, sites="embed")
        assert a.manifest["corpus"]["sha256"] == b.manifest["corpus"]["sha256"]
        assert a.manifest["corpus"]["name"] == "standard input"
        np.testing.assert_array_equal(a.moments("all"), b.moments("all"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sample_tokens": 0}, "sample_tokens must be at least 2, got 0"),
        ({"sample_tokens": -5}, "sample_tokens must be at least 2"),
        ({"sample_tokens": 9.0}, "sample_tokens must be a whole number"),
        ({"sample_tokens": 9, "seed": 0.5}, "seed must be a whole number"),
        ({"sample_tokens": 9, "seed": "one"}, "seed must be a whole number"),
        ({"sample_tokens": 9, "max_tokens": 9}, "cannot both be given"),
        ({"seed": 3}, "a seed is that of a sample"),
        ({"name": " "}, "name is empty"),
        ({"name": 3}, "name must be a text"),
    ],
    ids=str,
)
def test_options_that_cannot_be_followed_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        hs.profile("demo", text="Some words.", **options)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_refused_where_it_would_be_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"pipe' is a pipe, .* use - for standard input"):
        hs.profile("demo", str(tmp_path / "pipe"), sample_tokens=50)


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


class TestStandardInput:
    @pytest.mark.parametrize("options", [(), ("--sample-tokens", 50)])
    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (b"", "standard input .* is empty: pipe a text into it"),
            (b"  \n", "fewer than two tokens"),
            (b"\x7fELF" + bytes(90), "'standard input' is full of NUL"),
            (b"words \xff", "'standard input' is not UTF-8: byte 6 is 0xFF"),
        ],
    )
    def test_what_is_no_text_is_refused(
        self, run: Run, given: bytes, says: str, options: tuple[Any, ...]
    ) -> None:
        code, _, err = run("profile", "demo", "-", *options, stdin=given)
        assert code == 2
        assert re.search(says, " ".join(err.split())), err
        assert not Path("hiddenscope-runs").exists()

    def test_a_terminal_is_not_waited_for(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", Terminal(io.BytesIO(b"never read")))
        code, _, err = run("profile", "demo", "-")
        assert code == 2
        assert "nothing is piped into standard input" in err

    @pytest.mark.usefixtures("short_parts")
    def test_it_is_read_no_further_than_needed(
        self, small: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Endless(io.RawIOBase):
            read_so_far = 0

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                self.read_so_far += len(buffer)
                buffer[:] = (b"A duck.\n" * len(buffer))[: len(buffer)]
                return len(buffer)

        endless = Endless()
        stdin = io.TextIOWrapper(io.BufferedReader(endless))
        monkeypatch.setattr("sys.stdin", stdin)
        p = hs.profile(small, "-", max_tokens=100, sites="embed")
        assert sum(p.tokens.values()) == 100
        assert endless.read_so_far < 4 << 20


@pytest.fixture
def bare(small: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Make a checkpoint without a tokenizer, and the folder of the tokenizer."""
    model, words = tmp_path / "bare", tmp_path / "words"
    model.mkdir()
    words.mkdir()
    for path in small.iterdir():
        target = words if path.name.startswith("tokenizer") else model
        (target / path.name).write_bytes(path.read_bytes())
    return model, words


class TestTokenizer:
    def test_a_checkpoint_without_one_is_given_one(
        self, run: Run, bare: tuple[Path, Path], small: Path
    ) -> None:
        model, words = bare
        options = ("-t", TEXT, "--no-figures", "--sites", "embed", "-o")
        code, _, err = run("profile", model, *options, "out")
        assert code == 2
        assert "--tokenizer" in err
        code, _, err = run("profile", model, "--tokenizer", words, *options, "out")
        assert code == 0, err
        own, p = hs.profile(small, text=TEXT, sites="embed"), hs.open("out")
        assert p.manifest["tokenizer"] == own.manifest["tokenizer"]
        np.testing.assert_array_equal(p.moments("all"), own.moments("all"))
        # What its special tokens are for stands beside a tokenizer.json.
        again = describe_tokenizer(load_tokenizer(str(words / "tokenizer.json")))
        assert again == own.manifest["tokenizer"]
        assert again["bos"] is not None

    def test_a_path_and_a_tokenizer_do_as_well(
        self, bare: tuple[Path, Path], tokenizer: PreTrainedTokenizerBase
    ) -> None:
        p = hs.profile(bare[0], tokenizer=tokenizer, text=TEXT, sites="embed")
        assert sum(p.tokens.values()) == len(tokenizer(TEXT)["input_ids"])

    def test_a_file_alone_is_enough(self, run: Run, bare: tuple[Path, Path]) -> None:
        (bare[1] / "tokenizer.json").rename("other.json")
        options = ("-t", TEXT, "--no-figures", "--sites", "embed", "-o", "out")
        code, _, err = run("profile", bare[0], "--tokenizer", "other.json", *options)
        assert code == 0, err

    @pytest.mark.parametrize(
        ("path", "says"),
        [
            ("./none", "no tokenizer './none'"),
            ("", "no tokenizer ''"),
            ("bare", "holds no tokenizer files"),
            ("odd.json", "cannot load the tokenizer 'odd.json'"),
            ("no-such-name", "cannot load the tokenizer 'no-such-name'"),
        ],
    )
    @pytest.mark.usefixtures("bare")
    def test_what_is_no_tokenizer_is_refused(self, run: Run, path: str, says: str) -> None:
        Path("odd.json").write_text("{}")
        code, _, err = run("profile", "demo", "-t", TEXT, "--tokenizer", path)
        assert code == 2
        assert says in " ".join(err.split())
        assert not Path("hiddenscope-runs").exists()

    @pytest.mark.parametrize("named", [True, False])
    def test_one_of_more_words_than_the_model_knows_is_refused(
        self, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, named: bool
    ) -> None:
        model = tiny.make("gpt2", vocab_size=100)
        given = tiny.save(model, tmp_path / "model") if named else model
        with pytest.raises(InputError, match="has 4,096 tokens, but the model knows 100"):
            hs.profile(given, tokenizer=tokenizer, text=TEXT)


def test_a_name_is_that_of_model_and_run(run: Run, small: Path) -> None:
    options = ("-t", TEXT, "--no-figures", "--sites", "embed")
    code, out, _ = run("profile", small, "--name", "step 100/a", *options)
    assert code == 0
    assert "hiddenscope-runs/step-100-a-001/profile.nc" in out
    assert "step 100/a on 1 given text" in out
    p = hs.open("hiddenscope-runs/step-100-a-001")
    assert p.manifest["model"]["name"] == "step 100/a"
    assert p.manifest["model"]["id"] == str(small)
    assert "mine on 1 given" in str(hs.profile(small, text=TEXT, sites="embed", name="mine"))
