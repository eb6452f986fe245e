"""Ctrl-C during a run: what was measured is kept, and is what a run over as much would give."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny
import xarray as xr
from conftest import TEXT

import hiddenscope as hs
from hiddenscope import analysis, corpus
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.models import load
from hiddenscope.strata import PLAIN
from hiddenscope.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Run

    from hiddenscope.models import LoadedModel
    from hiddenscope.profiles import Profile
    from hiddenscope.progress import Progress

WORDS = TEXT.split()
# Three shards, of two, four and one groups.
OPTIONS: dict[str, Any] = {"window": 16, "batch_tokens": 48, "shard_bytes": 1_500}


@pytest.fixture(autouse=True)
def _pythons_own_handler() -> Iterator[None]:
    """Handle Ctrl-C as in a terminal: a shell makes jobs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def texts(number: int = 48) -> list[str]:
    """Documents of very unlike lengths."""
    lengths = np.random.default_rng(3).lognormal(2.5, 1.0, number).astype(int) + 2
    return [" ".join(WORDS[i % 20 :][:n]) + f" {i}" for i, n in enumerate(lengths.tolist())]


@pytest.fixture(scope="module")
def model(small: Path) -> LoadedModel:
    return load(str(small))


def measure(model: LoadedModel, **options: Any) -> Profile:
    given = {"text": texts(), "progress": False} | OPTIONS | options
    return hs.profile(model.model, tokenizer=model.tokenizer, **given)


def press(after: int, *, early: bool = False) -> Callable[[Progress], None]:
    """Return a `progress` that presses Ctrl-C once so many tokens are measured and can be kept."""
    pressed = False

    def watch(step: Progress) -> None:
        nonlocal pressed
        kept = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        if step.tokens >= after and (kept or early) and not pressed:
            pressed = True
            signal.raise_signal(signal.SIGINT)

    return watch


def interrupted(model: LoadedModel, after: int, **options: Any) -> Profile:
    with pytest.warns(HiddenscopeWarning, match="partial: Ctrl-C ended the run"):
        return measure(model, progress=press(after), **options)


def assert_same_numbers(partial: Profile, whole: Profile) -> None:
    """All arrays bit for bit, all checks but the one that says that it is partial."""
    for a, b in zip(partial.dataset.subtree, whole.dataset.subtree, strict=True):
        assert a.path == b.path
        one, two = a.to_dataset(), b.to_dataset()
        xr.testing.assert_identical(one.drop_attrs(), two.drop_attrs())
        for name, values in one.variables.items():
            if values.dtype.kind == "f":
                assert values.values.tobytes() == two[name].values.tobytes()
        if a.path != "/":
            assert one.attrs == two.attrs
    (said,) = (c for c in partial.checks if c["name"] == "partial")
    assert [c for c in partial.checks if c is not said and c != said] == whole.checks
    mine, its = (p.manifest["corpus"] for p in (partial, whole))
    differ = {key for key in mine if mine[key] != its[key]}
    assert differ <= {"partial", "max_tokens"}


@pytest.mark.parametrize("pack", [False, True])
def test_it_is_bit_for_bit_a_run_over_as_many_tokens(model: LoadedModel, *, pack: bool) -> None:
    ends = []
    for after in (1, 60, 400, 490):
        partial = interrupted(model, after, pack=pack)
        tokens = sum(partial.tokens.values())
        assert tokens >= after
        assert_same_numbers(partial, measure(model, pack=pack, max_tokens=tokens))
        ends.append(tokens)
    # Inside of the first shard, at its end, and inside of the second.
    assert pack or ends == [48, 386, 434, 528]


@pytest.mark.parametrize("kind", ["t5", "fnet"])
def test_it_is_so_for_two_streams_and_where_rows_are_of_one_length(
    kind: str, tmp_path: Path
) -> None:
    model = load(str(tiny.save(tiny.make(kind), tmp_path / kind)))
    partial = interrupted(model, 1)
    tokens = partial.manifest["corpus"]["partial"]["tokens"]
    assert_same_numbers(partial, measure(model, max_tokens=tokens))


