"""Plant one fault at a time and see whether the tests notice: mutation testing.

Usage: python tools/mutants.py [PACKAGE ...] [--sample 150] [--seed 0] [--jobs 2]

The faults come from cosmic-ray's operators: an operator or a comparison replaced, a number one
larger or smaller, a condition negated, a loop left out. A sample of them is drawn for each
package, and only the test files of that package are run, the shortest tests first. A fault for
which they do not end within three times their usual processor time is listed apart and is no kill.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import importlib
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "analysis": ("test_analysis.py", "test_drawn.py", "test_outlying.py"),
    "figures": ("test_artists.py",),
    "stats": ("test_stats.py", "test_fold.py"),
    "grid.py": ("test_grid.py",),
    "capture/checks.py": ("test_checks.py",),
}
"""What is mutated, and the tests that ought to notice."""

REPLACED = {
    "BinaryOperator": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_FloorDiv Pow_Mul "
    "LShift_RShift RShift_LShift BitOr_BitAnd BitAnd_BitOr BitXor_BitOr",
    "ComparisonOperator": "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt "
    "GtE_Lt Is_IsNot IsNot_Is",
    "UnaryOperator": "USub_UAdd Delete_USub Delete_Not Delete_Invert",
}
OTHERS = (
    "NumberReplacer AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr "
    "ReplaceOrWithAnd ReplaceBreakWithContinue ReplaceContinueWithBreak ZeroIterationForLoop "
    "ExceptionReplacer"
)
OPERATORS = sorted(
    {f"core/Replace{kind}_{pair}" for kind, pairs in REPLACED.items() for pair in pairs.split()}
    | {f"core/{name}" for name in OTHERS.split()}
)
"""Each operator is replaced by its nearest relatives only: most others fail with a TypeError."""

HEAVY = (
    "torch",
    "transformers.modeling_utils",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "pandas",
    "xarray",
    "h5netcdf",
    "scipy.stats",
    "matplotlib.figure",
)
"""Imported once in each worker, before it forks; nothing of hiddenscope is."""

KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


@dataclass(frozen=True)
class Mutant:
    """One fault, and what became of it when it was planted."""

    package: str
    module: str
    operator: str
    occurrence: int
    line: int
    outcome: str = ""
    seconds: float = 0.0
    before: str = ""
    after: str = ""


def mutants(package: str) -> Iterator[Mutant]:
    """Find every fault that could be planted in a package."""
    unknown = sorted(set(OPERATORS) - set(operator_names()))
    if unknown:
        sys.exit(f"cosmic-ray has no operator {unknown[0]}: see `cosmic-ray operators`")
    path = ROOT / "src" / "hiddenscope" / package
    for module in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        idle = idle_spans(module.read_text())
        nodes = list(ast_nodes(get_ast_from_path(module)))
        for name in OPERATORS:
            find = get_operator(name)().mutation_positions
            for occurrence, (start, _) in enumerate(p for node in nodes for p in find(node)):
                if not any(low <= start < high for low, high in idle):
                    yield Mutant(package, str(module.relative_to(ROOT)), name, occurrence, start[0])


def idle_spans(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans of code that never runs: annotations, imports for type checkers."""
    idle: list[ast.expr | ast.If] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            idle.append(node)
        for field in ("annotation", "returns"):
            if isinstance(part := getattr(node, field, None), ast.expr):
                idle.append(part)
    return [((n.lineno, n.col_offset), (n.end_lineno or 0, n.end_col_offset or 0)) for n in idle]


