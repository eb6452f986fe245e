"""hiddenscope: how the hidden states of transformer language models are distributed.

Names are resolved when they are first used: a saved profile opens and plots without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hiddenscope.errors import HiddenscopeError, HiddenscopeWarning
    from hiddenscope.measuring import Recorder, from_states, profile, record
    from hiddenscope.profiles import Profile, Series

__version__ = "0.1.0"

_WHERE = {
    "HiddenscopeError": "hiddenscope.errors",
    "HiddenscopeWarning": "hiddenscope.errors",
    "Profile": "hiddenscope.profiles",
    "Recorder": "hiddenscope.measuring",
    "from_states": "hiddenscope.measuring",
    "profile": "hiddenscope.measuring",
    "record": "hiddenscope.measuring",
    "Series": "hiddenscope.profiles",
}

__all__ = [
    "HiddenscopeError",
    "HiddenscopeWarning",
    "Profile",
    "Recorder",
    "Series",
    "__version__",
    "from_states",
    "open",
    "profile",
    "record",
    "series",
]


def open(path: str | Path) -> Profile:
    """Read a profile from a file or the folder of a run; torch is not needed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Profile

    Raises
    ------
    ProfileError
        There is no profile there, or it cannot be read.
    """
    from hiddenscope.profiles import Profile  # noqa: PLC0415

    return Profile.open(path)


def series(profiles: Mapping[Any, Profile | str | Path]) -> Series:
    """Set profiles side by side, such as those of a training's checkpoints.

    Parameters
    ----------
    profiles : mapping of label to Profile or path
        In order; the labels are steps, or names.

    Returns
    -------
    Series
        ``table()`` is a Dataset[site, step], ``plot("std")`` a figure.

    Raises
    ------
    InputError, ProfileError
        It is no mapping of profiles, or one of them cannot be read.
    """
    from hiddenscope.profiles import Series  # noqa: PLC0415

    return Series(profiles)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        msg = f"module 'hiddenscope' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
