"""What measuring costs: the trunk against the bare forward pass, and all points against the trunk.

Usage: python -m benchmarks.overhead [--batches 16] [--rounds 3] [--threads 1]

A base model of GPT-2 small's shape with random weights, in one process, passes interleaved; by
default on one thread, so that the ratios are those of the work and not of how well a forward pass
and the counting each use a second core.
Tokenizing, every statistic and putting the profile together count; loading the model and
writing the file do not.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import torch
from transformers import GPT2Config, GPT2Model

import hiddenscope as hs
from benchmarks.texts import text
from hiddenscope import corpus
from hiddenscope.models import load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hiddenscope.tokens import Tokens

LIMIT = 1.25
"""Of a profile of the trunk ÷ the forward pass."""
LIMIT_OF_POINTS = 1.8
"""Of a profile of all points ÷ one of the trunk."""
SHAPES = ((4, 512), (64, 128))


@torch.no_grad()
def forward(model: PreTrainedModel, batches: list[Tokens]) -> float:
    start = time.perf_counter()
    for batch in batches:
        model(
            input_ids=torch.from_numpy(batch.input_ids(0)),
            attention_mask=torch.from_numpy(batch.attention_mask),
            use_cache=False,
        )
    return time.perf_counter() - start


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    shape: tuple[int, int],
    *,
    n_batches: int,
    rounds: int,
) -> tuple[float, float]:
    """Return the medians over the rounds of trunk ÷ forward and all points ÷ trunk."""
    rows, length = shape
    tokens = n_batches * rows * length
    words = text(tokens)
    windower = corpus.Windower(tokenizer, length)
    windows = corpus.limit_tokens(
        windower([corpus.Document(words, "words")], corpus.Tally()), tokens
    )
    groups = corpus.groups(windows, rows * length)
    batches = [b for group in groups for b in corpus.batches(group, rows * length)]
    found = {b.ids.shape for b in batches}
    if found != {shape} or len(batches) != n_batches:
        message = f"expected {n_batches} batches of {shape}, got {len(batches)} of {found}"
        raise RuntimeError(message)
    forward(model, batches[:2])

    def profile(sites: str) -> float:
        start = time.perf_counter()
        made = hs.profile(
            model,
            text=words,
            tokenizer=tokenizer,
            sites=sites,
            window=length,
            batch_tokens=rows * length,
            max_tokens=tokens,
            shard_bytes=len(words) * 4,
        )
        took = time.perf_counter() - start
        if sum(made.tokens.values()) != tokens:
            message = f"expected {tokens} tokens, measured {made.tokens}"
            raise RuntimeError(message)
        return took

    ratios = []
    for number in range(rounds):
        bare, trunk, points = forward(model, batches), profile("trunk"), profile("all")
        ratios.append((trunk / bare, points / trunk))
        print(
            f"{rows} × {length}, round {number + 1}: forward {bare:.1f} s, "
            f"trunk {trunk:.1f} s ({trunk / bare:.3f}), "
            f"all points {points:.1f} s ({points / trunk:.3f})",
            flush=True,
        )
    of_trunk, of_points = zip(*ratios, strict=True)
    return median(of_trunk), median(of_points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = GPT2Model(GPT2Config()).eval()
    tokenizer = load("demo").tokenizer
    tokenizer.model_max_length = model.config.n_positions
    ratios = {
        shape: measure(
            model, tokenizer, shape, n_batches=arguments.batches, rounds=arguments.rounds
        )
        for shape in SHAPES
    }
    for (rows, length), (trunk, points) in ratios.items():
        print(
            f"{rows} × {length}: trunk ÷ forward = {trunk:.3f} (limit {LIMIT}), "
            f"all points ÷ trunk = {points:.3f} (limit {LIMIT_OF_POINTS})"
        )
    if any(t > LIMIT or p > LIMIT_OF_POINTS for t, p in ratios.values()):
        sys.exit("measuring costs more than promised")


if __name__ == "__main__":
    main()
