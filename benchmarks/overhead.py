"""What measuring costs: ``profile()`` against the bare forward pass over the same batches.

Usage: python -m benchmarks.overhead [--batches 16] [--rounds 3]

A base model of GPT-2 small's shape with random weights, in one process, passes interleaved.
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
) -> float:
    """Return the median over the rounds of profile ÷ forward."""
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
    ratios = []
    for number in range(rounds):
        bare = forward(model, batches)
        start = time.perf_counter()
        made = hs.profile(
            model,
            text=words,
            tokenizer=tokenizer,
            window=length,
            batch_tokens=rows * length,
            max_tokens=tokens,
            shard_bytes=len(words) * 4,
        )
        whole = time.perf_counter() - start
        if sum(made.tokens.values()) != tokens:
            message = f"expected {tokens} tokens, measured {made.tokens}"
            raise RuntimeError(message)
        ratios.append(whole / bare)
        print(
            f"{rows} × {length}, round {number + 1}: forward {bare:.1f} s, "
            f"profile {whole:.1f} s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    return median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
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
    for (rows, length), ratio in ratios.items():
        print(f"{rows} × {length}: profile ÷ forward = {ratio:.3f} (limit {LIMIT})")
    if max(ratios.values()) > LIMIT:
        sys.exit("measuring costs more than promised")


if __name__ == "__main__":
    main()
