"""The hot loops: what is computed from every single value.

They are chosen here and nowhere else, so that a faster kernel replaces the plain one in one line
and is compared with it in one test. A profile's manifest says which one ran.
"""

from hiddenscope.kernels.counting import count_cells, count_octaves
from hiddenscope.kernels.products import comoment, comoment_parts
from hiddenscope.kernels.reference import Scan, largest, scan
from hiddenscope.kernels.threads import each

NAME = "reference"
"""What the manifest calls these kernels."""

__all__ = [
    "NAME",
    "Scan",
    "comoment",
    "comoment_parts",
    "count_cells",
    "count_octaves",
    "each",
    "largest",
    "scan",
]