def test_it_says_how_far_it_came(model: LoadedModel, tmp_path: Path) -> None:
    partial = interrupted(model, 100)
    said = partial.manifest["corpus"]["partial"]
    tokens = sum(partial.tokens.values())
    assert said["tokens"] == tokens
    assert said["documents"] == partial.manifest["corpus"]["documents"] < 48
    assert said["windows"] == partial.manifest["corpus"]["windows"]
    whole = measure(model)
    assert whole.manifest["corpus"]["partial"] is None
    assert said["share"] == pytest.approx(tokens / sum(whole.tokens.values()), abs=0.03)
    words = f"partial, about {said['share']:.0%} of the text"
    assert partial.caption("all") == f"all {tokens:,} tokens; {words}"
    for shown in (str(partial), repr(partial), partial._repr_html_()):
        assert words in shown
    assert "partial" not in str(whole) + repr(whole) + whole._repr_html_()
    assert words in partial.dataset.attrs["title"]
    caption = hs.open(partial.save(tmp_path / "p.nc")).plot.histogram().texts[-1].get_text()
    assert words in " ".join(caption.split())
    asked = interrupted(model, 60, max_tokens=400).caption()
    assert asked.endswith("partial, about 96% of 400 tokens")


def test_a_share_that_is_not_known_is_not_said() -> None:
    assert analysis.partial_words({}) == ""
    assert analysis.partial_words({"partial": None}) == ""
    partial = {"tokens": 5, "share": None, "of": "the text"}
    assert analysis.partial_words({"partial": partial}) == "partial"
    for share, said in ((0.0001, "under 1%"), (0.5, "about 50%"), (0.9999, "over 99%")):
        words = analysis.partial_words({"partial": partial | {"share": share}})
        assert words == f"partial, {said} of the text"


def test_the_last_tokens_measured_make_it_whole(model: LoadedModel) -> None:
    whole = measure(model)
    total = sum(whole.tokens.values())
    again = measure(model, progress=press(total))
    assert again.manifest["corpus"]["partial"] is None
    assert again.checks == whole.checks
    limited = measure(model, max_tokens=100, progress=press(100))
    assert limited.manifest["corpus"]["partial"] is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_before_anything_is_measured_it_stops_at_once(model: LoadedModel) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure(model, progress=press(0, early=True))


def test_in_the_first_group_it_waits_for_its_end(model: LoadedModel) -> None:
    partial = interrupted(model, 1)
    tokens = sum(partial.tokens.values())
    assert 16 <= tokens < sum(measure(model).tokens.values()) / 4
    assert_same_numbers(partial, measure(model, max_tokens=tokens))


def test_one_token_is_not_enough_to_end_with(model: LoadedModel) -> None:
    shards = {"shard_bytes": 1, "text": ["a", "b c d e", *texts()]}
    assert len(model.tokenizer("a")["input_ids"]) == 1
    partial = interrupted(model, 1, **shards)
    assert 1 < sum(partial.tokens.values()) < sum(measure(model, **shards).tokens.values())


