"""From a model and a text to a profile: the loop, and the same capture round any other loop."""

from hiddenscope.profiling.arrays import from_states
from hiddenscope.profiling.choose import choose_sites, site_table
from hiddenscope.profiling.loop import Progress
from hiddenscope.profiling.recorder import Recorder, record
from hiddenscope.profiling.run import profile

__all__ = [
    "Progress",
    "Recorder",
    "choose_sites",
    "from_states",
    "profile",
    "record",
    "site_table",
]
