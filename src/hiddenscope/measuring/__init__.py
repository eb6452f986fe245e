"""From a model and a text to a profile: the loop, and the same capture round any other loop."""

from hiddenscope.measuring.choose import choose_sites, site_table
from hiddenscope.measuring.given_states import from_states
from hiddenscope.measuring.recorder import Recorder
from hiddenscope.measuring.recording import record
from hiddenscope.measuring.run import profile
from hiddenscope.progress import Progress

__all__ = [
    "Progress",
    "Recorder",
    "choose_sites",
    "from_states",
    "profile",
    "record",
    "site_table",
]
