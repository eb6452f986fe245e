"""What a page may do: run its own scripts and nothing else."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiddenscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

WAYS = ("inline", "cdn")
"""Where a page has Plotly's script from: out of itself, or from the network."""


@dataclass(frozen=True)
class Script:
    """Plotly's script, out of the installed package.

    Attributes
    ----------
    source : str
        The script; empty where it is read from the network.
    url, integrity : str
        Where exactly this version lies, and its digest; empty where it is in the page.
    """

    source: str
    url: str
    integrity: str


def plotly_script(way: str) -> Script:
    """Return Plotly's script.

    Parameters
    ----------
    way : {'inline', 'cdn'}

    Raises
    ------
    InputError
        There is no such way.
    """
    if way not in WAYS:
        msg = f"unknown plotlyjs {way!r}: choose inline (in the page) or cdn (from the network)"
        raise InputError(msg)
    from plotly import offline  # noqa: PLC0415 - half a second that only a page needs

    source = offline.get_plotlyjs()
    if way == "inline":
        return Script(in_script(source), "", "")
    url = f"https://cdn.plot.ly/plotly-{offline.get_plotlyjs_version()}.min.js"
    return Script("", url, digest(source))


def in_script(source: str) -> str:
    """Return a script as it stands in a page: with nothing that would end it, lines end in LF."""
    plain = source.replace("\r\n", "\n").replace("\r", "\n")
    return plain.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def digest(script: str) -> str:
    """Return the SHA-256 digest of a script, as a policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def policy(scripts: Iterable[str], url: str = "") -> str:
    """Write the Content-Security-Policy of a page.

    Parameters
    ----------
    scripts : iterable of str
        The scripts in the page.
    url : str
        The one script that is read from the network, if any.
    """
    allowed = [f"'{digest(script)}'" for script in scripts] + [url] * bool(url)
    rules = (
        "default-src 'none'",
        f"script-src {' '.join(allowed)}",
        "style-src 'unsafe-inline'",
        # Heat maps, and pictures that are saved.
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)
