"""What is said of outliers, in a sentence for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiddenscope.analysis.outlier_channels import COUNTED_ONLY, by_the_rule
from hiddenscope.analysis.outlying import NO_EXTREMES
from hiddenscope.sites import Site
from hiddenscope.words import counted, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from hiddenscope.analysis.outlying import Outliers


def massive_words(found: Outliers, most: int = 3) -> str:
    """Say in a sentence which massive activations there are."""
    limits = found.thresholds
    rule = (
        f"over {limits['massive']:g} and {limits['massive_ratio']:,g} × the median magnitude of "
        "the site"
    )
    table = found._massive_channels
    if table is None:
        return NO_EXTREMES
    if table.empty:
        return f"no massive activations ({rule})"
    named = [_massive_channel(int(str(c)), row) for c, row in table.iloc[:most].iterrows()]
    more = f"; and {counted(len(table) - most, 'more channel')}" if len(table) > most else ""
    return f"massive activations ({rule}): {'; '.join(named)}{more}"


def _massive_channel(channel: int, row: pd.Series[str]) -> str:
    blocks = row["blocks"]
    where = f"block{'s' * (not blocks.isdigit())} {blocks}" if blocks else Site(row["site"]).label
    count = int(row["values"])
    many = f"{'at least ' if row['cut'] else ''}{counted(count, 'value')}"
    largest = f"{float(row['value']):,.0f}".replace("-", "−")
    token = f" at {row['piece']!r}" if row["piece"] else ""
    return f"channel {channel} in {where}, {many} at a site, up to {largest}{token}"


def channel_words(found: Outliers, most: int = 8) -> str:
    """Say in a sentence which outlier channels there are, by which rule.

    Where points were counted that the rule does not speak of, a part of its own says so.
    """
    if found.notes:
        return found.notes[-1]
    counted = {point: rule for point, rule in found.points.items() if point in COUNTED_ONLY}
    judged = {point: rule for point, rule in found.points.items() if point not in counted}
    parts = []
    if judged:
        total = len(by_the_rule(found.channels))
        title = f"{total or 'no'} outlier channel{'s' * (total != 1)}"
        parts.append(_named(found, judged, title, most))
    if counted:
        total = len(found.channels) - len(by_the_rule(found.channels))
        title = (
            f"{total or 'no'} channel{'s' * (total != 1)} as far out where the paper's rule does "
            "not apply"
        )
        parts.append(_named(found, counted, title, most))
    return "; ".join(parts)


def _named(found: Outliers, points: Mapping[str, str], title: str, most: int) -> str:
    """Name the channels that were found at some points, or the limits that none is over."""
    limits = found.thresholds
    rules = {
        "over_rms": f"|a| ≥ {limits['outlier_rms']:g} × the root mean square of its hidden state",
        "over": f"|a| ≥ {limits['outlier']:g}",
    }
    often = (
        f"for {limits['outlier_token_share']:.0%} of tokens at "
        f"{limits['outlier_site_share']:.0%} of blocks"
    )
    parts = []
    for point, part in found.channels.groupby("point", sort=False):
        if point in points:
            where = f" at {point}" if point not in {"", "resid_post"} else ""
            named = f"{numbered(part.index.tolist(), most)}{where}"
            parts.append(f"{named} ({rules[points[str(point)]]} {often})")
    if parts:
        return f"{title}: {'; '.join(parts)}"
    of = " or ".join(rules[rule] for rule in dict.fromkeys(points.values()))
    return f"{title} ({of} {often})"


def outlier_words(found: Outliers) -> list[str]:
    """Say in two sentences which outliers there are, of either kind."""
    return [massive_words(found), channel_words(found)]
