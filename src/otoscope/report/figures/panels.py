"""The panels of curves in figures 1 and 2: each draws one table into one matplotlib axes."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from otoscope import wording
from otoscope.report.figures.curves import (
    dense_label,
    dense_levels,
    direct,
    draw_curve,
    ends_of,
    look_of,
    published_curves,
    published_marks,
)
from otoscope.report.figures.style import MUTED, PAPER, Look, label_ends, score_axis, sparsity_axis
from otoscope.report.numbers.means import curves_of, over_seeds, rows_of
from otoscope.results import DENSE, METRIC_LABELS, NULL_LABELS, NULLS, trained_codes

_DASHES = ((0, (1, 1.2)), (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)), "solid", (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)))
"""Of the grey lines of nulls, in the order of `otoscope.results.NULLS`."""


def probes_by_layer(
    axes: Axes,
    table: pd.DataFrame,
    styles: dict,
    metric: str,
    chance: float | None,
    published: pd.DataFrame | None = None,
) -> None:
    """Draw a line per encoder with its interval; layers that were split into latents get their marker."""
    points = over_seeds(table, "score", by=("encoder", "layer"), low="score_low", high="score_high")
    last = max([int(layer) for layer in points["layer"] if layer != "final"], default=-1)
    points["x"] = [last + 1.0 if layer == "final" else float(layer) for layer in points["layer"]]
    encoders = list(dict.fromkeys(points["encoder"]))
    for encoder in encoders:
        curve = points[points["encoder"] == encoder]
        own = [style["color"] for (name, _), style in styles.items() if name == encoder]
        color = own[0] if own and len(encoders) > 1 else MUTED
        if published is not None:
            theirs = published[published["encoder"] == encoder]
            published_marks(axes, theirs["layer"], theirs["score"], color)
        axes.fill_between(
            curve["x"],
            curve["low"],
            curve["high"],
            color=color,
            alpha=0.16 if len(encoders) == 1 else 0.08,
            linewidth=0,
        )
        axes.plot(curve["x"], curve["mean"], color=color, marker="o", markersize=3)
        for point in rows_of(curve):
            style = styles.get((encoder, point.layer))
            if style:
                edge = style["color"] if "markerfacecolor" in style else PAPER
                axes.plot(
                    [point.x], [point.mean], markersize=7, zorder=3, markeredgecolor=edge, **look_of(style)
                )
    _layer_ticks(axes, sorted({int(x) for x in points["x"]}), last)
    if chance is not None:
        axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1.2)
        place: Look = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        axes.text(0.99, chance, f"chance {wording.score(chance, metric)}", color=MUTED, fontsize=7.5, **place)
    axes.set(
        title="Each layer, probed", xlabel="layer (0 = before the first block)", ylabel=_score_name(metric)
    )
    score_axis(axes, metric)


def probes_on_codes(
    axes: Axes,
    table: pd.DataFrame,
    layer_probing: pd.DataFrame | None,
    styles: dict,
    metric: str,
    published: pd.DataFrame | None = None,
) -> None:
    """Draw a line per layer over sparsity, its interval as whiskers, and its dense probe beside it.

    `published`: ``encoder, layer, sparsity, score``, the sparsity of a dense layer being NaN.
    """
    by = ("encoder", "layer", "sparsity")
    curves = curves_of(over_seeds(table, "score", by=by, low="score_low", high="score_high"))
    dense = {}
    if layer_probing is not None:
        dense = layer_probing.groupby(["encoder", "layer"], sort=False)["score"].mean().to_dict()
    dense = {place: dense[place] for place in curves if place in dense}
    column = dense_levels(axes, table["sparsity"], dense, styles, apart=published is not None)
    if published is not None:
        published_curves(axes, published, "score", styles, column)
    for i, (place, curve) in enumerate(curves.items()):
        style, x = styles[place], 100 * curve["sparsity"]
        if len(curves) <= 3:  # more whiskers than that hide the curves; the table has them all
            aside = x + 0.5 * (i - (len(curves) - 1) / 2)
            axes.vlines(aside, curve["low"], curve["high"], color=style["color"], linewidth=0.8, alpha=0.5)
        axes.plot(x, curve["mean"], **look_of(style))
    sparsity_axis(axes, table["sparsity"], dense_at=column)
    axes.set(title="Sparse codes, probed", ylabel=_score_name(metric))
    score_axis(axes, metric)
    if direct(styles):
        label_ends(axes, ends_of(curves, styles) + ([] if column else dense_label(list(dense.values()))))


def reconstruction_error(
    axes: Axes, table: pd.DataFrame, styles: dict, measure: str = "fvu", published: pd.DataFrame | None = None
) -> None:
    """Draw FVU or MSE over sparsity on a log axis, a line per layer with its range over seeds.

    `published`: ``encoder, layer, sparsity, mse``; drawn only beside an MSE.
    """
    points = over_seeds(table, measure, by=("encoder", "layer", "sparsity"))
    curves = curves_of(points)
    drawn = points["mean"]
    if published is not None and measure == "mse":
        published_curves(axes, published, "mse", styles, None)
        drawn = pd.concat([drawn, published["mse"]])
    for place, curve in curves.items():
        draw_curve(axes, curve, styles[place])
    axes.set_yscale("log")
    low, high = drawn[drawn > 0].min(), drawn.max()
    axes.set_ylim(min(low / 1.4, high / 3), high * 1.4)
    bottom, top = axes.get_ylim()
    nice = [digit * 10.0**power for power in range(-8, 3) for digit in (1, 2, 5)]
    ticks = [tick for tick in nice if bottom <= tick <= top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    sparsity_axis(axes, points["sparsity"])
    name = {"fvu": "variance lost, FVU (log scale)", "mse": "squared error, MSE (log scale)"}[measure]
    axes.set(title="What the codes lose", ylabel=name)
    if direct(styles):
        label_ends(axes, ends_of(curves, styles))


def codes_dense_nulls(
    axes: Axes, rows: pd.DataFrame, value: str, styles: dict, published: pd.DataFrame | None = None
) -> None:
    """Draw `value` over sparsity, a line per layer; dense beside it; nulls in grey, each a mean over the layers.

    `published`: ``encoder, layer, sparsity`` and `value`, the sparsity of a dense layer being NaN.
    """
    codes = over_seeds(trained_codes(rows), value, by=("encoder", "layer", "sparsity"))
    curves = curves_of(codes)
    nulls = {null: rows[rows["representation"] == null] for null in NULLS}
    for null, part in nulls.items():
        _null_line(axes, part, value, null)
    dense = rows[rows["representation"] == DENSE].groupby(["encoder", "layer"], sort=False)[value].mean()
    column = dense_levels(axes, codes["sparsity"], dense.to_dict(), styles, apart=published is not None)
    if published is not None:
        published_curves(axes, published, value, styles, column)
    for place, curve in curves.items():
        draw_curve(axes, curve, styles[place])
    sparsity_axis(axes, codes["sparsity"], dense_at=column)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.25), min(high, 1.04))
    score_axis(axes, "r2")
    ends = ends_of(curves, styles) if direct(styles) else []
    if direct(styles) and column is None:
        ends += dense_label(list(dense))
    for null, part in nulls.items():
        if part[value].notna().any():
            ends.append((float(part[value].mean()), NULL_LABELS[null], MUTED))
        elif len(part):  # no factor was predicted at all, so there is nothing to average
            ends.append((axes.get_ylim()[0], f"{NULL_LABELS[null]}: none", MUTED))
    label_ends(axes, ends)


def _null_line(axes: Axes, rows: pd.DataFrame, value: str, null: str) -> None:
    """A null's mean over layers and seeds: a curve if it was measured at several sparsities, else a level."""
    look: Look = {"color": MUTED, "linewidth": 0.9, "linestyle": _DASHES[NULLS.index(null) % len(_DASHES)]}
    curve = rows.groupby("sparsity")[value].mean().dropna()
    if len(curve) > 1:
        axes.plot(100 * curve.index.to_numpy(dtype=float), curve.to_numpy(), **look)
    elif rows[value].notna().any():
        axes.axhline(float(rows[value].mean()), **look)


def _layer_ticks(axes: Axes, ticks: list[int], last: int) -> None:
    step = -(-len(ticks) // 9)
    shown = [tick for tick in ticks if tick % step == 0 or tick > last]
    axes.set_xticks(shown, ["final" if tick > last else str(tick) for tick in shown])


def _score_name(metric: str) -> str:
    name = f"probe {METRIC_LABELS.get(metric, metric)}"
    return f"{name} (%)" if metric == "accuracy" else name
