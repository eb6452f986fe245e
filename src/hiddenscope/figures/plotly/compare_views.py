"""Two views for Plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiddenscope.figures import colours
from hiddenscope.figures.compare_views import BAND
from hiddenscope.figures.places import SET_OFF, places
from hiddenscope.figures.plotly.axes import Values, broken, counts, magnitudes
from hiddenscope.figures.plotly.bands import band
from hiddenscope.figures.plotly.curves import density_curve
from hiddenscope.figures.plotly.sheet import Sheet
from hiddenscope.figures.plotly.values import escaped
from hiddenscope.sites import Site
from hiddenscope.strata import FIRST

if TYPE_CHECKING:
    from hiddenscope.figures.compare_views import CompareViews, Panel
    from hiddenscope.figures.look import Look
    from hiddenscope.figures.places import Places


def draw(shown: CompareViews, look: Look) -> dict[str, Any]:
    """Draw histograms, and after them what both views are like through depth."""
    views = [escaped(view) for view in shown.views]
    names = [Site.parse(panel.site).label for panel in shown.panels]
    names += ["norms of hidden states", *(f"channel means, {view}" for view in shown.views)]
    sheet = Sheet(look, shown, high=230, panels=names, columns=2, foot=64)
    # First tokens have their colour in every figure.
    pair = [colours.blend(colours.BLOCKS_ON_ANY, 0.33), colours.FIRST_TOKENS]
    pair = pair[:: -1 if shown.views[0] == FIRST else 1]
    for view, colour in zip(views, pair, strict=True):
        sheet.entry(view, line={"color": colour, "width": 3})
    for i, panel in enumerate(shown.panels):
        _histogram(sheet, i, shown, panel, pair)
    where = places(shown.sites, 0.4)
    _norms(sheet, len(shown.panels), shown, where, pair)
    _means(sheet, len(shown.panels) + 1, shown, where)
    return sheet.figure()


def _histogram(
    sheet: Sheet, index: int, shown: CompareViews, panel: Panel, pair: list[str]
) -> None:
    axis = Values(panel.scale, panel.low, panel.high, panel.linear)
    for view, table, colour in zip(shown.views, panel.tables, pair, strict=True):
        if not table.empty:
            density_curve(
                sheet,
                table,
                "density",
                axis=axis,
                label=escaped(view),
                color=colour,
                panel=index,
                view=view,
                site=panel.site,
            )
    heights = np.concatenate([t.loc[t["count"] > 0, "density"] for t in panel.tables])
    if len(heights):
        sheet.axis("y", index, **counts(heights, log=shown.log))
    sheet.axis("y", index, title="density per unit" + " (log)" * shown.log)
    sheet.axis("x", index, title="activation" + " (asinh)" * (panel.scale == "asinh"))
    sheet.axis("x", index, **axis.axis())


def _norms(sheet: Sheet, index: int, shown: CompareViews, where: Places, pair: list[str]) -> None:
    columns = [f"q{level:g}" for level in BAND]
    labels, sizes = _sites(shown)
    drawn = np.stack([table[columns].to_numpy(np.float64) for table in shown.norms])
    for view, table, colour in zip(shown.views, drawn, pair, strict=True):
        low, middle, high = table.T
        fill = colours.clear(colour, 0.25)
        band(sheet, where, low, high, fillcolor=fill, panel=index, view=view, part="band")
        sheet.add(
            "scatter",
            index,
            **broken(where, middle, customdata=labels, size=sizes, color=colour),
            hovertemplate=f"<b>%{{customdata}}</b>, {escaped(view)}<br>median norm %{{y:,.4~r}}",
            meta={"view": view, "part": "median"},
        )
    sheet.axis("y", index, **magnitudes(drawn, log=shown.norms_log))
    sheet.axis("y", index, title="L2 norm" + " (log)" * shown.norms_log)
    sheet.sites_across(where, index)


def _means(sheet: Sheet, index: int, shown: CompareViews, where: Places) -> None:
    labels, sizes = _sites(shown)
    axis = Values(shown.scale, *shown.reach, shown.linear)
    channels = [int(str(c)) for c in shown.means[0]]
    found = colours.of_channels(channels, sheet.channel_colours(shown.loud), colours.GREY)
    for channel, colour in found.items():
        sheet.entry(f"channel {channel}", line={"color": colour, "width": 1.4})
    for panel, view, table in zip((index, index + 1), shown.views, shown.means, strict=True):
        for channel in channels:
            values = table[channel].to_numpy(np.float64)
            told = [
                f"<b>{site}</b><br>channel {channel}: {v:,.4g}"
                for site, v in zip(labels, values, strict=True)
            ]
            sheet.add(
                "scatter",
                panel,
                **broken(where, axis.at(values), customdata=told, size=sizes, color=found[channel]),
                hovertemplate="%{customdata}",
                meta={"view": view, "channel": channel},
            )
        sheet.axis("y", panel, title="mean" + " (asinh)" * (shown.scale == "asinh"), **axis.axis())
        sheet.axis("y", panel, zeroline=True, zerolinecolor=colours.GREY)
        sheet.sites_across(where, panel)


def _sites(shown: CompareViews) -> tuple[list[str], list[int]]:
    """Return the labels of the sites and the sizes of their points."""
    labels = [escaped(Site.parse(site).label) for site in shown.sites]
    return labels, [8 if site in SET_OFF else 4 for site in shown.sites]
