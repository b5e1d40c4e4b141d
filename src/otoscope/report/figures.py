"""Figures 1-4 in the form of Mariotte et al. (2025): tables in, matplotlib figures out.

Each function takes result tables (columns: `otoscope.report.runs.COLUMNS`) and draws one figure. ``stacked=True`` puts
the panels one under another, for a narrow screen.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from otoscope.report import wording
from otoscope.report.drawing import (
    FAMILIES,
    INK,
    MUTED,
    PAPER,
    curve_styles,
    label_ends,
    lighter,
    new_figure,
    score_axis,
    sparsity_axis,
    styled,
)
from otoscope.report.runs import NULLS, codes_of, layer_order, nearest_sparsity, over_seeds

NULL_NAMES = {
    "untrained": ("untrained SAE", (0, (1, 1.2))),
    "random": ("random projection", (0, (4, 1.5))),
    "pca": ("PCA", (0, (6, 1.5, 1, 1.5))),
    "shuffled": ("shuffled factors", "solid"),
}
"""How each null is called and dashed."""

OTHER, OTHER_COLOR = "other", "#b5b5b5"
"""Factors that are of none of the paper's families."""


@styled
def figure1(
    layer_probing: pd.DataFrame | None,
    sae_probing: pd.DataFrame | None,
    reconstruction: pd.DataFrame | None,
    *,
    metric: str = "accuracy",
    chance: float | None = None,
    stacked: bool = False,
) -> Figure:
    """Probes by layer; probes on codes by sparsity; reconstruction error by sparsity. A missing table has no panel."""
    chosen = [table for table in (sae_probing, reconstruction) if table is not None]
    styles = curve_styles(pd.concat(chosen)) if chosen else {}
    tables = [layer_probing, sae_probing, reconstruction]
    figure, panels = new_figure(sum(table is not None for table in tables), stacked=stacked)
    left = iter(panels)
    if layer_probing is not None:
        _probes_by_layer(next(left), layer_probing, styles, metric, chance)
    if sae_probing is not None:
        _probes_on_codes(next(left), sae_probing, layer_probing, styles, metric)
    if reconstruction is not None:
        _reconstruction(next(left), reconstruction, styles)
    _curve_legend(figure, styles, stacked)
    return figure


@styled
def figure2(
    summary: pd.DataFrame, *, selection: str = "top10_r2", r2_label: str = "mean R²", stacked: bool = False
) -> Figure:
    """Mean R2 and mean completeness of one selection of factors, by sparsity, beside dense and the nulls."""
    rows = summary[summary["selection"] == selection]
    styles = curve_styles(rows)
    figure, (left, right) = new_figure(2, stacked=stacked, height_in=2.9)
    _codes_dense_nulls(left, rows, "r2_mean", styles)
    left.set(title="How well factors are predicted", ylabel=r2_label)
    _codes_dense_nulls(right, rows, "completeness_mean", styles)
    right.set(title="How few dimensions they need", ylabel="mean completeness")
    _curve_legend(figure, styles, stacked)
    return figure


@styled
def figure3(
    disentanglement: pd.DataFrame,
    factor_entropy: pd.DataFrame,
    *,
    sparsity: float = 0.95,
    min_r2: float = 0.0,
    stacked: bool = False,
) -> Figure:
    """Completeness of each factor in the codes against its entropy, at the sparsity nearest to `sparsity`.

    Factors that the codes do not predict (R2 below `min_r2`) are drawn hollow.
    """
    points = entropy_points(disentanglement, factor_entropy, sparsity=sparsity)
    places = points[["encoder", "layer"]].drop_duplicates().to_numpy().tolist()
    n_encoders = points["encoder"].nunique()
    figure, panels = new_figure(
        len(places), stacked=stacked, per_row=3 if n_encoders == 1 else 2, height_in=2.7, sharey=True
    )
    for axes, (encoder, layer) in zip(panels, places):
        here = points[(points["encoder"] == encoder) & (points["layer"] == layer)]
        _entropy_scatter(axes, here, min_r2)
        axes.set_title(_panel_name(encoder, layer, n_encoders))
        axes.set_xlabel("entropy of the factor (bits)")
    low, high = points["completeness"].min(), points["completeness"].max()
    pad = 0.08 * max(high - low, 0.2)
    panels[0].set_ylim(low - pad, high + 2.5 * pad)  # shared; headroom for the correlation
    for axes in panels:
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("completeness")
    _family_legend(figure, list(points["family"]), markers=True)
    return figure


