"""The panels that figures 1-4 are made of: each draws one table into one matplotlib axes."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from otoscope.report import wording
from otoscope.report.drawing import (
    FAMILIES,
    INK,
    MUTED,
    OTHER,
    OTHER_COLOR,
    PAPER,
    Look,
    label_ends,
    label_points,
    readable_on,
    round_ticks,
    score_axis,
    sparsity_axis,
)
from otoscope.report.headlines import spearman
from otoscope.report.runs import NULLS, codes_of, curves_of, over_seeds, rows_of

DENSE_DASH = (0, (4, 2))
_NULL_DASHES = {
    "untrained": (0, (1, 1.2)),
    "random": (0, (4, 1.5)),
    "pca": (0, (6, 1.5, 1, 1.5)),
    "shuffled": "solid",
}


def probes_by_layer(axes: Axes, table: pd.DataFrame, styles: dict, metric: str, chance: float | None) -> None:
    """Draw a line per encoder with its interval; layers that were split into latents get their marker."""
    points = over_seeds(table, "accuracy", by=("encoder", "layer"), low="accuracy_low", high="accuracy_high")
    last = max([int(layer) for layer in points["layer"] if layer != "final"], default=-1)
    points["x"] = [last + 1.0 if layer == "final" else float(layer) for layer in points["layer"]]
    encoders = list(dict.fromkeys(points["encoder"]))
    for encoder in encoders:
        curve = points[points["encoder"] == encoder]
        own = [style["color"] for (name, _), style in styles.items() if name == encoder]
        color = own[0] if own and len(encoders) > 1 else MUTED
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
                look: Look = {"marker": style["marker"], "color": style["color"], "markeredgecolor": PAPER}
                axes.plot([point.x], [point.mean], markersize=7, zorder=3, **look)
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
    axes: Axes, table: pd.DataFrame, layer_probing: pd.DataFrame | None, styles: dict, metric: str
) -> None:
    """Draw a line per layer over sparsity, its interval as whiskers, and its dense probe as a dashed line."""
    by = ("encoder", "layer", "sparsity")
    curves = curves_of(over_seeds(table, "accuracy", by=by, low="accuracy_low", high="accuracy_high"))
    dense = {}
    if layer_probing is not None:
        dense = layer_probing.groupby(["encoder", "layer"], sort=False)["accuracy"].mean().to_dict()
    dense = {place: dense[place] for place in curves if place in dense}
    for i, (place, curve) in enumerate(curves.items()):
        style, x = styles[place], 100 * curve["sparsity"]
        if len(curves) <= 3:  # more whiskers than that hide the curves; the table has them all
            aside = x + 0.5 * (i - (len(curves) - 1) / 2)
            axes.vlines(aside, curve["low"], curve["high"], color=style["color"], linewidth=0.8, alpha=0.5)
        axes.plot(x, curve["mean"], color=style["color"], marker=style["marker"])
        if place in dense:
            axes.axhline(dense[place], color=style["color"], linestyle=DENSE_DASH, linewidth=1.1)
    sparsity_axis(axes, table["sparsity"])
    axes.set(title="Sparse codes, probed", ylabel=_score_name(metric))
    score_axis(axes, metric)
    if direct(styles):
        label_ends(axes, _ends(curves, styles) + _dense_label(list(dense.values())))


def reconstruction_error(axes: Axes, table: pd.DataFrame, styles: dict) -> None:
    """Draw FVU over sparsity on a log axis, a line per layer with its range over seeds."""
    points = over_seeds(table, "fvu", by=("encoder", "layer", "sparsity"))
    curves = curves_of(points)
    for place, curve in curves.items():
        _curve(axes, curve, styles[place])
    axes.set_yscale("log")
    low, high = points["mean"].min(), points["mean"].max()
    axes.set_ylim(min(low / 1.4, high / 3), high * 1.4)
    bottom, top = axes.get_ylim()
    nice = [digit * 10.0**power for power in range(-8, 3) for digit in (1, 2, 5)]
    ticks = [tick for tick in nice if bottom <= tick <= top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    sparsity_axis(axes, points["sparsity"])
    axes.set(title="What the codes lose", ylabel="variance lost, FVU (log scale)")
    if direct(styles):
        label_ends(axes, _ends(curves, styles))


def codes_dense_nulls(axes: Axes, rows: pd.DataFrame, value: str, styles: dict) -> None:
    """Draw `value` over sparsity, a line per layer; dense dashed; nulls in grey, each a mean over the layers."""
    codes = over_seeds(codes_of(rows), value, by=("encoder", "layer", "sparsity"))
    curves = curves_of(codes)
    nulls = {null: rows[rows["representation"] == null] for null in NULLS}
    for null, part in nulls.items():
        _null_line(axes, part, value, null)
    dense = rows[rows["representation"] == "dense"].groupby(["encoder", "layer"], sort=False)[value].mean()
    for place, level in dense.to_dict().items():
        axes.axhline(level, color=styles[place]["color"], linestyle=DENSE_DASH, linewidth=1.1)
    for place, curve in curves.items():
        _curve(axes, curve, styles[place])
    sparsity_axis(axes, codes["sparsity"])
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.25), min(high, 1.04))
    score_axis(axes, "r2")
    ends = _ends(curves, styles) + _dense_label(list(dense)) if direct(styles) else []
    for null, part in nulls.items():
        if part[value].notna().any():
            ends.append((float(part[value].mean()), wording.NULLS[null], MUTED))
        elif len(part):  # no factor was predicted at all, so there is nothing to average
            ends.append((axes.get_ylim()[0], f"{wording.NULLS[null]}: none", MUTED))
    label_ends(axes, ends)


def entropy_scatter(axes: Axes, points: pd.DataFrame, min_r2: float) -> None:
    """Draw a factor per point: completeness over entropy, in its family's colour; hollow below `min_r2`."""
    for family, group in points.groupby("family", sort=False):
        color, marker = FAMILIES.get(str(family), (OTHER_COLOR, "."))
        predicted = group["r2"] >= min_r2
        for rows, face, edge, width in (
            (group[predicted], color, PAPER, 0.3),
            (group[~predicted], "none", color, 0.9),
        ):
            look: Look = {
                "s": 30,
                "marker": marker,
                "facecolors": face,
                "edgecolors": edge,
                "linewidths": width,
            }
            axes.scatter(rows["entropy"], rows["completeness"], zorder=3, **look)
    counted = points[points["r2"] >= min_r2]
    rho = spearman(counted["entropy"], counted["completeness"])
    place: Look = {"transform": axes.transAxes, "ha": "right", "va": "top"}
    axes.text(0.98, 0.98, f"Spearman ρ = {wording.number(rho)}", fontsize=7.5, color=INK, **place)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(round_ticks())
    spec = axes.get_subplotspec()
    if spec is None or spec.is_first_col():
        axes.set_ylabel("completeness")


