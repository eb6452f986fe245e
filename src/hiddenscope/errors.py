"""The errors that hiddenscope raises on purpose.

::

    HiddenscopeError
    ├── InputError          what was asked for cannot be done; the message says what to do
    │   ├── SourceError     a text, file or folder that cannot be read as a corpus
    │   ├── ModelError      a model or tokenizer that cannot be loaded or measured
    │   ├── MaskError       an attention mask that cannot be read for certain
    │   ├── SiteError       a site that does not exist, or a pattern that matches none
    │   ├── ViewError       a view or stratum that does not exist
    │   ├── ProfileError    a file that is not a profile, or cannot answer a question
    │   ├── FigureError     a figure, option or format that does not exist
    │   ├── MergeError      states that were not measured alike cannot be joined
    │   └── OutputError     a place that cannot be written
    └── CaptureError        a forward pass did not yield what the model declared

The command line prints any of them without a traceback and exits with code 2.
"""

from __future__ import annotations


class HiddenscopeError(Exception):
    """Root of every error that hiddenscope raises on purpose."""


class InputError(HiddenscopeError):
    """What was asked for cannot be done."""


class SourceError(InputError):
    """A text, file or folder cannot be read as a corpus."""


class ModelError(InputError):
    """A model or tokenizer cannot be loaded or measured."""


class MaskError(InputError):
    """An attention mask cannot be read for certain."""


class SiteError(InputError):
    """A site does not exist, or a pattern matches none."""


class ViewError(InputError):
    """A view or stratum does not exist."""


class ProfileError(InputError):
    """A file is not a profile, or a profile cannot answer a question."""


class FigureError(InputError):
    """A figure, one of its options or a file format does not exist."""


class MergeError(InputError):
    """States that were not measured alike cannot be joined."""


class OutputError(InputError):
    """A place cannot be written."""


class CaptureError(HiddenscopeError):
    """A forward pass did not yield what the model declared."""


class HiddenscopeWarning(UserWarning):
    """The numbers are there, but a check failed or the data need care."""
