"""Writing a file so that there is never half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hiddenscope.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(target: Path, what: str) -> Iterator[Path]:
    """Yield a temporary file beside the target, which it replaces if nothing fails.

    Parameters
    ----------
    target : Path
        Its folder is made if there is none.
    what : str
        What is written, for the message: ``the figure``.

    Raises
    ------
    OutputError
        The place cannot be written; what was there before is as it was.
    """
    made: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=target.suffix.lower(), dir=target.parent
        )
        os.close(handle)
        made = Path(name)
        yield made
        # mkstemp makes files for the owner alone; this one is as readable as any other.
        mask = os.umask(0)
        os.umask(mask)
        made.chmod(0o666 & ~mask)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(target)
    except (OSError, ValueError) as error:
        msg = f"cannot write {what} {str(target)!r}: {getattr(error, 'strerror', None) or error}"
        raise OutputError(msg) from error
    finally:
        if made is not None:
            made.unlink(missing_ok=True)
