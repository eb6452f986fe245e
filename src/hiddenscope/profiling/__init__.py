"""From a model and a text to a profile: the loop, and the same capture round any other loop."""

from hiddenscope.profiling.arrays import from_states
from hiddenscope.profiling.recorder import Recorder, record
from hiddenscope.profiling.run import Progress, profile

__all__ = ["Progress", "Recorder", "from_states", "profile", "record"]