@styled
def figure4(factor_families: pd.DataFrame, *, stacked: bool = False) -> Figure:
    """Of the best-predicted factors, how many belong to each family, per layer and sparsity."""
    kept = factor_families[~factor_families["representation"].isin(NULLS)].copy()
    known = {*FAMILIES, "encoder", "layer", "representation", "sparsity", "seed"}
    kept[OTHER] = kept[[name for name in kept if name not in known]].sum(axis=1)
    by = ["encoder", "layer", "sparsity"]
    counts = kept.groupby(by, dropna=False, sort=False)[[*FAMILIES, OTHER]].mean().reset_index()
    counts = counts.sort_values(by, key=_sort_key, na_position="first", kind="stable")
    places = counts[["encoder", "layer"]].drop_duplicates().to_numpy().tolist()
    n_bars = counts.groupby(["encoder", "layer"]).size().max()
    figure, panels = new_figure(len(places), stacked=stacked, per_row=2, height_in=0.9 + 0.24 * n_bars)
    for axes, (encoder, layer) in zip(panels, places):
        _family_bars(axes, counts[(counts["encoder"] == encoder) & (counts["layer"] == layer)])
        axes.set_title(_panel_name(encoder, layer, counts["encoder"].nunique()))
    for axes in panels[-1:] if stacked else panels[-2:]:
        axes.set_xlabel("of the ten best-predicted factors")
    _family_legend(figure, [name for name in (*FAMILIES, OTHER) if counts[name].sum() > 0], markers=False)
    return figure


def entropy_points(
    disentanglement: pd.DataFrame, factor_entropy: pd.DataFrame, *, sparsity: float
) -> pd.DataFrame:
    """Return ``encoder, layer, factor, completeness, r2, family, entropy`` of the codes nearest to `sparsity`.

    Means over seeds, of the Lasso's importances; R2 is held out where it was computed so. Factors without a
    completeness or an entropy are left out.
    """
    codes = codes_of(disentanglement)
    codes = codes[(codes["importance"] == "lasso") & (codes["sparsity"] == nearest_sparsity(codes, sparsity))]
    held_out = "r2_cv" if codes["r2_cv"].notna().any() else "r2"
    groups = codes.groupby(["encoder", "layer", "factor"], sort=False)
    means = groups.agg(completeness=("completeness", "mean"), r2=(held_out, "mean")).reset_index()
    entropy = factor_entropy[["factor", "family"]].assign(entropy=factor_entropy["entropy_knn_bits"])
    points = means.merge(entropy, on="factor").dropna(subset=["completeness", "entropy"])
    return points.sort_values(["encoder", "layer"], key=_sort_key, kind="stable", ignore_index=True)


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Return Spearman's rank correlation; NaN if either side is constant or there are fewer than three points."""
    if len(x) < 3 or x.nunique() == 1 or y.nunique() == 1:
        return float("nan")
    return float(x.rank().corr(y.rank()))


def _probes_by_layer(
    axes: Axes, table: pd.DataFrame, styles: dict, metric: str, chance: float | None
) -> None:
    points = over_seeds(table, "accuracy", by=("encoder", "layer"), low="accuracy_low", high="accuracy_high")
    last = max([int(layer) for layer in points["layer"] if layer != "final"], default=-1)
    points["x"] = [last + 1 if layer == "final" else layer for layer in points["layer"]]
    several = points["encoder"].nunique() > 1
    ends = []
    for encoder, curve in points.groupby("encoder", sort=False):
        color = (
            next((s["color"] for (name, _), s in styles.items() if name == encoder), INK)
            if several
            else MUTED
        )
        x = curve["x"].astype(float)
        axes.fill_between(x, curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0)
        axes.plot(x, curve["mean"], color=color, marker="o", markersize=3)
        for point in curve.itertuples():
            style = styles.get((encoder, point.layer))
            if style:
                axes.plot(
                    point.x,
                    point.mean,
                    marker=style["marker"],
                    color=style["color"],
                    markersize=7,
                    markeredgecolor=PAPER,
                    zorder=3,
                )
        if several:
            ends.append((float(curve["mean"].iloc[-1]), str(encoder), color))
    ticks = sorted(set(points["x"].astype(int)))
    step = -(-len(ticks) // 9)
    shown = [tick for tick in ticks if tick % step == 0 or tick == last + 1]
    axes.set_xticks(shown, ["final" if tick == last + 1 and tick > last else str(tick) for tick in shown])
    if chance is not None:
        axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1.2)
        axes.text(
            0.99,
            chance,
            f"chance {wording.score(chance, metric)}",
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="bottom",
            color=MUTED,
            fontsize=7.5,
        )
    axes.set(title="Each layer, probed", xlabel="layer (0 = before the first block)")
    axes.set_ylabel(_score_name(metric))
    score_axis(axes, metric)


