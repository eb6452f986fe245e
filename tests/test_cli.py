"""The command line as a user meets it: what it writes, prints and refuses."""

from __future__ import annotations

import csv
import errno
import importlib.util
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from conftest import TEXT
from rich.console import Console
from safetensors.torch import load_file, save_file

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.cli import show, tables
from hiddenscope.figures import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Run


KINDS = (
    *("histogram", "ridge", "depth", "norms", "positions", "scatter"),
    *("covariance", "r2", "wing", "outliers", "compare_views"),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Noting(io.RawIOBase):
    """A standard output that notes what is there when it is first written to, and then fails."""

    def __init__(self, folder: Path, error: OSError | None = None) -> None:
        self.folder, self.error = folder, error
        self.there: list[str] | None = None
        self.printed = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        if self.there is None:
            self.there = sorted(contents(self.folder))
        if self.error:
            raise self.error
        self.printed += bytes(data)
        return len(data)


class TestProfile:
    def test_it_writes_all_before_it_prints_a_word_and_ends_with_the_paths(
        self, run: Run, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw = Noting(Path("out"))
        stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", stdout)
            code, _, _ = run("profile", small, "-t", TEXT, "-o", "out")
        assert code == 0
        out = raw.printed.decode()
        assert re.search(r"measured \d+ tokens in [\d.]+ s, [\d,]+ tokens/s", out)
        pictures = [f"out/figures/{kind}.png" for kind in KINDS]
        expected = ["out/profile.nc", "out/report.html", *pictures]
        assert out.split()[-len(expected) :] == expected
        assert raw.there == sorted(expected)
        assert all((tmp_path / path).stat().st_size for path in expected)
        assert max(map(len, out.splitlines())) <= 80

    def test_runs_get_new_folders_and_show_finds_the_newest(self, run: Run) -> None:
        for text in (TEXT, TEXT[:90]):
            assert run("profile", "demo", "-t", text, "--no-figures")[0] == 0
        assert sorted(p.name for p in Path("hiddenscope-runs").iterdir()) == [
            "demo-001",
            "demo-002",
        ]
        code, out, _ = run("show", "--format", "json", "--view", "all")
        assert code == 0
        newest = hs.open("hiddenscope-runs/demo-002")
        assert json.loads(out)["sites"][0]["tokens"] == sum(newest.tokens.values())

    def test_options_reach_the_measurement(self, run: Run) -> None:
        code, _, err = run(
            *("profile", "demo", "-t", TEXT, "-t", "And then?", "-o", "out", "--no-figures"),
            *("--sites", "embed,block.1*.resid_post", "--window", 16, "--max-tokens", 40),
            *("--batch-tokens", 32, "--dtype", "bfloat16", "--sample-mib", 0, "--view", "all"),
        )
        assert code == 0, err
        p = hs.open("out")
        assert p.sites == ["embed", *(f"block.{i}.resid_post" for i in (1, 10, 11))]
        assert sum(p.tokens.values()) == 40
        assert p.tokens["first"] == 3
        assert set(p.manifest["model"]["state_dtype"].values()) == {"bfloat16"}

    def test_standard_input_a_folder_and_jsonl_are_read(
        self, run: Run, small: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.txt").write_text(TEXT, "utf-8")
        (tmp_path / "texts" / "b.png").touch()
        (tmp_path / "rows.jsonl").write_text(json.dumps({"body": TEXT}) + "\n", "utf-8")
        options = ("--no-figures", "-o")
        for i, (source, more) in enumerate(
            [("-", ()), ("texts", ()), ("rows.jsonl", ("--column", "body"))]
        ):
            code, out, _ = run("profile", small, source, *more, *options, i, stdin=TEXT.encode())
            assert code == 0
            assert ("1 left out as .png, no text (b.png)" in out) == (source == "texts")
        assert hs.open("0").tokens == hs.open("1").tokens == hs.open("2").tokens
        assert sum(hs.open("0").tokens.values()) > 30
        assert list(hs.open("1").manifest["corpus"]["left_out"]) == ["texts"]

    def test_text_of_any_bytes_is_measured(self, run: Run, small: Path) -> None:
        raw = os.fsdecode(b"na\xefve and more words")
        assert run("profile", small, "-t", raw, "--no-figures", "-o", "out")[0] == 0
        assert hs.open("out").manifest["command"][4] == "na\ufffdve and more words"

    def test_force_leaves_no_figure_of_the_earlier_profile(self, run: Run, small: Path) -> None:
        (Path("out") / "figures").mkdir(parents=True)
        for name in ("depth.png", "wing.svg", "mine.png"):
            (Path("out") / "figures" / name).touch()
        options = ("-t", TEXT, "--no-figures", "-o", "out", "--force")
        assert run("profile", small, *options)[0] == 0
        assert [p.name for p in (Path("out") / "figures").iterdir()] == ["mine.png"]

    def test_runs_that_start_together_get_folders_of_their_own(self, tmp_path: Path) -> None:
        from hiddenscope.cli import runs

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            # Both look before either makes its folder.
            patch.setattr(Path, "glob", lambda *_: iter(()))
            with (
                runs.folder_for(None, "demo", force=False) as a,
                runs.folder_for(None, "demo", force=False) as b,
            ):
                assert a != b
        assert not list(tmp_path.iterdir())

    def test_interrupted_at_the_figures_it_says_what_is_written(
        self, run: Run, small: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("hiddenscope.figures.draw", stop)
        code, _, err = run("profile", small, "-t", TEXT, "-o", "out")
        assert code == 130
        assert "profile.nc is written" in err
        assert sum(hs.open("out").tokens.values()) > 30

    def test_closed_standard_input_is_an_error(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", None)
        code, _, err = run("profile", "demo", "-")
        assert code == 2
        assert "closed" in err

    def test_a_result_is_overwritten_only_by_force(self, run: Run, small: Path) -> None:
        assert run("profile", small, "-t", TEXT, "--no-figures", "-o", "out")[0] == 0
        before = contents(Path("out"))
        code, _, err = run("profile", small, "-t", "Other words here.", "-o", "out")
        assert code == 2
        assert "--force" in err
        assert contents(Path("out")) == before
        # A failing run under --force leaves the earlier result too.
        assert run("profile", small, "none.txt", "-o", "out", "--force")[0] == 2
        assert contents(Path("out")) == before
        assert run("profile", small, "-t", "More.", "--no-figures", "-o", "out", "--force")[0] == 0
        assert contents(Path("out")) != before

    def test_nan_is_counted_and_warned_about(self, run: Run, tmp_path: Path) -> None:
        model = tiny.make("gpt2")
        with torch.no_grad():
            model.wte.weight[5:2000] = torch.nan
        tiny.save(model, tmp_path / "model")
        code, out, _ = run("profile", "./model", "-t", TEXT, "-o", "out", "--no-figures")
        assert code == 0
        assert "NaN or infinite" in out.replace("\n", " ")
        assert not next(c for c in hs.open("out").checks if c["name"] == "finite")["passed"]


def checkpoint_without(folder: Path, key: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[key]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def broken(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of folders and files that cannot be measured."""
    held = tmp_path_factory.mktemp("broken")
    for name in ("tokenizer", "weights", "keys", "config"):
        shutil.copytree(small, held / f"no-{name}")
    for path in (held / "no-tokenizer").glob("tokenizer*"):
        path.unlink()
    (held / "no-weights" / "model.safetensors").unlink()
    checkpoint_without(held / "no-keys", "layers.1.mlp.up_proj.weight")
    (held / "no-config" / "config.json").unlink()
    files = {
        "empty.txt": b"",
        "latin.txt": "an \u00fcbermensch".encode("latin-1"),
        "bad.jsonl": b'{"text": "one"}\n{"text": \n',
        "other.jsonl": b'{"body": "one"}\n',
        "words.txt": TEXT.encode(),
        "blank.txt": b"  \n ",
        "deep.jsonl": b"[" * 200_000,
    }
    for name, data in files.items():
        (held / name).write_bytes(data)
    (held / "nothing").mkdir()
    return held


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-model-name"], "no-such-model-name.*'demo'"),
        (["./no-such-folder"], "no model folder.*no-such-folder"),
        (["no-tokenizer"], "no tokenizer files"),
        (["no-weights"], r"no \*\.safetensors"),
        (["no-keys"], "lacks weights.*layers.1.mlp.up_proj.weight"),
        (["no-config"], "without config.json"),
        (["words.txt"], "hiddenscope profile demo words.txt"),
        (["demo", "missing.txt"], "no file or folder 'missing.txt'"),
        (["demo", "empty.txt"], "'empty.txt' is empty"),
        (["demo", "blank.txt"], "fewer than two tokens"),
        (["demo", "nothing"], "folder 'nothing' holds no text files"),
        (["demo", "latin.txt"], "latin.txt' is not UTF-8: byte 3 is 0xFC"),
        (["demo", "bad.jsonl"], "bad.jsonl:2 is not JSON"),
        (["demo", "other.jsonl"], "other.jsonl:1 has no column 'text'.*--column"),
        (["demo", "sample:none"], "sample:mixed"),
        (["demo", "-t", "a"], "fewer than two tokens"),
        (["demo", "-t", ""], "fewer than two tokens|no text"),
        (["demo", "--sites", "block.99.resid_post"], "no site matches 'block.99.resid_post'"),
        (["demo", "--sites", "nonsense"], "'nonsense' is not a site"),
        (["demo", "--view", "second"], "unknown view 'second'"),
        # The roles of a conversation are no strata of a text.
        (["demo", "--view", "assistant"], "unknown view 'assistant'"),
        (["demo", "--dtype", "float7"], "unknown dtype 'float7'"),
        (["demo", "--device", "abacus"], "cannot use device 'abacus'"),
        (["demo", "--window", "9999"], "longer than the model's context of 256"),
        (["demo", "--window", "1"], "window must be at least"),
        (["demo", "--batch-tokens", "0"], "batch_tokens must be at least"),
        (["demo", "--max-tokens", "1"], "max_tokens must be at least"),
        (["demo", "--sample-mib", "-1"], "at least 0 MiB"),
        (["demo", "--sample-mib", "inf"], "finite"),
        (["demo", "some text " * 40], "--text"),
        (["demo", "-t", "a b", "-o", "x" * 300], "choose another -o"),
        (["demo", "missing.txt", "-o", "deep/er/est"], "no file or folder"),
        (["demo", "deep.jsonl"], "deep.jsonl:1 is not JSON"),
        (["demo", "--split", "words"], "unknown split 'words'"),
        (["demo", "--nonsense"], "No such option"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_bad_input_is_refused_with_advice(
    run: Run, broken: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(broken)
    before = contents(broken)
    code, out, err = run("profile", *arguments)
    assert code == 2
    said = " ".join(err.split())
    assert re.search(says, said), said
    assert "Traceback" not in out + err
    assert contents(broken) == before
    assert not Path("hiddenscope-runs").exists()


def test_a_folder_that_cannot_be_written_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    code, _, err = run("profile", "demo", "-o", "file/out")
    assert code == 2
    assert "cannot write into" in err
    assert (tmp_path / "file").read_text() == "here"


class TestShow:
    def test_the_table_names_every_site_and_the_checks(self, run: Run, profile_file: Path) -> None:
        code, out, _ = run("show", profile_file)
        assert code == 0
        p = hs.open(profile_file)
        for site in p.sites:
            assert site.replace(".resid_post", "") in out
        for check in p.checks:
            assert check["name"] in out
        assert max(map(len, out.splitlines())) <= 80
        assert set(out) & set("▁▂▃▄▅▆▇█")

    def test_csv_and_json_hold_the_table(self, run: Run, profile_file: Path) -> None:
        table = hs.open(profile_file).moments("all")
        _, text, _ = run("show", profile_file, "--format", "csv", "--view", "all")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [r["site"] for r in rows] == list(table.index)
        assert [float(r["std"]) for r in rows] == pytest.approx(list(table["std"]))
        _, text, _ = run("show", profile_file, "--format", "json", "--view", "all")
        assert [r["std"] for r in json.loads(text)["sites"]] == pytest.approx(list(table["std"]))

    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (lambda whole: b"words", "not a"),
            (lambda whole: b"", "not a"),
            (lambda whole: whole[: len(whole) // 2], "not a whole"),
            (lambda whole: whole[:-100], "not a whole"),
        ],
        ids=["not a profile", "empty", "half", "almost whole"],
    )
    def test_what_is_not_a_profile_is_refused(
        self,
        run: Run,
        profile_file: Path,
        tmp_path: Path,
        make: Callable[[bytes], bytes],
        says: str,
    ) -> None:
        path = tmp_path / "profile.nc"
        path.write_bytes(make(profile_file.read_bytes()))
        for command in (["show", path], ["plot", path, "depth"]):
            code, _, err = run(*command)
            assert code == 2
            assert says in err
            assert "Traceback" not in err

    def test_where_there_is_no_profile_it_says_how_to_make_one(self, run: Run) -> None:
        code, _, err = run("show")
        assert code == 2
        assert "hiddenscope profile" in err
        code, _, err = run("show", "missing.nc")
        assert code == 2
        assert "missing.nc" in err

    def test_an_unknown_view_and_format_are_refused(self, run: Run, profile_file: Path) -> None:
        code, _, err = run("show", profile_file, "--view", "nobody")
        assert code == 2
        assert "unknown view" in err
        assert run("show", profile_file, "--format", "xml")[0] == 2


class TestTables:
    @pytest.mark.parametrize("name", analysis.TABLES)
    def test_each_is_printed_and_written(self, run: Run, profile_file: Path, name: str) -> None:
        p = hs.open(profile_file)
        expected = p.table(name, "all")
        assert len(expected)
        code, out, _ = run("show", profile_file, "--table", name, "--view", "all")
        assert code == 0
        lines = out.splitlines()
        assert len(lines) == 1 + len(expected)
        assert lines[0].split() == list(expected)
        _, text, _ = run("show", profile_file, "--table", name, "--view", "all", "--format", "csv")
        for suffix, read in (
            ("csv", pd.read_csv),
            ("json", lambda f: pd.DataFrame(json.loads(Path(f).read_text()))),
            ("parquet", pd.read_parquet),
        ):
            path = Path(f"made/{name}.{suffix}")
            code, out, _ = run("show", profile_file, "--table", name, "--view", "all", "-o", path)
            assert (code, out.strip()) == (0, str(path))
            found = read(path)
            assert list(found) == list(expected)
            for column in expected.select_dtypes("number"):
                exact = 1e-6 if expected[column].dtype == np.float32 else 1e-12
                np.testing.assert_allclose(found[column], expected[column], rtol=exact)
            assert found.iloc[:, 0].tolist() == expected.iloc[:, 0].tolist()
        assert text == Path(f"made/{name}.csv").read_text("utf-8")
        assert [p.name for p in Path("made").iterdir() if p.name.startswith(".")] == []

    def test_all_go_into_a_folder(self, run: Run, profile_file: Path) -> None:
        for form in ("csv", "parquet"):
            options = ("--format", form) if form != "csv" else ()
            code, out, _ = run("show", profile_file, "--table", "all", "-o", form, *options)
            assert code == 0
            assert out.split() == [f"{form}/{name}.{form}" for name in analysis.TABLES]

    def test_thresholds_of_outliers_are_passed_on(self, run: Run, profile_file: Path) -> None:
        options = ("--massive", 1, "--ratio", 2, "--token-share", 0.5, "--site-share", 0.5)
        _, out, _ = run("show", profile_file, *options)
        _, listed, _ = run("show", profile_file, "--table", "outliers", *options)
        p = hs.open(profile_file)
        found = p.outliers(massive=1, ratio=2, token_share=0.5, site_share=0.5)
        assert len(found.massive_channels) > len(p.outliers().massive_channels)
        assert analysis.massive_words(found)[:60] in " ".join(out.split())
        assert len(listed.splitlines()) == 1 + len(found.massive_channels) + len(found.channels)
        code, out, err = run("show", profile_file, "--token-share", 5)
        assert (code, out) == (2, "")
        assert "a share between 0 and 1" in err

    def test_so_is_what_is_far_out(self, run: Run, profile_file: Path) -> None:
        _, out, _ = run("show", profile_file, "--outlier", 4)
        words = analysis.channel_words(hs.open(profile_file).outliers(outlier=4))
        assert " ".join(words.split())[:60] in " ".join(out.split())
        assert run("plot", profile_file, "outliers", "-o", "a.png", "--outlier", 4)[0] == 0
        for command in (("show", profile_file), ("plot", profile_file, "outliers", "-o", "b.png")):
            code, _, err = run(*command, "--outlier", 5)
            assert code == 2
            assert "--outlier 5" in err

    def test_rows_are_sorted_and_cut(self, run: Run, profile_file: Path) -> None:
        p = hs.open(profile_file)
        site = "block.1.resid_post"
        table = p.table("channels", sites="block.1", sort="mean", top=5)
        assert set(table["site"]) == {site}
        means = p.channels(site)["mean"]
        order = means.abs().sort_values(ascending=False, kind="stable").index[:5]
        assert table["channel"].tolist() == order.tolist()
        arguments = ("--table", "channels", "--site", "block.1", "--sort", "mean", "--top", 5)
        _, out, _ = run("show", profile_file, *arguments)
        assert [line.split()[1] for line in out.splitlines()[1:]] == [str(c) for c in order]
        names = p.table("sites", sort="site")["site"].tolist()
        assert names == sorted(p.sites)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--table", "nonsense"], "no table 'nonsense': choose one of sites, channels"),
            (["--table", "sites", "--sort", "colour"], "has no column 'colour': it has site"),
            (["--table", "sites", "--top", "0"], "at least 1"),
            (["--table", "all"], "add -o FOLDER"),
            (["--table", "all", "-o", "f", "--sort", "std"], "--sort goes with one table"),
            (["--table", "sites", "-o", "t.xlsx"], "end its name in .csv, .json, .parquet"),
            (["--table", "sites", "--format", "parquet"], "add -o table.parquet"),
            (["--table", "sites", "--site", "block.77"], "no site matches"),
            (["--top", "3"], "--top goes with --table"),
            (["--format", "parquet"], "add -o table.parquet"),
        ],
        ids=lambda x: " ".join(x) if isinstance(x, list) else "",
    )
    def test_what_cannot_be_shown_is_refused(
        self, run: Run, profile_file: Path, tmp_path: Path, arguments: list[str], says: str
    ) -> None:
        code, out, err = run("show", profile_file, *arguments)
        assert code == 2
        assert says in err
        assert out == ""
        assert not list(tmp_path.iterdir())

    def test_parquet_without_its_library_says_what_to_install(
        self, run: Run, profile_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "pyarrow" else found(name)
        )
        code, _, err = run("show", profile_file, "--table", "sites", "-o", "t.parquet")
        assert code == 2
        assert "pip install 'hiddenscope[parquet]'" in err

    def test_the_table_by_site_fits_a_narrow_terminal(self, demo_profile: hs.Profile) -> None:
        digits = [f"{std:.3g}" for std in demo_profile.moments()["std"].iloc[1:4]]
        for width, left_out in ((100, []), (60, ["log"]), (50, ["log", "HF"])):
            console = Console(
                width=width, force_terminal=True, color_system=None, file=io.StringIO()
            )
            console.print(show._table(demo_profile, "rest", None, console))
            told = console.file.getvalue()
            assert [word for word in ("log", "HF") if word not in told] == left_out
            assert "…" not in told.replace("−max … +max", "")
            assert all(number in told for number in digits)

    def test_what_is_piped_is_not_wrapped(
        self, run: Run, profile_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checks = [f"{c['name']}: {c['detail']}" for c in hs.open(profile_file).checks]
        assert max(map(len, checks)) > 80
        monkeypatch.delenv("COLUMNS")
        lines = run("show", profile_file)[1].splitlines()
        assert [line[2:] for line in lines[-len(checks) :]] == checks
        assert max(map(len, lines)) < 400

    def test_no_color_means_no_styling(
        self, run: Run, profile_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\x1b[" in run("show", profile_file)[1]
        monkeypatch.setenv("NO_COLOR", "1")
        _, out, _ = run("show", profile_file)
        assert "\x1b[" not in out
        assert "embed" in out

    def test_a_narrow_terminal_has_fewer_columns_and_no_fewer_digits(self) -> None:
        table = pd.DataFrame(
            {"site": ["embed", "block.0"], "mean": [1.23456, -12345.678], "text": ["a", "b" * 90]}
        )
        told = {}
        for width in (200, 30, 10):
            lines = io.StringIO()
            console = Console(file=lines, width=width, force_terminal=True, no_color=True)
            tables.show(table, console)
            told[width] = re.sub(r"\x1b\[[0-9;]*m", "", lines.getvalue()).splitlines()
        assert told[200][1].split() == ["embed", "1.23", "a"]
        assert told[200][2].split() == ["block.0", "−12,346", "b" * 90]
        assert told[30][:3] == ["site        mean", "embed       1.23", "block.0  −12,346"]
        assert told[30][3].startswith("more columns: text")
        assert told[10][:3] == ["site", "embed", "block.0"]

    def test_what_a_token_holds_cannot_steer_a_terminal(self) -> None:
        lines = io.StringIO()
        table = pd.DataFrame({"piece": ["\x1b[31mred\n[bold]\t\u202e"], "n": [1]})
        tables.show(table, Console(file=lines, width=80))
        assert lines.getvalue().splitlines()[1].split() == [
            "\\x1b[31mred↵[bold]⇥\\x202e",
            "1",
        ]


class TestPlot:
    def test_it_draws_into_the_named_file(self, run: Run, profile_file: Path) -> None:
        for kind, options, target in [
            ("histogram", ("--bins", 30, "--view", "all"), "h.svg"),
            ("ridge", ("--x", "asinh", "--sites", "block.*"), "r.pdf"),
            ("r2", ("--without", "3,7"), "r2.png"),
            ("norms", ("--norm", "linf", "--no-log"), "n.svg"),
            ("positions", ("--x", "log", "--sites", "embed"), "p.svg"),
            ("compare_views", ("--view", "first", "--against", "rest"), "views.svg"),
        ]:
            code, out, err = run("plot", profile_file, kind, *options, "-o", target)
            assert code == 0, err
            assert out.strip() == target
            assert Path(target).stat().st_size
        assert "The views first and rest" in Path("views.svg").read_text("utf-8")
        assert "largest magnitude" in Path("n.svg").read_text("utf-8")

    def test_all_figures_go_into_a_folder_each_with_the_options_that_it_takes(
        self, run: Run, profile_file: Path
    ) -> None:
        options = ("--view", "all", "--bins", 40, "--title", "", "--range", "0.1,0.9")
        code, out, err = run("plot", profile_file, "all", "-o", "drawn", *options)
        assert code == 0, err
        assert out.split() == [f"drawn/{kind}.png" for kind in KINDS]
        assert all(Path(line).stat().st_size for line in out.split())

    def test_arguments_in_the_other_order_are_told_apart(
        self, run: Run, profile_file: Path
    ) -> None:
        code, _, err = run("plot", "depth", profile_file)
        assert code == 2
        assert "the figure comes last: hiddenscope plot [PROFILE] KIND" in err

    def test_its_help_says_what_each_figure_shows_and_takes(self, run: Run) -> None:
        code, out, _ = run("plot", "--help")
        assert code == 0
        plain = " ".join(out.split())
        for kind in KINDS:
            assert f"{kind}: {summary(kind)}" in plain
        assert "--view, --sites, --bins, --x, --range, --log" in plain
        taken = {word.strip(",.") for word in plain.split() if word.startswith("--")}
        for option in taken - {"--help"}:
            assert run("plot", "nowhere", "depth", option, "1")[2].count("No such option") == 0, (
                option
            )

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["nonsense"], "no figure 'nonsense'"),
            (["depth", "-o", "depth.gif"], "depth.gif"),
            (
                ["depth", "--bins", "3"],
                "takes no --bins: it takes --view, --sites, --range; every figure takes --title",
            ),
            (["depth", "--range", "1"], "two finite numbers"),
            (["depth", "--range", "a,b"], "numbers with commas"),
            (["depth", "--figsize", "1,0"], "width, height"),
            (["depth", "--cmap", "no such"], "no colour map"),
            (["all", "--view", "special"], "special"),
            (["depth", "more"], "3 arguments"),
            (["histogram", "--bins", "0"], "bins"),
            (["ridge", "--x", "furlongs"], "furlongs"),
            (["norms", "--norm", "l7"], "unknown norm 'l7'"),
            (["positions", "--x", "sigma"], "unknown x 'sigma'"),
            (["compare_views", "--against", "rest"], "hold the same tokens"),
            (["compare_views", "--against", "nobody"], "unknown view"),
            (["depth", "--against", "first"], "takes no --against: it takes --view"),
            (["r2", "--without", "three"], "channel numbers"),
            (["r2", "--without", "99999"], "99999"),
            (["depth", "--sites", "block.77.resid_post"], "no site matches"),
            (["depth", "--view", "nobody"], "unknown view"),
        ],
        ids=lambda x: " ".join(x) if isinstance(x, list) else "",
    )
    def test_what_cannot_be_drawn_is_refused(
        self, run: Run, profile_file: Path, tmp_path: Path, arguments: list[str], says: str
    ) -> None:
        code, _, err = run("plot", profile_file, *arguments)
        assert code == 2
        assert says in err
        assert not list(tmp_path.iterdir())


CLOSED, FULL = BrokenPipeError(errno.EPIPE, "closed"), OSError(errno.ENOSPC, "no space left")


class TestLostOutput:
    @pytest.mark.parametrize(("error", "expected"), [(CLOSED, 0), (FULL, 2)], ids=["pipe", "disk"])
    def test_a_result_is_not_lost(
        self, run: Run, small: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, expected: int
    ) -> None:
        raw = Noting(Path("out"), error)
        with io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8") as stdout:
            monkeypatch.setattr("sys.stdout", stdout)
            code, _, err = run("profile", small, "-t", TEXT, "-o", "out", "--no-figures")
            monkeypatch.undo()
        assert code == expected
        assert ("cannot write to standard output (no space left)" in err) == (expected == 2)
        assert "Traceback" not in err
        assert raw.there == ["out/profile.nc"]

    @pytest.mark.parametrize("command", [["show", "--format", "json"], ["show"], ["--help"]])
    def test_what_is_printed_alone_is_missed(
        self, run: Run, profile_file: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
    ) -> None:
        command = command + [str(profile_file)] * (command[0] == "show")
        for error, expected in ((FULL, 2), (CLOSED, 0)):
            raw = Noting(Path(), error)
            with monkeypatch.context() as patch:
                patch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="utf-8"))
                code, _, err = run(*command)
            assert code == expected
            assert raw.there is not None
            assert ("standard output" in err) == (expected == 2)

    def test_a_standard_output_or_error_that_is_not_there(
        self, run: Run, profile_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", None)
            assert run("show", profile_file)[0] == 0
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", io.TextIOWrapper(Noting(Path(), FULL)))
            assert run("show", "missing.nc")[0] == 2

    def test_a_real_pipe_whose_reader_leaves(self, profile_file: Path) -> None:
        show = [sys.executable, "-m", "hiddenscope", "show", str(profile_file)]
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(show, stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert done.returncode == 0
        assert b"Error" not in done.stderr


def test_a_row_that_fails_is_named_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"The river rose by {n} feet."}) for n in range(400)]
    Path("rows.jsonl").write_text("\n".join([*rows, '{"text": 7}']), "utf-8")
    before = contents(tmp_path)
    code, _, err = run("profile", "demo", "rows.jsonl")
    assert code == 2
    assert "rows.jsonl:401" in err
    assert contents(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_terminal_without_unicode_gets_words_and_no_small_histograms(
    run: Run, profile_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = hs.open(profile_file)
    checks = [
        {"name": "good", "passed": True, "detail": "× holds", "level": "check"},
        {"name": "bad", "passed": False, "detail": "σ does not", "level": "check"},
    ]
    p.dataset.attrs["checks"] = json.dumps(checks)
    p.save("plain.nc")
    lines = {}
    for encoding in ("utf-8", "ascii"):
        raw = io.BytesIO()
        stdout = io.TextIOWrapper(raw, encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", stdout)
            assert run("show", "plain.nc")[0] == 0
        lines[encoding] = raw.getvalue().decode(encoding).splitlines()
    assert lines["utf-8"][-2:] == ["✓ good: × holds", "✗ bad: σ does not"]
    assert lines["ascii"][-2:] == ["ok good: x holds", "FAIL bad: sigma does not"]
    assert "log density" in "".join(lines["utf-8"])
    assert "log density" not in "".join(lines["ascii"])
    assert not any("?" in line for line in lines["ascii"])
    assert len(lines["ascii"]) == len(lines["utf-8"])


def test_version_help_and_module(run: Run) -> None:
    assert run("--version")[1].strip() == f"hiddenscope {hs.__version__}"
    code, out, _ = run("--help")
    assert code == 0
    assert {"profile", "show", "plot"} <= set(out.split())
    done = subprocess.run(
        [sys.executable, "-m", "hiddenscope", "--version"], capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == f"hiddenscope {hs.__version__}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hiddenscope', '--help']\n"
        "from hiddenscope.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'xarray', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_claims_import_no_torch_and_show_no_scipy(profile_file: Path) -> None:
    code = (
        "import sys\n"
        "from hiddenscope.cli import main\n"
        "for command, heavy in (('show', {'torch', 'scipy'}), ('claims', {'torch'})):\n"
        f"    sys.argv = ['hiddenscope', command, {str(profile_file)!r}]\n"
        "    try: main()\n"
        "    except SystemExit as stopped: assert not stopped.code\n"
        "    assert not heavy & set(sys.modules), (command, heavy & set(sys.modules))\n"
        "assert 'scipy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("measuring", [False, True])
def test_control_c_at_any_moment_leaves_a_profile_or_nothing(
    tmp_path: Path, *, measuring: bool
) -> None:
    (tmp_path / "long.txt").write_text(TEXT * 2_000, "utf-8")
    # A shell makes the jobs that it puts into the background deaf to Ctrl-C, tests among them.
    given = ["profile", "demo", "long.txt", "-o", "out", "--no-figures", "--window", "32"]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.argv = {['hiddenscope', *given, '--sites', 'embed', '--batch-tokens', '256']}\n"
        "from hiddenscope.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ,
    ) as process:
        try:
            assert process.stderr is not None
            before = b"measuring" if measuring else b"loading"
            while before not in process.stderr.readline():
                assert process.poll() is None
            time.sleep(random.uniform(0, 2))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    # Interrupted inside an import, Python ends itself by the signal: 130 to a shell as well.
    assert process.returncode in {130, -signal.SIGINT}, err
    assert b"Traceback" not in err
    last = err.decode().splitlines()[-1]
    if (tmp_path / "out").exists():
        made = hs.open(tmp_path / "out")
        partial = made.manifest["corpus"]["partial"]
        assert 0 < partial["tokens"] == sum(made.tokens.values())
        assert 0 < partial["share"] < 0.5
        assert last.startswith(f"interrupted: {Path('out', 'profile.nc')} holds what was measured")
        words = analysis.partial_words(made.manifest["corpus"])
        assert last.endswith(f"({words})")
        assert words.encode() in b" ".join(out.split())
    else:
        assert last == "interrupted: no result was written"


class TestClaims:
    def test_every_claim_is_printed_with_its_verdict(self, run: Run, profile_file: Path) -> None:
        table = hs.open(profile_file).claims("all")
        code, out, _ = run("claims", profile_file, "--view", "all")
        assert code == 0
        words = " ".join(out.split())
        for row in table.itertuples():
            told = "" if row.verdict == "holds" else f" ({row.verdict})"
            assert f"{row.statement}{told} {' '.join(row.finding.split())}" in words
        marks = [line[0] for line in out.splitlines() if line[:2] in {"✓ ", "✗ ", "? "}]
        counts = table["verdict"].value_counts()
        assert [marks.count(m) for m in "✓✗?"] == [
            counts.get(verdict, 0) for verdict in ("holds", "does not hold", "cannot be told")
        ]
        sources = list(dict.fromkeys(table["source"].str.split(",").str[0]))
        assert [line for line in out.splitlines() if line in sources] == sources

    def test_it_is_the_table_that_show_prints(self, run: Run, profile_file: Path) -> None:
        for form in ("json", "csv"):
            _, shown, _ = run("show", profile_file, "--table", "claims", "--format", form)
            code, out, _ = run("claims", profile_file, "--format", form)
            assert (code, out) == (0, shown)
        rows = json.loads(run("claims", profile_file, "--format", "json")[1])
        assert isinstance(rows[5]["numbers"], dict)
        code, out, _ = run("claims", profile_file, "-o", "made/claims.parquet")
        assert (code, out.strip()) == (0, "made/claims.parquet")
        read = pd.read_parquet("made/claims.parquet")
        assert [json.loads(numbers) for numbers in read["numbers"]] == [r["numbers"] for r in rows]

    def test_what_cannot_be_printed_is_refused_first(self, run: Run) -> None:
        for options, says in (
            (("--format", "parquet"), "add -o table.parquet"),
            (("-o", "claims.txt"), "end its name in"),
        ):
            code, _, err = run("claims", "missing.nc", *options)
            assert code == 2
            assert says in err
        code, _, err = run("claims", "missing.nc")
        assert code == 2
        assert "missing.nc" in err

    def test_of_streams_and_views_that_are_not_there_it_says_so(
        self, run: Run, profile_file: Path
    ) -> None:
        for options, says in (
            (("--stream", "decoder"), "no stream"),
            (("--view", "x"), "unknown view"),
        ):
            code, _, err = run("claims", profile_file, *options)
            assert code == 2
            assert says in err