def test_the_second_stops_at_once(model: LoadedModel, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[int] = []

    def press_each_time(step: Progress) -> None:
        told.append(step.tokens)
        if step.tokens > 100:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        measure(model, progress=press_each_time)
    assert len([tokens for tokens in told if tokens > 100]) == 2
    assert capsys.readouterr().err.count("Ctrl-C again stops at once") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_put_back_and_those_of_others_left(model: LoadedModel) -> None:
    plain = signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is plain
    held = []
    measure(model, progress=lambda _: held.append(signal.getsignal(signal.SIGINT)))
    assert held[0] is plain
    assert held[-1] is not plain
    assert signal.getsignal(signal.SIGINT) is plain
    with pytest.raises(ZeroDivisionError):
        measure(model, progress=lambda step: 1 // (step.tokens < 60))
    assert signal.getsignal(signal.SIGINT) is plain
    caught = []
    signal.signal(signal.SIGINT, lambda *_: caught.append(1))
    try:
        own = signal.getsignal(signal.SIGINT)
        made = measure(model, progress=press(100))
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, plain)
    assert caught == [1]
    assert made.manifest["corpus"]["partial"] is None


def test_in_another_thread_nothing_changes(model: LoadedModel) -> None:
    held: list[Any] = []
    made: list[Profile] = []

    def work() -> None:
        made.append(measure(model, progress=lambda _: held.append(signal.getsignal(2))))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(held) == {signal.default_int_handler}
    assert made[0].manifest["corpus"]["partial"] is None


def rows(lengths: list[int]) -> list[Tokens]:
    return [
        Tokens.of_window(
            np.arange(n),
            np.full(n, PLAIN.index("regular"), np.int8),
            np.arange(n) == 0,
            np.full(n, i),
            window=0,
            digest=i,
        )
        for i, n in enumerate(lengths)
    ]


class TestGroups:
    def groups(self, lengths: list[int], batch_tokens: int) -> list[list[int]]:
        made = list(corpus.groups(rows(lengths), batch_tokens))
        assert [int(w.digest[0]) for g in made for w in g] == list(range(len(lengths)))
        return [[w.length for w in group] for group in made]

    def test_full_windows_make_groups_of_a_batch(self) -> None:
        assert self.groups([1024] * 10, 4096) == [[1024] * 4, [1024] * 4, [1024] * 2]
        assert self.groups([5000] * 2, 4096) == [[5000], [5000]]

    def test_unlike_windows_make_bounded_groups(self) -> None:
        lengths = (np.random.default_rng(0).lognormal(4.5, 1.2, 3000).astype(int) + 2).tolist()
        made = self.groups([min(n, 1024) for n in lengths], 4096)
        sizes = [sum(group) for group in made]
        assert len(made) > 3
        assert max(sizes) <= 16 * 4096 + 1024
        assert np.mean(sizes[:-1]) > 8 * 4096

    def test_padding_stays_small(self) -> None:
        lengths = (np.random.default_rng(1).lognormal(4.5, 1.2, 4000).astype(int) + 2).tolist()
        windows = rows([min(n, 1024) for n in lengths])
        grouped = [b for g in corpus.groups(windows, 4096) for b in corpus.batches(g, 4096)]
        assert sum(b.ids.size for b in grouped) < 1.15 * sum(w.length for w in windows)

    def test_no_window_is_taken_ahead(self) -> None:
        taken = []
        made = corpus.groups((taken.append(w) or w for w in rows([1024] * 10)), 4096)
        for number, _ in enumerate(made, 1):
            assert len(taken) == min(4 * number, 10)


def test_the_command_writes_it_and_ends_with_130(
    run: Run, small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts()))
    call = hs.progress.Meter.__call__
    watch = press(200)

    def tell(meter: Any, step: Progress) -> None:
        call(meter, step)
        watch(step)

    def draw_all(dataset: xr.DataTree, folder: Path, *_: Any) -> tuple[list[Path], list[str]]:
        assert json.loads(dataset.attrs["manifest"])["corpus"]["partial"]
        return [folder / "histogram.png"], []

    monkeypatch.setattr("hiddenscope.progress.Meter.__call__", tell)
    monkeypatch.setattr("hiddenscope.cli.profile.draw_all", draw_all)
    given = ("profile", small, "t.jsonl", "--window", 16, "--batch-tokens", 48, "-o", "out")
    code, out, err = run(*given)
    assert code == 130
    made = hs.open("out")
    words = analysis.partial_words(made.manifest["corpus"])
    assert made.manifest["corpus"]["partial"]["tokens"] >= 200
    last = err.splitlines()[-1]
    assert last == f"interrupted: out/profile.nc holds what was measured ({words})"
    assert f"; {words}" in " ".join(out.split())
    assert "out/figures/histogram.png" in out
    code, out, _ = run("show", "out")
    assert code == 0
    assert words in " ".join(out.split())
    assert "! partial" in out
