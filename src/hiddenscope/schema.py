"""What a profile holds, as data: groups, variables, dimensions, units, and since when.

The labels of a profile, the check of a file that is opened, its compression and
``docs/file-format.md`` are all read off this table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 4
REQUIRED = ("grid", "moments")
"""Groups without which nothing can be answered; any other may be absent."""
FULL, COMPACT = "full", "compact"
"""Forms of the co-moments; the attribute ``compact`` of the group says which one it has."""
TEXT = "text"
"""The type, and the unit, of strings."""


@dataclass(frozen=True)
class Variable:
    """One array of a group.

    Attributes
    ----------
    dims : tuple of str
    long_name, units : str
    dtype : str
        As NumPy names it, or `TEXT`.
    coordinate : bool
        Whether it labels a dimension.
    since : int
        The schema version that added it: files of older ones lack it and are whole.
    form : str, optional
        The only form of the co-moments that has the variable; None if it has no such limit.
    settings : mapping of str to str
        Attribute → the field of the run's layout that it holds.
    """

    dims: tuple[str, ...]
    long_name: str
    units: str
    dtype: str = "int64"
    coordinate: bool = False
    since: int = 1
    form: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def attrs(self) -> dict[str, str]:
        """What the array says of itself in the file."""
        return {"long_name": self.long_name, "units": self.units}

    def belongs(self, version: int, form: str) -> bool:
        """Whether a file of this schema version and form has it."""
        return self.since <= version and self.form in {None, form}


_STATE = ("site", "stratum", "channel")
_RANK = ("site", "stratum", "rank")
_PAIR = ("stratum", "site_a", "site_b")
_SINGLE = ("stratum", "site_a", "channel")
_PRODUCTS = "sum of products of deviations from the means"


def _moment(long_name: str, power: str = "") -> Variable:
    return Variable(_STATE, long_name, f"activation{power}", "float64")


def _products(dims: tuple[str, ...], form: str, what: str = "") -> Variable:
    return Variable(dims, _PRODUCTS + what, "activation^2", "float64", form=form)


def _lower_edge(dim: str) -> Variable:
    what = "lower edge of the cell"
    return Variable((dim,), what, "activation", "float64", coordinate=True, since=4)


def _tokens(dims: tuple[str, ...], dtype: str = "int64") -> dict[str, Variable]:
    """Say of a token where it stands and what it is."""
    return {
        "corpus": Variable(dims, "corpus of the document, 0 where there is one", "1", since=3),
        "document": Variable(dims, "document, in order", "1"),
        "window": Variable(dims, "window in the document", "1"),
        "position": Variable(dims, "position in the window", "tokens"),
        "token_id": Variable(dims, "token id", "1"),
        "piece": Variable(dims, "text of the token", TEXT, TEXT),
    }


SHARED = {
    "site": Variable(("site",), "site", TEXT, TEXT, coordinate=True),
    "hf_index": Variable(("site",), "index in Hugging Face's hidden_states", "1", coordinate=True),
    "stratum": Variable(("stratum",), "stratum", TEXT, TEXT, coordinate=True),
}
"""Coordinates of every group that has their dimension."""

GROUPS: dict[str, dict[str, Variable]] = {
    "grid": {
        "count": Variable(("site", "stratum", "cell"), "values in a cell of the grid", "values"),
        "value": _lower_edge("cell"),
    },
    "moments": {
        "count": Variable(("site", "stratum"), "tokens finite at the site", "tokens"),
        "mean": _moment("mean"),
        "m2": _moment("sum of squared deviations from the mean", "^2"),
        "m3": _moment("sum of cubed deviations from the mean", "^3"),
        "m4": _moment("sum of fourth powers of deviations from the mean", "^4"),
        "unit_mean": Variable(
            _STATE, "mean of the hidden states divided by their L2 norms", "1", "float64", since=4
        ),
        "min": _moment("smallest finite value"),
        "max": _moment("largest finite value"),
        "over": Variable(
            _STATE,
            "tokens with a magnitude of at least the threshold",
            "tokens",
            settings={"threshold": "outlier"},
        ),
        "over_rms": Variable(
            _STATE,
            "tokens with a magnitude of at least the factor times the root mean square of their "
            "hidden state",
            "tokens",
            since=2,
            settings={"factor": "outlier_rms"},
        ),
        "nonfinite": Variable(_STATE, "values that are NaN or infinite", "values"),
        "nonfinite_document": Variable(
            ("site", "stratum"), "first document with such a value, -1 without", "1", since=2
        ),
    },
    "octaves": {
        "count": Variable(
            ("site", "stratum_group", "channel", "octave"),
            "tokens finite at the site, by magnitude",
            "tokens",
            since=4,
        ),
        "stratum_group": Variable(
            ("stratum_group",),
            "stratum; in large profiles rest, and all others together",
            TEXT,
            TEXT,
            coordinate=True,
            since=4,
        ),
        "octave_start": Variable(
            ("octave",),
            "smallest magnitude of the octave; the next is twice as large",
            "activation",
            "float64",
            coordinate=True,
            since=4,
        ),
    },
    "cross": {
        "count": Variable(("stratum",), "tokens finite at every site of the trunk", "tokens"),
        "mean": Variable(_SINGLE, "mean", "activation", "float64"),
        "comoment": _products((*_PAIR, "channel"), FULL),
        "comoment_sum": _products(_PAIR, COMPACT, ", summed over the channels"),
        "comoment_self": _products(_SINGLE, COMPACT, ", of each site with itself"),
        "comoment_next": _products(_SINGLE, COMPACT, ", of each site with the next"),
        "comoment_loud": _products((*_PAIR, "loud"), COMPACT, ", in the loudest channels"),
        "site_a": Variable(("site_a",), "site of the trunk", TEXT, TEXT, coordinate=True),
        "site_b": Variable(("site_b",), "site of the trunk", TEXT, TEXT, coordinate=True),
        "loud": Variable(("loud",), "loud channel", "1", coordinate=True, form=COMPACT),
    },
    "norms": {
        "l2": Variable(
            ("site", "stratum", "magnitude"), "tokens by L2 norm of a hidden state", "tokens"
        ),
        "linf": Variable(
            ("site", "stratum", "magnitude"),
            "tokens by largest magnitude of a hidden state",
            "tokens",
        ),
        "value": _lower_edge("magnitude"),
    },
    "positions": {
        "count": Variable(("stratum", "position"), "tokens finite at every site", "tokens"),
        "mean": Variable(
            ("site", "stratum", "position"),
            "mean over tokens and channels",
            "activation",
            "float64",
        ),
        "m2": Variable(
            ("site", "stratum", "position"),
            "sum of squared deviations from the mean",
            "activation^2",
            "float64",
        ),
        "absmax": Variable(
            ("site", "stratum", "position"), "largest magnitude", "activation", "float64"
        ),
        "position_start": Variable(
            ("position",), "first position of the bucket", "tokens", coordinate=True
        ),
        "position_stop": Variable(
            ("position",), "first position after the bucket", "tokens", coordinate=True
        ),
    },
    "extremes": {
        "value": Variable(_RANK, "value of large magnitude", "activation", "float32"),
        "channel": Variable(_RANK, "channel of the value, -1 where unfilled", "1"),
        "median": Variable(_RANK, "median magnitude of the hidden state", "activation", "float64"),
        **_tokens(_RANK),
        "before": Variable(_RANK, "text before", TEXT, TEXT),
        "after": Variable(_RANK, "text after", TEXT, TEXT),
    },
    "sample": {
        "state": Variable(
            ("site", "token", "channel"),
            "hidden state, rounded to bfloat16",
            "activation",
            "float32",
        ),
        **_tokens(("token",)),
        "stratum": Variable(("token",), "stratum of the token", TEXT, TEXT),
        "passage": Variable(("token",), "1 where the token belongs to the passage", "1", "int8"),
    },
}
"""Group of a stream → its variables, in order."""
