"""Train the small GPT-2 that hiddenscope ships as its offline default.

Usage: python tools/train_demo.py DATA OUT --minutes 98

DATA is what `prepare_demo.py` wrote. OUT gets ``step0`` … ``step4096`` and ``final``, in
bfloat16. The learning rate warms up over 100 steps, stays flat and decays over the last fifth of
the wall clock, so a second run gives a like model and not the same one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CONTEXT, ROWS = 256, 8
PEAK_RATE, WARM_UP_STEPS, DECAY_SHARE = 2e-3, 100, 0.2
WEIGHT_DECAY = 0.1
CHECKPOINTS = {0, 64, 256, 1024, 2048, 4096}
VALID_ROWS, VALID_STRIDE = 64, 1000
SEED = 0


def make_model() -> GPT2LMHeadModel:
    """Return the demo model with random weights."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=4096,
            n_positions=CONTEXT,
            n_embd=128,
            n_layer=12,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


def make_optimizer(model: GPT2LMHeadModel) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices and leaves vectors alone."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=True)


def rows_at(stream: NDArray[np.uint16], starts: NDArray[np.int64]) -> torch.Tensor:
    """Cut rows of ``CONTEXT + 1`` tokens out of a stream."""
    return torch.from_numpy(np.stack([stream[i : i + CONTEXT + 1] for i in starts]).astype("i8"))


def rate(step: int, share: float) -> float:
    """Return the learning rate at a step, when `share` of the time is gone."""
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, (1 - share) / DECAY_SHARE)


@torch.no_grad()
def validate(loss: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> float:
    """Return the mean loss in nats a token."""
    return float(np.mean([loss(part).item() for part in rows.split(ROWS)]))


def main() -> None:
    """Train, and save checkpoints on the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=98.0)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    train = np.load(arguments.data / "train.npy")
    valid = np.load(arguments.data / "valid.npy")
    tokenizer = GPT2TokenizerFast.from_pretrained(arguments.data / "tokenizer")
    model = make_model()
    optimizer = make_optimizer(model)
    starts = np.arange(0, len(valid) - CONTEXT - 1, VALID_STRIDE)[:VALID_ROWS]
    held_out = rows_at(valid, starts)

    @torch.compile
    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        return cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())

    def save(name: str) -> None:
        folder = arguments.out / name
        state = {key: value.bfloat16() for key, value in model.state_dict().items()}
        del state["lm_head.weight"]  # tied to the embeddings
        # config.json goes on saying float32: that is how the model runs.
        model.save_pretrained(folder, state_dict=state)
        tokenizer.save_pretrained(folder)

    start, step = time.monotonic(), 0
    while (share := (time.monotonic() - start) / 60 / arguments.minutes) < 1:
        if step in CHECKPOINTS:
            save(f"step{step}")
        for group in optimizer.param_groups:
            group["lr"] = rate(step, share)
        loss = loss_of(rows_at(train, random.integers(0, len(train) - CONTEXT - 1, ROWS)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 500 == 0:
            print(
                f"step {step}, {share:.0%}: loss {loss.item():.3f}, "
                f"held out {validate(loss_of, held_out):.3f}",
                flush=True,
            )
    save("final")
    tokens = step * ROWS * CONTEXT
    print(f"{step} steps, {tokens:,} tokens, held out {validate(loss_of, held_out):.3f}")


if __name__ == "__main__":
    main()
