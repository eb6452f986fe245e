"""How numbers and lists are written in sentences, tables and figures."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def number(value: float) -> str:
    """Write a number with three digits, as people do."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    if size and not 1e-3 <= size < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    text = f"{value:,.0f}" if size >= 100 else f"{value:.3g}"
    return text.replace("-", "−")


def tick(value: float, _position: int | None = None) -> str:
    """Write a number at an axis: no exponent in small type, which could not be read in print."""
    size = abs(value)
    if size and not 0.99e-3 <= size < 1e5:
        mantissa, exponent = f"{value:.5e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
    return f"{value:,.6g}".replace("-", "−")


def counted(count: int, name: str, several: str = "") -> str:
    """Write how many there are: ``1 token``, ``8,192 tokens``; `several` where an s is not all."""
    return f"{count:,} {name if count == 1 else several or f'{name}s'}"


def numbered(numbers: Sequence[int], most: int) -> str:
    """List the first of some numbers: ``3, 5, 8 and 2 more``."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(str(n) for n in numbers[:most]) + more


def channels(numbers: Sequence[int]) -> str:
    """Name channels: ``channel 5``, ``channels 3, 5, 8, 9 and 2 more``."""
    return f"channel{'s' if len(numbers) > 1 else ''} {numbered(numbers, 4)}"


def ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers as ranges: ``2, 11–27``."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def blocks(numbers: Sequence[int]) -> str:
    """Name blocks in ascending order: ``block 5``, ``blocks 2, 11–27``."""
    return f"block{'s' * (len(numbers) > 1)} {ranges(numbers)}"


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a text that is too long."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


_CONTROLS = {"\n": "↵", "\t": "⇥", "\r": "↵"}


def visible(text: str) -> str:
    """Write a text on one line: controls and what else cannot be printed are shown by number."""
    return "".join(_CONTROLS.get(c) or (c if c.isprintable() else f"\\x{ord(c):02x}") for c in text)


def bare_token(piece: str) -> str:
    """Return a token without its leading space; spaces alone are made visible."""
    bare = piece.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n")
    return bare.strip(" ") or bare.replace(" ", "␣") or "∅"


def starred(names: Iterable[str]) -> list[str]:
    """Write names that differ in numbers alone once: ``layers.*.mlp.experts``."""
    return list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names))


def missing_words(missing: Mapping[str, str]) -> list[str]:
    """Say of layers that are missing which they are, a sentence for each reason."""
    said = []
    for why in dict.fromkeys(missing.values()):
        names = [name for name, reason in missing.items() if reason == why]
        said.append(f"missing, {why} ({len(names):,}): {', '.join(starred(names))}")
    return said