def _probes_on_codes(
    axes: Axes, table: pd.DataFrame, layer_probing: pd.DataFrame | None, styles: dict, metric: str
) -> None:
    by = ("encoder", "layer", "sparsity")
    points = over_seeds(table, "accuracy", by=by, low="accuracy_low", high="accuracy_high")
    dense = None
    if layer_probing is not None:
        dense = layer_probing.groupby(["encoder", "layer"], sort=False)["accuracy"].mean()
    ends = []
    curves = list(points.groupby(["encoder", "layer"], sort=False))
    for place, curve in curves:
        style = styles[place]
        x = 100 * curve["sparsity"]
        if len(curves) <= 3:  # more whiskers than that hide the curves; the table has them all
            aside = x + 0.5 * (len(ends) - (len(curves) - 1) / 2)
            axes.vlines(aside, curve["low"], curve["high"], color=style["color"], linewidth=0.9, alpha=0.55)
        axes.plot(x, curve["mean"], color=style["color"], marker=style["marker"])
        if dense is not None and place in dense.index:
            axes.axhline(dense[place], color=style["color"], linestyle=(0, (4, 2)), linewidth=1.1)
        ends.append((float(curve["mean"].iloc[-1]), style["label"], style["color"]))
    sparsity_axis(axes, points["sparsity"])
    axes.set(title="The same, from sparse codes", ylabel=_score_name(metric))
    score_axis(axes, metric, least_span=0.2)
    if _direct(styles):
        label_ends(axes, ends)


def _reconstruction(axes: Axes, table: pd.DataFrame, styles: dict) -> None:
    points = over_seeds(table, "fvu", by=("encoder", "layer", "sparsity"))
    ends = []
    for place, curve in points.groupby(["encoder", "layer"], sort=False):
        style = styles[place]
        x = 100 * curve["sparsity"]
        axes.fill_between(x, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(x, curve["mean"], color=style["color"], marker=style["marker"])
        ends.append((float(curve["mean"].iloc[-1]), style["label"], style["color"]))
    axes.set_yscale("log")
    low, high = points["mean"].min(), points["mean"].max()
    axes.set_ylim(min(low / 1.4, high / 3), high * 1.4)
    ticks = [tick for e in range(-6, 2) for tick in (10**e, 2 * 10**e, 5 * 10**e)]
    bottom, top = axes.get_ylim()
    axes.set_yticks([t for t in ticks if bottom <= t <= top], [f"{t:g}" for t in ticks if bottom <= t <= top])
    axes.set_yticks([], minor=True)
    sparsity_axis(axes, points["sparsity"])
    axes.set(title="What the codes lose", ylabel="reconstruction error, FVU (log scale)")
    if _direct(styles):
        label_ends(axes, ends)


def _codes_dense_nulls(axes: Axes, rows: pd.DataFrame, value: str, styles: dict) -> None:
    codes = over_seeds(codes_of(rows), value, by=("encoder", "layer", "sparsity"))
    axes.set_xlim(70, 100)
    for null in NULLS:
        _null_line(axes, rows[rows["representation"] == null], value, null)
    dense = rows[rows["representation"] == "dense"].groupby(["encoder", "layer"], sort=False)[value].mean()
    ends = []
    for place, curve in codes.groupby(["encoder", "layer"], sort=False):
        style = styles[place]
        x = 100 * curve["sparsity"]
        axes.fill_between(x, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(x, curve["mean"], color=style["color"], marker=style["marker"])
        ends.append((float(curve["mean"].iloc[-1]), style["label"], style["color"]))
    for place, level in dense.items():
        axes.axhline(level, color=styles[place]["color"], linestyle=(0, (4, 2)), linewidth=1.1)
    sparsity_axis(axes, codes["sparsity"])
    spread = (codes["sparsity"].max() - codes["sparsity"].min()) * 100 or 5
    axes.set_xlim(
        100 * codes["sparsity"].min() - 0.05 * spread, 100 * codes["sparsity"].max() + 0.05 * spread
    )
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.25), min(high, 1.04))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    nulls = [(null, rows.loc[rows["representation"] == null, value].mean()) for null in NULLS]
    ends = ends if _direct(styles) else []
    label_ends(axes, ends + [(y, NULL_NAMES[null][0], MUTED) for null, y in nulls if y == y])


