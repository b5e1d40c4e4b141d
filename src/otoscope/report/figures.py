"""Figures 1-4 in the form of Mariotte et al. (2025): tables in, matplotlib figures out.

Each function takes result tables (columns: `otoscope.report.runs.COLUMNS`) and draws one figure. ``stacked=True`` puts
the panels one under another, for a narrow screen.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from otoscope.report import panels
from otoscope.report.drawing import (
    FAMILIES,
    MUTED,
    OTHER,
    OTHER_COLOR,
    Look,
    curve_styles,
    new_figure,
    styled,
)
from otoscope.report.headlines import SPARSITY, entropy_points
from otoscope.report.runs import NULLS, layer_order


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
    """Probes by layer; probes on codes by sparsity; reconstruction error by sparsity. A missing table has no panel.

    Parameters
    ----------
    layer_probing, sae_probing, reconstruction : DataFrame or None
        At least one of them.
    metric : {"accuracy", "r2", "macro average precision"}
        What the probes are scored by.
    chance : float, optional
        Score of someone who does not listen; drawn as a dotted line.
    stacked : bool
        Panels one under another.
    """
    chosen = [table for table in (sae_probing, reconstruction) if table is not None]
    styles = curve_styles(pd.concat([table[["encoder", "layer"]] for table in chosen])) if chosen else {}
    n_panels = len(chosen) + (layer_probing is not None)
    figure, axes = new_figure(n_panels, stacked=stacked, legend_rows=_legend_rows(styles, stacked))
    free = iter(axes)
    if layer_probing is not None:
        panels.probes_by_layer(next(free), layer_probing, styles, metric, chance)
    if sae_probing is not None:
        panels.probes_on_codes(next(free), sae_probing, layer_probing, styles, metric)
    if reconstruction is not None:
        panels.reconstruction_error(next(free), reconstruction, styles)
    _curve_legend(figure, styles, stacked)
    return figure


@styled
def figure2(
    summary: pd.DataFrame, *, selection: str = "top10_r2", r2_label: str = "mean R²", stacked: bool = False
) -> Figure:
    """Mean R2 and mean completeness of one selection of factors, by sparsity, beside dense and the nulls."""
    rows = summary[summary["selection"] == selection]
    styles = curve_styles(rows)
    figure, (left, right) = new_figure(
        2, stacked=stacked, height_in=2.9, legend_rows=_legend_rows(styles, stacked)
    )
    panels.codes_dense_nulls(left, rows, "r2_mean", styles)
    left.set(title="How well factors are predicted", ylabel=r2_label)
    panels.codes_dense_nulls(right, rows, "completeness_mean", styles)
    right.set(title="How few dimensions they need", ylabel="mean completeness")
    _curve_legend(figure, styles, stacked)
    return figure


@styled
def figure3(
    disentanglement: pd.DataFrame,
    factor_entropy: pd.DataFrame,
    *,
    sparsity: float = SPARSITY,
    min_r2: float = 0.0,
    stacked: bool = False,
) -> Figure:
    """Completeness of each factor in the codes against its entropy, at the sparsity nearest to `sparsity`.

    Factors that the codes do not predict (R2 below `min_r2`) are drawn hollow; the rank correlation leaves
    them out.
    """
    points = entropy_points(disentanglement, factor_entropy, sparsity=sparsity)
    places = points[["encoder", "layer"]].drop_duplicates().to_numpy().tolist()
    n_encoders = points["encoder"].nunique()
    figure, axes = new_figure(
        len(places), stacked=stacked, per_row=3 if n_encoders == 1 else 2, height_in=2.8, share_y=True
    )
    low, high = points["completeness"].min(), points["completeness"].max()
    pad = 0.08 * max(high - low, 0.2)
    axes[0].set_ylim(
        low - pad, high + 2.5 * pad
    )  # of all panels, they share it; headroom for the correlation
    for panel, (encoder, layer) in zip(axes, places):
        here = points[(points["encoder"] == encoder) & (points["layer"] == layer)]
        panels.entropy_scatter(panel, here, min_r2)
        panel.set_title(_panel_name(encoder, layer, n_encoders))
        panel.set_xlabel("entropy of the factor (bits)")
    _family_legend(figure, list(points["family"]), markers=True)
    figure.draw_without_rendering()  # names of points go where there is room once all else has its place
    if points["factor"].nunique() <= 24:
        for panel, (encoder, layer) in zip(axes, places):
            panels.name_points(panel, points[(points["encoder"] == encoder) & (points["layer"] == layer)])
    return figure


@styled
def figure4(factor_families: pd.DataFrame, *, stacked: bool = False) -> Figure:
    """Of the best-predicted factors, how many belong to each family, per layer and sparsity; means over seeds."""
    kept = factor_families[~factor_families["representation"].isin(NULLS)].copy()
    known = {*FAMILIES, "encoder", "layer", "representation", "sparsity", "seed"}
    kept[OTHER] = kept[[name for name in kept if name not in known]].sum(axis=1)
    by = ["encoder", "layer", "sparsity"]
    counts = kept.groupby(by, dropna=False, sort=False)[[*FAMILIES, OTHER]].mean().reset_index()
    counts = counts.sort_values(by, key=_sort_key, na_position="first", kind="stable")
    places = counts[["encoder", "layer"]].drop_duplicates().to_numpy().tolist()
    n_bars = int(counts.groupby(["encoder", "layer"]).size().max())
    figure, axes = new_figure(len(places), stacked=stacked, per_row=2, height_in=0.85 + 0.24 * n_bars)
    for panel, (encoder, layer) in zip(axes, places):
        panels.family_bars(panel, counts[(counts["encoder"] == encoder) & (counts["layer"] == layer)])
        panel.set_title(_panel_name(encoder, layer, counts["encoder"].nunique()))
    for panel in axes[-1:] if stacked else axes[-2:]:
        panel.set_xlabel("factors, of the ten best predicted")
    _family_legend(figure, [name for name in (*FAMILIES, OTHER) if counts[name].sum() > 0], markers=False)
    return figure


def _curve_legend(figure: Figure, styles: dict, stacked: bool) -> None:
    """Name the curves under the panels, where their names do not fit at the lines' ends."""
    if not _legend_rows(styles, stacked):
        return
    lines = [Line2D([], [], **style) for style in styles.values()]
    lines.append(Line2D([], [], color=MUTED, linestyle=panels.DENSE_DASH, linewidth=1.1, label="dense"))
    figure.legend(handles=lines, loc="outside lower center", ncols=1 if stacked else 3)


def _legend_rows(styles: dict, stacked: bool) -> int:
    if not styles or panels.direct(styles):
        return 0
    return len(styles) + 1 if stacked else -(-(len(styles) + 1) // 3)


def _family_legend(figure: Figure, families: list[str], *, markers: bool) -> None:
    handles = []
    for name, (color, marker) in FAMILIES.items():
        if name in families:
            look: Look = {"color": color, "marker": marker if markers else "s", "markersize": 5}
            handles.append(Line2D([], [], linestyle="none", label=name, **look))
    if set(families) - set(FAMILIES):
        look = {"color": OTHER_COLOR, "marker": "." if markers else "s", "markersize": 5}
        handles.append(Line2D([], [], linestyle="none", label=OTHER, **look))
    narrow = figure.get_figwidth() < 4
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=4 if narrow else len(handles),
        handletextpad=0.1,
        columnspacing=1.0,
    )


def _panel_name(encoder: str, layer: int | str, n_encoders: int) -> str:
    name = "Final output" if layer == "final" else f"Layer {layer}"
    return name if n_encoders == 1 else f"{encoder}, {name.lower()}"


def _sort_key(column: pd.Series) -> pd.Series:
    return column.map(layer_order) if column.name == "layer" else column
