"""Does memory grow with the corpus? Peak memory at 2,000,000 tokens against 600,000.

Usage: python -m benchmarks.memory [--sizes 600000 2000000]

The demo model, each size in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import hiddenscope as hs
from benchmarks.texts import text

LIMIT = 1.05


def peak(source: Path, tokens: int) -> None:
    """Profile a file and print this process's largest resident size in bytes."""
    made = hs.profile("demo", str(source), max_tokens=tokens)
    if sum(made.tokens.values()) != tokens:
        message = f"expected {tokens} tokens, measured {made.tokens}"
        raise RuntimeError(message)
    made.save(source.with_suffix(".nc"))
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs=2, default=(600_000, 2_000_000))
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.source:
        peak(arguments.source, arguments.sizes[0])
        return
    small, large = arguments.sizes
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for tokens in (small, large):
            # A corpus of its own size each, of documents of 500 words.
            source = Path(folder) / f"{tokens}.jsonl"
            with source.open("w", encoding="utf-8") as file:
                for seed in range(-(-tokens // 500)):
                    file.write(json.dumps({"text": text(500, seed)}) + "\n")
            command = [sys.executable, "-m", "benchmarks.memory", "--source", str(source)]
            command += ["--sizes", str(tokens), str(tokens)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            peaks.append(int(output.split()[-1]))
            print(f"{tokens:,} tokens: peak {peaks[-1] / 2**20:,.0f} MiB", flush=True)
    ratio = peaks[1] / peaks[0]
    print(f"{large:,} ÷ {small:,} tokens: {ratio:.3f} (limit {LIMIT})")
    if ratio > LIMIT:
        sys.exit("memory grows with the corpus")


if __name__ == "__main__":
    main()
