"""Profiles: the labelled result of a run, in memory and on disk."""

from hiddenscope.profiles.files import SCHEMA_VERSION, clean, read, write
from hiddenscope.profiles.profile import Profile

__all__ = ["SCHEMA_VERSION", "Profile", "clean", "read", "write"]
