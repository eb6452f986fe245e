"""Sites: the places in a model that are measured, their grammar and their selection.

A site is ``embed`` (what enters block 0), ``block.<i>.<point>`` or ``final_norm``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from hiddenscope.errors import SiteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OWN_BASIS = ("attn_mix", "mamba_mix", "mix_act", "cross_mix", "mlp_act")
"""What last linear layers read: its channels are not those of the residual stream, however many
there are."""
LINEAR_POINTS = ("attn_norm", "mamba_norm", "mix_norm", "cross_norm", "mlp_norm", *OWN_BASIS)
"""What the first and the last linear layers of attention, of what stands for it, and of the MLP
read."""

_SELECTIONS = ("trunk", "hf", "linear", "all")
_CHOICE = ", ".join(map(repr, _SELECTIONS))
_BLOCK = re.compile(r"block\.(0|[1-9][0-9]*)\.([a-z_]+)")


@dataclass(frozen=True)
class Site:
    """One place that is measured.

    Attributes
    ----------
    name : str
        ``embed``, ``block.<i>.<point>`` or ``final_norm``.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in {"embed", "final_norm"} and not _BLOCK.fullmatch(self.name):
            msg = (
                f"{self.name!r} is not a site: expected 'embed', 'final_norm' or "
                "'block.<number>.<point>', for example 'block.3.resid_post'"
            )
            raise SiteError(msg)

    @classmethod
    def parse(cls, name: str) -> Site:
        """Read a site from its name.

        Raises
        ------
        SiteError
            The name does not follow the grammar.
        """
        return cls(name)

    @property
    def block(self) -> int | None:
        """The block's number, or None for ``embed`` and ``final_norm``."""
        match = _BLOCK.fullmatch(self.name)
        return int(match[1]) if match else None

    @property
    def point(self) -> str | None:
        """Where in the block, or None for ``embed`` and ``final_norm``."""
        match = _BLOCK.fullmatch(self.name)
        return match[2] if match else None

    @property
    def depth(self) -> float:
        """The block's number; −1 before the first one, infinite behind the last one."""
        ends = {"embed": -1.0, "final_norm": math.inf}
        return ends[self.name] if self.block is None else self.block

    @property
    def in_trunk(self) -> bool:
        """Whether the site belongs to the default sites of a model."""
        return self.point in {None, "resid_post"}

    @property
    def label(self) -> str:
        """The site in words: ``embed``, ``block 3``, ``block 3 attn_out``, ``final norm``."""
        if self.block is None:
            return self.name.replace("_", " ")
        suffix = "" if self.point == "resid_post" else f" {self.point}"
        return f"block {self.block}{suffix}"

    def __str__(self) -> str:
        return self.name


def trunk(n_blocks: int, *, final_norm: bool) -> tuple[Site, ...]:
    """Return the default sites of a model: ``embed``, every block's output, the final norm."""
    names = ["embed", *(f"block.{i}.resid_post" for i in range(n_blocks))]
    return tuple(Site(n) for n in (*names, *(["final_norm"] if final_norm else [])))


def select_sites(
    patterns: str | Iterable[str],
    available: Sequence[Site],
    hf: Sequence[Site] = (),
    default: Sequence[Site] | None = None,
    linear: Sequence[Site] = (),
) -> tuple[Site, ...]:
    """Choose sites by name, pattern or selection.

    Parameters
    ----------
    patterns : str or iterable of str
        ``trunk`` (those in `default`), ``all`` (every site in `available`), ``hf`` (exactly the
        sites of Hugging Face's ``hidden_states`` tuple), ``linear`` (what linear layers read:
        `LINEAR_POINTS` and those in `linear`), a site, or a pattern such as
        ``block.*.resid_post``; ``block.3`` stands for ``block.3.resid_post``. A string may hold
        several, separated by commas.
    available : sequence of Site
        The sites that there are, in order.
    hf : sequence of Site
        The sites of the ``hidden_states`` tuple.
    default : sequence of Site, optional
        The trunk; by default every available site that can belong to one.
    linear : sequence of Site
        Further sites that linear layers read, such as ``final_norm``.

    Returns
    -------
    tuple of Site
        In the order of `available`, each once.

    Raises
    ------
    SiteError
        A pattern matches no site.
    """
    parts = patterns.split(",") if isinstance(patterns, str) else list(patterns)
    if not parts:
        msg = f"no sites were asked for: choose {_CHOICE}, a site or a pattern"
        raise SiteError(msg)
    if default is None:
        default = [s for s in available if s.in_trunk]
    read = {s for s in available if s.point in LINEAR_POINTS or s in set(linear)}
    named = dict(zip(_SELECTIONS, (set(default), set(hf), read, set(available)), strict=True))
    chosen: set[Site] = set()
    for part in (full_name(p.strip()) for p in parts):
        found = named.get(part)
        if found is None:
            found = {s for s in available if fnmatchcase(s.name, part)}
        if not found:
            msg = (
                f"no site matches {part!r}: this has {_known(available)}; choose {_CHOICE}, a "
                "site or a pattern such as 'block.*.resid_post'"
            )
            raise SiteError(msg)
        chosen |= found
    return tuple(s for s in available if s in chosen)


def full_name(part: str) -> str:
    """Write out ``block.3``, which stands for the block's output."""
    return f"{part}.resid_post" if re.fullmatch(r"block\.[^.]+", part) else part


def _known(available: Sequence[Site]) -> str:
    """Say which sites there are: ``embed, block.0 to block.11 with resid_post, final_norm``."""
    points = list(dict.fromkeys(s.point for s in available if s.point))
    blocks = [s.block for s in available if s.block is not None]
    ends = [s.name for s in available if s.block is None]
    inner = f"block.{min(blocks)} to block.{max(blocks)} with {', '.join(points)}" if blocks else ""
    words = ["embed", inner, "final_norm"]
    return ", ".join(w for w in words if w and (w == inner or w in ends)) or "no sites"


def check_patterns(patterns: str) -> None:
    """Refuse patterns that no model could match, before one is loaded.

    Raises
    ------
    SiteError
        A part is neither a selection nor anything like a site.
    """
    for part in (p.strip().rpartition("/")[2] for p in patterns.split(",")):
        known = part in {*_SELECTIONS, "embed", "final_norm"}
        if not known and not part.startswith("block.") and not set(part) & set("*?["):
            msg = (
                f"{part!r} is not a site: choose {_CHOICE}, 'embed', 'final_norm', "
                "'block.<number>.resid_post' or a pattern such as 'block.*.resid_post'"
            )
            raise SiteError(msg)
