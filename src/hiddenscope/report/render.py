"""The page: its template, its style, its scripts and what they may do."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from hiddenscope import analysis
from hiddenscope.figures.plotly.panels import SCREENS
from hiddenscope.report import encode, policy
from hiddenscope.report.sections import sections
from hiddenscope.report.subject import subject
from hiddenscope.sites import Site

if TYPE_CHECKING:
    import jinja2
    import xarray as xr

_CITED = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


def render(tree: xr.DataTree, plotlyjs: str = "inline") -> str:
    """Make the page of a profile.

    Parameters
    ----------
    tree : DataTree
        A profile's tree (``p.dataset``) or one of its streams.
    plotlyjs : {'inline', 'cdn'}
        Plotly's script in the page, which then opens with no network; or read from the network
        when the page is opened, which makes it 5 MB smaller.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    InputError
        `plotlyjs` is neither; the profile holds no stream.
    """
    plotly = policy.plotly_script(plotlyjs)
    stream = tree if "moments" in tree.children else analysis.stream_of(tree)
    shown = subject(stream)
    script = policy.in_script(_part("page.js"))
    scripts = [s for s in (plotly.source, script) if s]
    return _template().render(
        sections=sections(shown),
        views={v: encode.text_of_reason(words) for v, words in shown.views.items()},
        sites=[(s, Site(s).label) for s in shown.sites],
        settings=Markup(
            encode.for_script({"view": shown.view, "sites": shown.sites, "screens": SCREENS})
        ),
        policy=policy.policy(scripts, plotly.url),
        style=Markup(_part("page.css")),
        plotly=plotly,
        plotly_source=Markup(plotly.source),
        script=Markup(script),
    )


def _part(name: str) -> str:
    return files("hiddenscope.report").joinpath("page", name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    import jinja2  # noqa: PLC0415 - only a page needs it

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cited"] = cited
    return environment.from_string(_part("page.html"))


def cited(source: str) -> Markup:
    """Make a link of each arXiv number in a source; all else is escaped."""
    parts = _CITED.split(source)
    pieces = [Markup.escape(parts[0])]
    for number, rest in zip(parts[1::2], parts[2::2], strict=True):
        link = Markup('<a href="https://arxiv.org/abs/{0}" rel="noreferrer">arXiv:{0}</a>')
        pieces += [link.format(number), Markup.escape(rest)]
    return Markup("").join(pieces)