def name_points(axes: Axes, points: pd.DataFrame) -> None:
    """Write the factors' names beside their points, where there is room."""
    label_points(axes, points["entropy"], points["completeness"], points["factor"])


def family_bars(axes: Axes, counts: pd.DataFrame) -> None:
    """Draw a bar per sparsity, dense first: how many factors are of each family."""
    names = ["dense" if s != s else wording.sparsity(s) for s in counts["sparsity"]]
    left = pd.Series(0.0, index=counts.index)
    colors = {family: color for family, (color, _) in FAMILIES.items()} | {OTHER: OTHER_COLOR}
    for family, color in colors.items():
        axes.barh(
            range(len(names)),
            counts[family],
            left=left,
            color=color,
            edgecolor=PAPER,
            linewidth=0.8,
            height=0.82,
        )
        for i, (start, n) in enumerate(zip(left, counts[family])):
            if n >= 0.5:
                look: Look = {"ha": "center", "va": "center", "color": readable_on(color), "fontsize": 7}
                axes.text(start + n / 2, i, f"{round(n, 1):g}", **look)
        left = left + counts[family]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, max(10.0, left.max()))
    axes.set_xticks([0, 2, 4, 6, 8, 10])


def direct(styles: dict) -> bool:
    """Whether the curves' names are short and few enough to stand at the lines' ends."""
    return len(styles) <= 5 and all(len(style["label"]) <= 9 for style in styles.values())


def _curve(axes: Axes, curve: pd.DataFrame, style: dict) -> None:
    x = 100 * curve["sparsity"]
    axes.fill_between(x, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, curve["mean"], color=style["color"], marker=style["marker"])


def _null_line(axes: Axes, rows: pd.DataFrame, value: str, null: str) -> None:
    """A null's mean over layers and seeds: a curve if it was measured at several sparsities, else a level."""
    look: Look = {"color": MUTED, "linewidth": 0.9, "linestyle": _NULL_DASHES[null]}
    curve = rows.groupby("sparsity")[value].mean().dropna()
    if len(curve) > 1:
        axes.plot(100 * curve.index.to_numpy(dtype=float), curve.to_numpy(), **look)
    elif rows[value].notna().any():
        axes.axhline(float(rows[value].mean()), **look)


def _ends(curves: dict, styles: dict) -> list[tuple[float, str, str]]:
    return [
        (float(curve["mean"].iloc[-1]), styles[place]["label"], styles[place]["color"])
        for place, curve in curves.items()
    ]


def _dense_label(levels: list[float]) -> list[tuple[float, str, str]]:
    return [(sum(levels) / len(levels), "dense", MUTED)] if levels else []


def _layer_ticks(axes: Axes, ticks: list[int], last: int) -> None:
    step = -(-len(ticks) // 9)
    shown = [tick for tick in ticks if tick % step == 0 or tick > last]
    axes.set_xticks(shown, ["final" if tick > last else str(tick) for tick in shown])


def _score_name(metric: str) -> str:
    name = wording.METRICS.get(metric, metric)
    return f"{name} (%)" if metric == "accuracy" else name
