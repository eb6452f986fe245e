"""How large the report is, and how soon it can be read.

Usage: python -m benchmarks.page [--rounds 5]

Three profiles: the demo, GPT-2 small's shape with random weights, and random states of 80 blocks
of 8,192 channels. Each page is opened anew in headless Chromium, from a file; the times are
medians, from the beginning of the navigation until the first figure is painted and until the page
has nothing left to do.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from playwright.sync_api import sync_playwright
from transformers import GPT2Config, GPT2Model

import hiddenscope as hs
from benchmarks.texts import text
from hiddenscope.models import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser

    from hiddenscope.profiles import Profile

FIRST_FIGURE, IDLE = 2.0, 5.0
"""Seconds."""
CLOCK = """
window.times = {};
const known = new MutationObserver(() => {
  if (!times.first && document.querySelector('.main-svg')) {
    times.first = 0;
    requestAnimationFrame(() => setTimeout(() => { times.first = performance.now(); }));
  }
  if (document.documentElement?.dataset.ready) times.idle ??= performance.now();
});
known.observe(document, {subtree: true, childList: true, attributeFilter: ['data-ready']});
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) times.busy = task.startTime + task.duration;
}).observe({type: 'longtask', buffered: true});
"""


def demo() -> Profile:
    return hs.profile("demo")


def gpt2_small() -> Profile:
    torch.manual_seed(0)
    return hs.profile(
        GPT2Model(GPT2Config()).eval(),
        text=text(4096),
        tokenizer=load("demo").tokenizer,
        max_tokens=4096,
    )


def large() -> Profile:
    generator = np.random.default_rng(0)
    x = generator.standard_t(4, size=(1, 192, 8192)).astype(np.float32)
    states = {"embed": x}
    for block in range(80):
        x = x + np.float32(0.3) * generator.standard_normal(x.shape, np.float32)
        x[0, 0, 77] = 900
        states[f"block.{block}.resid_post"] = x
    states["final_norm"] = x / np.sqrt(np.mean(x**2, -1, keepdims=True))
    return hs.from_states(states)


PAGES: dict[str, tuple[Callable[[], Profile], float, float]] = {
    "demo": (demo, 7, 1.5),
    "GPT-2 small": (gpt2_small, 7, 1.5),
    "80 blocks of 8,192 channels": (large, 12, 12),
}
"""What makes each profile, and how many MB its page may have, and have without Plotly's script."""


def open_page(browser: Browser, address: str) -> tuple[float, float]:
    """Return the seconds until the first figure is painted and until the page is idle."""
    page = browser.new_page()
    page.add_init_script(CLOCK)
    page.goto(address, wait_until="commit")
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    page.wait_for_timeout(1000)
    times = page.evaluate("times")
    page.close()
    return times["first"] / 1e3, max(times["idle"], times["busy"]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    missed = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        for name, (profile, most, most_apart) in PAGES.items():
            made = profile()
            made.report(file, plotlyjs="cdn")
            apart = file.stat().st_size / 1e6
            made.report(file)
            size = file.stat().st_size / 1e6
            times = []
            for _ in range(rounds):
                # A new browser each time: none has seen Plotly's script before.
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"),
                    args=["--no-sandbox", "--disable-gpu"],
                )
                times.append(open_page(browser, file.as_uri()))
                browser.close()
            first, idle = (median(seconds) for seconds in zip(*times, strict=True))
            print(
                f"{name}: {size:.2f} MB (limit {most}), {apart:.2f} MB without Plotly's script "
                f"(limit {most_apart}); first figure after {first:.1f} s "
                f"(limit {FIRST_FIGURE:.0f}), idle after {idle:.1f} s (limit {IDLE:.0f})",
                flush=True,
            )
            if size > most or apart > most_apart or first > FIRST_FIGURE or idle > IDLE:
                missed.append(name)
    if missed:
        sys.exit(f"too large or too late: {', '.join(missed)}")


if __name__ == "__main__":
    main()
