"""Capture: the hidden states of one forward pass, through hooks that are gone afterwards."""

from hiddenscope.capture.check import Check
from hiddenscope.capture.equations import residue
from hiddenscope.capture.hooks import Capture
from hiddenscope.capture.verify import verify
from hiddenscope.capture.watch import Watch

__all__ = ["Capture", "Check", "Watch", "residue", "verify"]
