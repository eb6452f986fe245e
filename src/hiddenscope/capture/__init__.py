"""Capture: the hidden states of one forward pass, through hooks that are gone afterwards."""

from hiddenscope.capture.checks import Check, Watch, verify
from hiddenscope.capture.hooks import Capture

__all__ = ["Capture", "Check", "Watch", "verify"]
