"""The panels of factors: a point for each, and how many belong to each family."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from otoscope import wording
from otoscope.report.figures.style import (
    FAMILY_LOOKS,
    INK,
    MUTED,
    OTHER,
    OTHER_COLOR,
    PAPER,
    Look,
    label_points,
    readable_on,
    round_ticks,
)
from otoscope.report.numbers.factors import spearman
from otoscope.results import DENSE


def entropy_scatter(axes: Axes, points: pd.DataFrame, beside: dict[str, pd.DataFrame]) -> None:
    """Draw a factor per point: completeness over entropy, in its family's colour; see `entropy_points`.

    Of `beside`, points of the dense layer and of nulls by name, only the correlations are written.
    """
    for family, group in points.groupby("family", sort=False):
        color, marker = FAMILY_LOOKS.get(str(family), (OTHER_COLOR, "."))
        for rows, face, edge, width in (
            (group[~group["hollow"]], color, PAPER, 0.3),
            (group[group["hollow"]], "none", color, 0.9),
        ):
            look: Look = {
                "s": 30,
                "marker": marker,
                "facecolors": face,
                "edgecolors": edge,
                "linewidths": width,
            }
            axes.scatter(rows["entropy"], rows["completeness"], zorder=3, **look)
    rho = _rho(points[points["counted"]])
    text = f"Spearman ρ = {rho}"
    if (points["hollow"] & points["counted"]).any():
        text += f"; of the filled {_rho(points[~points['hollow']])}"
    place: Look = {"transform": axes.transAxes, "ha": "right", "va": "top"}
    axes.text(0.98, 0.98, text, fontsize=7.5, color=INK, **place)
    rhos = {name: _spearman(found[found["counted"]]) for name, found in beside.items() if len(found)}
    others = [f"dense {wording.number(rhos.pop(DENSE))}"] if DENSE in rhos else []
    nulls = [rho for rho in rhos.values() if rho == rho]
    if nulls:
        ends = [wording.number(end) for end in (min(nulls), max(nulls))]
        others.append(f"nulls {ends[0]}" + (f" to {ends[1]}" if ends[0] != ends[1] else ""))
    if others:
        axes.text(0.98, 0.91, ", ".join(others), fontsize=6.2, color=MUTED, **place)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(round_ticks())
    spec = axes.get_subplotspec()
    if spec is None or spec.is_first_col():
        axes.set_ylabel("completeness")


def name_points(axes: Axes, points: pd.DataFrame) -> None:
    """Write the factors' names beside their points, where there is room."""
    label_points(axes, points["entropy"], points["completeness"], points["factor"])


def family_bars(axes: Axes, counts: pd.DataFrame, published: pd.DataFrame | None = None) -> None:
    """Draw a bar per row of `counts`: how many factors are of each family; published counts as thin pale bars."""
    names = list(counts["bar"])
    colors = {family: color for family, (color, _) in FAMILY_LOOKS.items()} | {OTHER: OTHER_COLOR}
    height, shift = (0.82, 0.0) if published is None else (0.58, -0.14)
    left = pd.Series(0.0, index=counts.index)
    for family, color in colors.items():
        look: Look = {"color": color, "edgecolor": PAPER, "linewidth": 0.8}
        axes.barh([i + shift for i in range(len(names))], counts[family], left=left, height=height, **look)
        for i, (start, n) in enumerate(zip(left, counts[family])):
            if n >= 0.5:
                text: Look = {"ha": "center", "va": "center", "color": readable_on(color), "fontsize": 7}
                axes.text(start + n / 2, i + shift, f"{round(n, 1):g}", **text)
        left = left + counts[family]
    for i, total in enumerate(left):
        if total == 0:
            axes.text(0.1, i + shift, "none is predicted", va="center", color=MUTED, fontsize=7)
    if published is not None:
        _published_bars(axes, counts["sparsity"], published, colors)
    axes.set_yticks([i + shift for i in range(len(names))], names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, max(10.0, left.max()))
    axes.set_xticks([0, 2, 4, 6, 8, 10])


def _published_bars(
    axes: Axes, sparsities: pd.Series, published: pd.DataFrame, colors: dict[str, str]
) -> None:
    """Draw a thin pale bar under each of ours that has a published one."""
    for i, sparsity in enumerate(sparsities):
        left = 0.0
        for row in published[published["sparsity"] == sparsity].to_dict("records"):
            for family, color in colors.items():
                n = float(row.get(family, 0))
                axes.barh(
                    [i + 0.3],
                    [n],
                    left=left,
                    height=0.2,
                    color=color,
                    alpha=0.5,
                    edgecolor=PAPER,
                    linewidth=0.8,
                )
                left += n


def _rho(points: pd.DataFrame) -> str:
    return wording.number(_spearman(points))


def _spearman(points: pd.DataFrame) -> float:
    return spearman(points["entropy"], points["completeness"])
