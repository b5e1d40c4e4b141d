"""What the panels of curves share: a curve, its dense level, published marks, and where names go."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from otoscope.report.figures.style import MUTED, Look

DENSE_DASH = (0, (4, 2))
PUBLISHED: Look = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 9,
    "markeredgewidth": 2.4,
    "alpha": 0.42,
    "zorder": 1.6,
}
"""A published value: a short pale bar, behind what was measured."""


def direct(styles: dict) -> bool:
    """Whether the curves' names are short and few enough to stand at the lines' ends."""
    return len(styles) <= 5 and all(len(style["label"]) <= 9 for style in styles.values())


def draw_curve(axes: Axes, curve: pd.DataFrame, style: dict) -> None:
    x = 100 * curve["sparsity"]
    axes.fill_between(x, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, curve["mean"], **look_of(style))


def look_of(style: dict) -> Look:
    return {name: style[name] for name in ("color", "marker", "markerfacecolor") if name in style}


def dense_levels(
    axes: Axes, sparsities: pd.Series, levels: dict, styles: dict, *, apart: bool
) -> float | None:
    """Draw the dense levels: as dashed lines, and, where these are many or need room, as points of their own.

    Returns where on x the points stand, None without them.
    """
    apart = apart or len(levels) > 3
    known = sorted({100 * s for s in sparsities if s == s})
    step = max((known[-1] - known[0]) / 6, 2.0) if known else 0.0
    column = known[0] - 1.8 * step if apart and levels and known else None
    for place, level in levels.items():
        look = look_of(styles[place])
        axes.axhline(
            level,
            color=look["color"],
            linestyle=DENSE_DASH,
            linewidth=0.7 if apart else 1.1,
            alpha=0.45 if apart else 1,
        )
        if column is not None:
            axes.plot([column], [level], linestyle="none", **look)
    return column


def published_curves(
    axes: Axes, published: pd.DataFrame, value: str, styles: dict, dense_at: float | None
) -> None:
    """Mark published values of the curves that are drawn; those of a dense layer at `dense_at`."""
    for place, style in styles.items():
        rows = published[(published["encoder"] == place[0]) & (published["layer"] == place[1])]
        codes, dense = rows[rows["sparsity"].notna()], rows[rows["sparsity"].isna()]
        published_marks(axes, 100 * codes["sparsity"], codes[value], style["color"])
        if dense_at is not None:
            published_marks(axes, [dense_at] * len(dense), dense[value], style["color"])


def published_marks(axes: Axes, x: Sequence[float] | pd.Series, y: pd.Series, color: str) -> None:
    axes.plot(list(x), list(y), color=color, **PUBLISHED)


def ends_of(curves: dict, styles: dict) -> list[tuple[float, str, str]]:
    return [
        (float(curve["mean"].iloc[-1]), styles[place]["label"], styles[place]["color"])
        for place, curve in curves.items()
    ]


def dense_label(axes: Axes, levels: dict, styles: dict) -> list[tuple[float, str, str]]:
    """Name the dense lines: once where they lie together, else each in its own colour."""
    if not levels:
        return []
    low, high = axes.get_ylim()
    values = list(levels.values())
    scaled = axes.transData.transform([(0, value) for value in (min(values), max(values), low, high)])[:, 1]
    if scaled[1] - scaled[0] < 0.1 * (scaled[3] - scaled[2]):
        return [(sum(values) / len(values), "dense", MUTED)]
    return [(level, "dense", styles[place]["color"]) for place, level in levels.items()]
