"""How large each channel's values are, to a factor of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from hiddenscope import kernels
from hiddenscope.grid import OCTAVE_STARTS, OCTAVES
from hiddenscope.stats.base import Accumulator
from hiddenscope.strata import DEFAULT_VIEW

if TYPE_CHECKING:
    from hiddenscope.stats.base import Decode, State
    from hiddenscope.stats.batch import Batch

MOST_BYTES = 128 << 20
"""Counts of more bytes than this keep only two groups of strata apart."""
OTHERS = "others"
"""The group of the strata that are not in the view `rest`, where the strata are not kept apart."""
_NARROW = np.iinfo(np.int32)


class Octaves(Accumulator):
    """Counts of each channel's magnitudes by octave, over tokens that are finite at the site.

    While a model runs they are kept in 32 bits, until a count could become too large for that.
    """

    name = "octaves"

    @property
    def groups(self) -> dict[str, list[int]]:
        """Name of a group of strata → their codes."""
        layout, strata = self.layout, self.layout.strata
        row = layout.channels * OCTAVES * (_NARROW.bits // 8)
        if len(layout.sites) * len(strata) * row <= MOST_BYTES:
            return {name: [code] for code, name in enumerate(strata)}
        rest = strata.select(DEFAULT_VIEW)
        codes = {name: code for code, name in enumerate(strata)}
        return {
            DEFAULT_VIEW: [codes[name] for name in rest],
            OTHERS: [code for name, code in codes.items() if name not in rest],
        }

    def empty(self) -> State:
        """Return the counts of no tokens."""
        layout = self.layout
        shape = (len(layout.sites), len(self.groups), layout.channels, OCTAVES)
        return {"count": np.zeros(shape, np.int32)}

    def update(self, batch: Batch) -> None:
        """Count the values of a batch."""
        if self.arrays["count"].max(initial=0) > _NARROW.max - len(batch.tokens.order):
            self.arrays["count"] = self.arrays["count"].astype(np.int64)
        group_of = {code: i for i, codes in enumerate(self.groups.values()) for code in codes}

        def count(shared: tuple[torch.Tensor, list[int]]) -> None:
            states, at = shared
            for k, tokens in batch.strata:
                finite = torch.from_numpy(batch.finite[at[0], tokens])
                kept = states[tokens] if finite.all() else states[tokens][finite.to(states.device)]
                counts = kernels.count_octaves(kept).cpu().numpy()
                for i in at:
                    self.arrays["count"][i, group_of[k]] += counts

        kernels.each(count, batch.distinct, batch.device)

    def _merge(self, other: Self) -> Self:
        """Add the counts of two states."""
        a, b = self.arrays["count"], other.arrays["count"]
        largest = int(a.max(initial=0)) + int(b.max(initial=0))
        dtype = np.int32 if largest <= _NARROW.max else np.int64
        return self._new({"count": np.add(a, b, dtype=dtype, casting="same_kind")})

    def tables(self, decode: Decode) -> State:
        """Return the counts ``[site, stratum_group, channel, octave]``."""
        return {
            "count": self.arrays["count"].astype(np.int64),
            "stratum_group": np.array(list(self.groups), dtype=np.str_),
            "octave_start": OCTAVE_STARTS,
        }