class ShortestFirst:
    """Runs the tests in the order of how long they took when they were run for the first time.

    Parameters
    ----------
    noted : Path
        Where those times are, or will be after the first run.
    """

    def __init__(self, noted: Path) -> None:
        self.noted = noted
        self.seconds: dict[str, float] = json.loads(noted.read_text()) if noted.exists() else {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests; those that were not run before keep their order."""
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test took, but not what it shares with others."""
        if report.when == "call":
            self.seconds.setdefault(report.nodeid, report.duration)

    def pytest_sessionfinish(self) -> None:
        """Write the times down, once."""
        if not self.noted.exists():
            self.noted.write_text(json.dumps(self.seconds))


def prepare(tests: str) -> None:
    """Move this worker into a copy of the project of its own, and import what is heavy."""
    copy = Path(tempfile.mkdtemp(prefix="mutants-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", "benchmarks", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    shutil.copytree(tests, copy / "tests", ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    os.chdir(copy)
    sys.path.insert(0, str(copy / "src"))
    # Python would take a module of the same size and second from the cache of the one before.
    sys.dont_write_bytecode = True
    for name in HEAVY:
        importlib.import_module(name)


def plant(mutant: Mutant, limit: float, noted: Path) -> Mutant:
    """Plant a fault, run the tests of its package, and take the fault out again."""
    place = Path(mutant.module)
    code = place.read_text()
    planted = mutate_code(code, get_operator(mutant.operator)(), mutant.occurrence)
    lines = zip(code.splitlines(), planted.splitlines(), strict=False)
    before, after = next((a.strip(), b.strip()) for a, b in lines if a != b)
    place.write_text(planted)
    try:
        outcome, seconds = run_tests(mutant.package, limit, noted)
    finally:
        place.write_text(code)
    return replace(mutant, outcome=outcome, seconds=seconds, before=before, after=after)


def run_tests(package: str, limit: float, noted: Path) -> tuple[str, float]:
    """Run a package's tests in a child process; return the outcome and its processor seconds.

    The limit is one of processor time, which no other work on the machine uses up; a child that
    sleeps is given ten times as long.
    """
    start = time.monotonic()
    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit)))
            code = run_pytest(PACKAGES[package], noted)
        finally:
            os._exit(code)
    ended = status = 0
    while not ended and time.monotonic() - start < 10 * limit:
        ended, status, used = os.wait4(child, os.WNOHANG)
        time.sleep(0.02)
    if not ended:
        os.killpg(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGXCPU, signal.SIGKILL}:
        outcome = TIMED_OUT
    else:
        outcome = SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED
    return outcome, used.ru_utime + used.ru_stime


def run_pytest(files: tuple[str, ...], noted: Path) -> int:
    """Run test files until one test fails, without a word; return the exit code."""
    os.setpgid(0, 0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    # What the worker imported already, pytest cannot rewrite, and need not.
    options = ["-x", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    for plugin in ("cacheprovider", "xdist"):
        options += ["-p", f"no:{plugin}"]
    order = ShortestFirst(noted)
    return int(pytest.main([*options, *(f"tests/{name}" for name in files)], [order]))


def score(done: list[Mutant]) -> str:
    """Say how many were killed, with the standard error of a share of so many."""
    killed = sum(m.outcome == KILLED for m in done)
    late = sum(m.outcome == TIMED_OUT for m in done)
    share = killed / len(done)
    error = math.sqrt(share * (1 - share) / len(done))
    words = f"{killed} of {len(done)} killed, {share:.1%} ± {error:.1%}"
    return f"{words}, {late} timed out" if late else words


def judge(
    package: str, pool: ProcessPoolExecutor, sample: int, seed: int, notes: Path
) -> list[Mutant]:
    """Plant a sample of a package's faults, and say what became of them."""
    noted = notes / f"{package.replace('/', '-')}.json"
    outcome, seconds = pool.submit(run_tests, package, 600.0, noted).result()
    if outcome != SURVIVED:
        sys.exit(f"the tests of {package} do not pass before anything is planted: {outcome}")
    every = list(mutants(package))
    some = random.Random(seed).sample(every, min(sample, len(every)))
    print(f"{package}: {len(some)} of {len(every)} faults, tests of {seconds:.1f} s", flush=True)
    limit = 10 + 3 * seconds
    done: list[Mutant] = []
    for mutant in pool.map(plant, some, [limit] * len(some), [noted] * len(some)):
        done.append(mutant)
        if len(done) % 10 == 0:
            print(f"{package}: {score(done)}", flush=True)
    print(f"{package}: {score(done)}", flush=True)
    for m in sorted(done, key=lambda m: (m.module, m.line)):
        if m.outcome != KILLED:
            print(f"  {m.outcome}: {m.module}:{m.line}\n    - {m.before}\n    + {m.after}")
    return done


def main() -> None:
    """Judge the packages that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=", ".join(PACKAGES))
    parser.add_argument("--sample", type=int, default=150, help="faults of a package, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--tests", default=str(ROOT / "tests"), help="folder of the tests")
    parser.add_argument("--output", default="build/mutants.json", help="what became of each")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.packages if name not in PACKAGES]
    if unknown:
        parser.error(f"no package {unknown[0]!r}: choose from {', '.join(PACKAGES)}")
    # A child of a process with several threads hangs: one thread each.
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}
    os.environ["HIDDENSCOPE_EXAMPLES"] = "unshrunk"
    done: list[Mutant] = []
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as notes,
        ProcessPoolExecutor(
            chosen.jobs,
            multiprocessing.get_context("spawn"),
            initializer=prepare,
            initargs=(chosen.tests,),
        ) as pool,
    ):
        for package in chosen.packages or PACKAGES:
            done += judge(package, pool, chosen.sample, chosen.seed, Path(notes))
    target = Path(chosen.output)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(m) for m in done], indent=1))


if __name__ == "__main__":
    main()
