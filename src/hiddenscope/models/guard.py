"""Calls into transformers: without its terminal output, and with our own error messages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers.utils import logging as transformers_logging

from hiddenscope.errors import ModelError
from hiddenscope.models import hub

if TYPE_CHECKING:
    from collections.abc import Iterator


def attempt(what: str, load_part: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a part of transformers; whatever it raises becomes a `ModelError` that names `what`."""
    try:
        return load_part(*args, **kwargs)
    except ModelError:
        raise
    except Exception as error:
        # Whatever a broken file or configuration makes transformers raise is the input's fault.
        said = " ".join(str(error).split()) or type(error).__name__
        reason = said if len(said) <= 300 else said[:300] + "…"
        if isinstance(error, ImportError):
            msg = f"cannot load the model {what}: a package is missing: {reason}"
            raise ModelError(msg) from error
        if "trust_remote_code" in said:
            msg = (
                f"cannot load the model {what}: it comes with code of its own, which is not run "
                "unless asked for; read that code, then say --trust-remote-code "
                "(trust_remote_code=True)"
            )
            raise ModelError(msg) from error
        raise hub.not_loaded(what, reason) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own loading bars, reports and questions off the terminal."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with hub.never_prompt():
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