def _null_line(axes: Axes, rows: pd.DataFrame, value: str, null: str) -> None:
    """A null's mean over layers and seeds: a curve if it was measured at several sparsities, else a level."""
    if rows.empty:
        return
    look = {"color": MUTED, "linewidth": 0.9, "linestyle": NULL_NAMES[null][1]}
    curve = rows.groupby("sparsity")[value].mean()
    if len(curve) > 1:
        axes.plot(100 * curve.index, curve.to_numpy(), **look)
    else:
        axes.axhline(rows[value].mean(), **look)


def _entropy_scatter(axes: Axes, points: pd.DataFrame, min_r2: float) -> None:
    for family, group in points.groupby("family", sort=False):
        color, marker = FAMILIES.get(str(family), (OTHER_COLOR, "."))
        predicted = group["r2"] >= min_r2
        for rows, face in ((group[predicted], color), (group[~predicted], "none")):
            axes.scatter(
                rows["entropy"],
                rows["completeness"],
                s=30,
                marker=marker,
                facecolors=face,
                edgecolors=PAPER if face == color else color,
                linewidths=0.3 if face == color else 0.9,
                zorder=3,
            )
    rho = spearman(points["entropy"], points["completeness"])
    note = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 7.5, "color": MUTED}
    axes.text(0.98, 0.98, f"Spearman ρ = {wording.number(rho)}", **note)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _family_bars(axes: Axes, rows: pd.DataFrame) -> None:
    names = ["dense" if s != s else wording.sparsity(s) for s in rows["sparsity"]]
    left = pd.Series(0.0, index=rows.index)
    for family, color in [*((name, look[0]) for name, look in FAMILIES.items()), (OTHER, OTHER_COLOR)]:
        axes.barh(names, rows[family], left=left, color=color, edgecolor=PAPER, linewidth=0.8, height=0.82)
        for name, start, n in zip(names, left, rows[family]):
            if n >= 0.5:
                axes.text(
                    start + n / 2,
                    name,
                    f"{round(n, 1):g}",
                    ha="center",
                    va="center",
                    color=_on(color),
                    fontsize=7,
                )
        left = left + rows[family]
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, max(10.0, left.max()))
    axes.set_xticks([0, 2, 4, 6, 8, 10])


def _on(color: str) -> str:
    """Black or white, whichever reads better on a colour; the same in light and dark."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#fffffe"


def _direct(styles: dict) -> bool:
    """Whether the curves' names are short and few enough to stand at the lines' ends."""
    return len(styles) <= 5 and all(len(style["label"]) <= 9 for style in styles.values())


def _curve_legend(figure: Figure, styles: dict, stacked: bool) -> None:
    if not styles or _direct(styles):
        return
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **style) for style in styles.values()]
    figure.legend(handles=lines, loc="outside lower center", ncols=1 if stacked else min(4, len(lines)))


def _family_legend(figure: Figure, families: list[str], *, markers: bool) -> None:
    from matplotlib.lines import Line2D

    known = [name for name in FAMILIES if name in families]
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            color=FAMILIES[name][0],
            marker=FAMILIES[name][1] if markers else "s",
            label=name,
        )
        for name in known
    ]
    if set(families) - set(known):
        look = {"color": OTHER_COLOR, "marker": "." if markers else "s", "label": OTHER}
        handles.append(Line2D([], [], linestyle="none", **look))
    narrow = figure.get_figwidth() < 4
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=4 if narrow else len(handles),
        handletextpad=0.1,
        columnspacing=1.0,
    )


def _sort_key(column: pd.Series) -> pd.Series:
    return column.map(layer_order) if column.name == "layer" else column


def _panel_name(encoder: str, layer: int | str, n_encoders: int) -> str:
    name = "Final output" if layer == "final" else f"Layer {layer}"
    return name if n_encoders == 1 else f"{encoder}, {name.lower()}"


def _score_name(metric: str) -> str:
    name = wording.METRICS.get(metric, metric)
    return f"{name} (%)" if metric == "accuracy" else name
