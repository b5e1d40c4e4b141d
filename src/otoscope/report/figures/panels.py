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
from otoscope.report.figures.style import (
    MUTED,
    NULL_BAND,
    NULL_LOOK,
    NULL_MARKERS,
    PAPER,
    Look,
    label_ends,
    log_ticks,
    score_axis,
    sparsity_axis,
)
from otoscope.report.numbers.means import curves_of, over_seeds, rows_of
from otoscope.results import DENSE, METRIC_LABELS, NULLS, at_nearest_sparsity, trained_codes

PCA_DASH = (0, (1, 1.3))
"""Of the line of principal components, in the colour of its layer."""
GROUP_DOT: Look = {"linestyle": "none", "marker": ".", "markersize": 4, "alpha": 0.6}
"""Of a probe's score in one test group."""
PCA_MARK: Look = {"marker": "_", "markersize": 16, "markeredgewidth": 1.6}
"""Of principal components at a single sparsity."""


def probes_by_layer(
    axes: Axes,
    table: pd.DataFrame,
    styles: dict,
    metric: str,
    chance: float | None,
    published: pd.DataFrame | None = None,
    by_group: pd.DataFrame | None = None,
) -> None:
    """Draw a line per encoder with its interval; layers that were split into latents get their marker.

    `by_group`: ``encoder, layer, score``, a row for each test group; drawn as small dots.
    """
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
        if by_group is not None:
            own_groups = by_group[by_group["encoder"] == encoder]
            at = own_groups["layer"].map(dict(zip(curve["layer"], curve["x"])))
            axes.plot(at, own_groups["score"], color=color, **GROUP_DOT)
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
        own = over_seeds(
            table[_here(table, place)], "score", by=by
        )  # without an interval: the range over seeds
        axes.fill_between(x, own["low"], own["high"], color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(x, curve["mean"], **look_of(style))
    sparsity_axis(axes, table["sparsity"], dense_at=column)
    axes.set(title="Sparse codes, probed", ylabel=_score_name(metric))
    score_axis(axes, metric)
    if direct(styles):
        label_ends(axes, ends_of(curves, styles) + ([] if column else dense_label(axes, dense, styles)))


def reconstruction_error(
    axes: Axes,
    table: pd.DataFrame,
    styles: dict,
    measure: str = "fvu",
    published: pd.DataFrame | None = None,
    pca: pd.DataFrame | None = None,
) -> None:
    """Draw FVU or MSE over sparsity on a log axis, a line per layer with its range over seeds.

    `pca`: the same of PCA with as many components as latents are active; dotted.
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
    if pca is not None:
        beside = over_seeds(pca, measure, by=("encoder", "layer", "sparsity"))
        for place, curve in curves_of(beside).items():
            if place in styles:
                look: Look = {"color": styles[place]["color"], "linestyle": PCA_DASH, "linewidth": 1.2}
                if len(curve) == 1:  # a line of one point is none
                    look |= PCA_MARK
                axes.plot(100 * curve["sparsity"], curve["mean"], **look)
        drawn = pd.concat([drawn, beside["mean"]])
    axes.set_yscale("log")
    low, high = drawn[drawn > 0].min(), drawn.max()
    axes.set_ylim(min(low / 1.4, high / 3), high * 1.4)
    log_ticks(axes)
    sparsity_axis(axes, points["sparsity"])
    name = {"fvu": "variance lost, FVU (log scale)", "mse": "squared error, MSE (log scale)"}[measure]
    axes.set(title="What the codes lose", ylabel=name)
    if direct(styles):
        label_ends(axes, ends_of(curves, styles))


def codes_dense_nulls(
    axes: Axes,
    rows: pd.DataFrame,
    value: str,
    styles: dict,
    published: pd.DataFrame | None = None,
    label: float | None = None,
) -> None:
    """Draw `value` over sparsity, a line per layer; dense beside it; nulls as grey marks right of the curves.

    Each null is a mean over layers and seeds, at its sparsity nearest to 95 %; a pale band spans all that have a
    value. `published`: ``encoder, layer, sparsity`` and `value`, the sparsity of a dense layer being NaN. `label`: what
    the label alone reaches, if it has no rows of its own.
    """
    codes = over_seeds(trained_codes(rows), value, by=("encoder", "layer", "sparsity"))
    curves = curves_of(codes)
    levels = null_levels(rows, value, label)
    sparsities = trained_codes(rows)["sparsity"]
    nulls_at = _nulls(axes, sparsities, levels) if levels else None
    dense = rows[rows["representation"] == DENSE].groupby(["encoder", "layer"], sort=False)[value].mean()
    levels_of = dense.dropna().to_dict()
    column = dense_levels(axes, sparsities, levels_of, styles, apart=published is not None)
    if published is not None:
        published_curves(axes, published, value, styles, column)
    for place, curve in curves.items():
        draw_curve(axes, curve, styles[place])
    sparsity_axis(axes, sparsities, dense_at=column, nulls_at=nulls_at)
    if direct(styles):
        ends = ends_of(curves, styles) + ([] if column is not None else dense_label(axes, levels_of, styles))
        label_ends(axes, ends)


def null_levels(rows: pd.DataFrame, value: str, label: float | None = None) -> dict[str, float]:
    """Return null -> its mean over layers and seeds at its sparsity nearest to 95 %; those without a value left out."""
    levels = {}
    for null in NULLS:
        part = rows[rows["representation"] == null]
        if part["sparsity"].notna().any():
            part = at_nearest_sparsity(part)
        level = float(part[value].mean()) if len(part) else float("nan")
        if null == "label" and level != level and label is not None:
            level = label
        if level == level:
            levels[null] = level
    return levels


def _nulls(axes: Axes, sparsities: pd.Series, levels: dict[str, float]) -> float:
    """Draw nulls in a strip right of the curves, and a band over all the panel; return where the strip is on x."""
    known = sorted({100 * s for s in sparsities if s == s})
    step = max((known[-1] - known[0]) / 6, 2.0)
    middle = known[-1] + 1.6 * step
    band = [level for null, level in levels.items() if null not in ("shuffled", "label")]
    if len(band) > 1:
        axes.axhspan(min(band), max(band), color=NULL_BAND, linewidth=0, zorder=0)
    for i, (null, level) in enumerate(levels.items()):
        x = middle + 0.28 * step * (i - (len(levels) - 1) / 2)  # side by side, so that equal ones are seen
        axes.plot([x], [level], **NULL_LOOK, marker=NULL_MARKERS[null])
    return middle


def _here(table: pd.DataFrame, place: tuple[str, int | str]) -> pd.Series:
    return (table["encoder"] == place[0]) & (table["layer"] == place[1])


def _layer_ticks(axes: Axes, ticks: list[int], last: int) -> None:
    step = -(-len(ticks) // 9)
    shown = [tick for tick in ticks if tick % step == 0 or tick > last]
    axes.set_xticks(shown, ["final" if tick > last else str(tick) for tick in shown])


def _score_name(metric: str) -> str:
    name = f"probe {METRIC_LABELS.get(metric, metric)}"
    return f"{name} (%)" if metric == "accuracy" else name
