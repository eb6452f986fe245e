"""Profiles: the labelled result of a run, in memory and on disk."""

from hiddenscope.profiles.comparison import Series
from hiddenscope.profiles.files import clean, read, write
from hiddenscope.profiles.profile import Profile

__all__ = ["Profile", "Series", "clean", "read", "write"]
