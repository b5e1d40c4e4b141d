"""Figures 1-4 in the form of Mariotte et al. (2025): tables in, matplotlib figures out.

Each function takes result tables (columns: `otoscope.results.TABLES`) and draws one figure. ``stacked=True`` puts
the panels one under another, for a narrow screen.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from otoscope import wording
from otoscope.report.figures import curves, factor_panels, panels
from otoscope.report.figures.style import (
    FAMILY_LOOKS,
    MUTED,
    NULL_LOOK,
    NULL_MARKERS,
    OTHER,
    OTHER_COLOR,
    Look,
    curve_styles,
    log_ticks,
    new_figure,
    score_axis,
    styled,
)
from otoscope.report.numbers.factors import entropy_points
from otoscope.report.numbers.published import Published
from otoscope.results import (
    DENSE,
    HEADLINE_SPARSITY,
    NULLS,
    SHORT_NULL_LABELS,
    at_nearest_sparsity,
    layer_order,
    trained_codes,
)

BLIND = "drawn blindly"
"""The bar of figure 4 that the others are judged by."""


@styled
def figure1(
    layer_probing: pd.DataFrame | None,
    sae_probing: pd.DataFrame | None,
    reconstruction: pd.DataFrame | None,
    *,
    metric: str = "accuracy",
    chance: float | None = None,
    error: str = "fvu",
    pca: pd.DataFrame | None = None,
    by_group: pd.DataFrame | None = None,
    published: Published | None = None,
    stacked: bool = False,
) -> Figure:
    """Probes by layer; probes on codes by sparsity; reconstruction error by sparsity. A missing table has no panel.

    Parameters
    ----------
    layer_probing, sae_probing, reconstruction : DataFrame or None
        At least one of them.
    metric : {"accuracy", "r2", "macro_average_precision"}
        What the probes are scored by.
    chance : float, optional
        Score of someone who does not listen; drawn as a dotted line.
    error : {"fvu", "mse"}
        Which reconstruction error is drawn.
    pca : DataFrame, optional
        ``encoder, layer, sparsity, seed`` and that error, of PCA with as many components as latents are active.
    by_group : DataFrame, optional
        ``encoder, layer, score``: of the layers' probes in each test group, instead of an interval over too few.
    published : dict of str to DataFrame, optional
        Published tables by name, with the run's names for the encoders; drawn as pale marks.
    stacked : bool
        Panels one under another.
    """
    published = published or {}
    pca = None if pca is None or reconstruction is None or pca[error].isna().all() else pca
    chosen = [table for table in (sae_probing, reconstruction) if table is not None]
    styles = curve_styles(pd.concat([table[["encoder", "layer"]] for table in chosen])) if chosen else {}
    n_panels = len(chosen) + (layer_probing is not None)
    figure, axes = new_figure(
        n_panels,
        stacked=stacked,
        height_in=_height_in(styles, 2.7),
        legend_rows=_legend_rows(styles, stacked, published, int(pca is not None)),
    )
    free = iter(axes)
    layers, codes = published.get("layer_probing"), published.get("sae_probing")
    if layer_probing is not None:
        panels.probes_by_layer(next(free), layer_probing, styles, metric, chance, layers, by_group)
    if sae_probing is not None:
        both = None if layers is None or codes is None else pd.concat([layers.assign(sparsity=np.nan), codes])
        panels.probes_on_codes(next(free), sae_probing, layer_probing, styles, metric, both)
    if reconstruction is not None:
        panels.reconstruction_error(
            next(free), reconstruction, styles, error, published.get("reconstruction"), pca
        )
    dotted = Line2D([], [], color=MUTED, linestyle=panels.PCA_DASH, label="PCA with as many components")
    if pca is not None and pca["sparsity"].nunique() == 1:
        dotted.set(linestyle="none", **panels.PCA_MARK)
    _curve_legend(figure, styles, stacked, published, [dotted] if pca is not None else [])
    return figure


@styled
def figure2(
    summary: pd.DataFrame,
    *,
    selection: str = "top10_r2",
    unequal: bool = False,
    dimensions: bool = True,
    r2_name: str = "mean R²",
    published: Published | None = None,
    stacked: bool = False,
) -> Figure:
    """Mean R2 of selected factors and how few dimensions they need, by sparsity, beside dense and the nulls.

    Parameters
    ----------
    summary : DataFrame
        disentanglement_summary.csv.
    selection : str
        Which factors; those of highest R2 unless told.
    unequal : bool
        Completeness of codes and nulls is, as published, that of their factors of highest completeness, while that of
        the dense layer stays with `selection`.
    dimensions : bool
        "How few" is told by effective dimensions, which need no base; or else by mean completeness.
    r2_name : str
        What the R2 is called.
    published : dict of str to DataFrame, optional
        As for `figure1`.
    stacked : bool
        Panels one under another.
    """
    rows = summary[summary["selection"] == selection]
    right_rows = rows
    if unequal:
        others = summary[
            (summary["selection"] == "top10_completeness") & (summary["representation"] != DENSE)
        ]
        right_rows = pd.concat([rows[rows["representation"] == DENSE], others])
    styles, published = curve_styles(rows), published or {}
    label = at_nearest_sparsity(trained_codes(rows))["r2_label_mean"].mean()
    value = "effective_dims_mean" if dimensions else "completeness_mean"
    marks = _null_marks(
        {**panels.null_levels(rows, "r2_mean", label), **panels.null_levels(right_rows, value)}
    )
    theirs = published.get("disentanglement")
    if theirs is not None:
        names = {"top10_r2": "r2_mean", "top10_completeness": "completeness_mean"}
        theirs = theirs.rename(columns=names)
    figure, (left, right) = new_figure(
        2,
        stacked=stacked,
        height_in=_height_in(styles, 2.9),
        legend_rows=_legend_rows(styles, stacked, published, len(marks)),
    )
    panels.codes_dense_nulls(left, rows, "r2_mean", styles, theirs, label)
    low, high = left.get_ylim()
    left.set_ylim(max(low, -0.25), min(high, 1.04))
    score_axis(left, "r2")
    left.set(title="How well factors are predicted", ylabel=r2_name)
    if dimensions:
        right.set_yscale("log")
    panels.codes_dense_nulls(right, right_rows, value, styles, None if dimensions else theirs)
    if dimensions:
        log_ticks(right)
    else:
        low, high = right.get_ylim()
        right.set_ylim(max(low, -0.25), min(high, 1.04))
        score_axis(right, "r2")
    name = "mean effective dimensions (log scale)" if dimensions else "mean completeness"
    right.set(title="How few dimensions they need", ylabel=name)
    _curve_legend(figure, styles, stacked, published, marks)
    return figure


@styled
def figure3(
    disentanglement: pd.DataFrame,
    factor_entropy: pd.DataFrame,
    *,
    sparsity: float = HEADLINE_SPARSITY,
    min_r2: float | None = 0.0,
    score: str = "r2_cv",
    column: str = "entropy_knn_bits",
    completeness: str = "completeness",
    stacked: bool = False,
) -> Figure:
    """Completeness of each factor in the codes against its entropy, at the sparsity nearest to `sparsity`.

    Factors that the codes do not predict (R2 below `min_r2`, or, where it is None, no coefficient kept) are drawn
    hollow. The rank correlation leaves them out, but for those without a coefficient, which the published rule counts.
    """
    points = entropy_points(
        disentanglement,
        factor_entropy,
        sparsity=sparsity,
        score=score,
        column=column,
        min_r2=min_r2,
        completeness=completeness,
    )
    known = [name for name in (DENSE, *NULLS) if (disentanglement["representation"] == name).any()]
    beside = {
        name: entropy_points(
            disentanglement,
            factor_entropy,
            sparsity=sparsity,
            score=score,
            column=column,
            min_r2=min_r2,
            representation=name,
            completeness=completeness,
        )
        for name in known
    }
    places = points[["encoder", "layer"]].drop_duplicates().to_numpy().tolist()
    n_encoders = points["encoder"].nunique()
    figure, axes = new_figure(
        len(places),
        stacked=stacked,
        per_row=3 if n_encoders == 1 else 2,
        height_in=2.8 if len(places) <= 4 else 2.3,
        share_y=True,
    )
    low, high = points["completeness"].min(), points["completeness"].max()
    pad = 0.08 * max(high - low, 0.2)
    axes[0].set_ylim(
        low - pad, high + 3.5 * pad
    )  # of all panels, they share it; headroom for the correlation
    axes[0].set_yticks(
        [tick for tick in axes[0].get_yticks() if low - pad <= tick <= 1]
    )  # there is no more than 1
    for panel, (encoder, layer) in zip(axes, places):
        here = points[(points["encoder"] == encoder) & (points["layer"] == layer)]
        factor_panels.entropy_scatter(
            panel, here, {name: _at(found, encoder, layer) for name, found in beside.items()}
        )
        panel.set_title(_panel_name(encoder, layer, n_encoders))
        panel.set_xlabel("entropy of the factor (bits)")
    _family_legend(figure, list(points["family"]), markers=True)
    figure.draw_without_rendering()  # names of points go where there is room once all else has its place
    if points["factor"].nunique() <= 24:
        for panel, (encoder, layer) in zip(axes, places):
            factor_panels.name_points(
                panel, points[(points["encoder"] == encoder) & (points["layer"] == layer)]
            )
    return figure


@styled
def figure4(
    factor_families: pd.DataFrame,
    *,
    blind: pd.Series | None = None,
    published: Published | None = None,
    stacked: bool = False,
) -> Figure:
    """Of the best-predicted factors, how many are of each family, by layer and sparsity, then of nulls; seeds averaged.

    `blind`: family -> how many there would be of as many factors drawn blindly; the first bar.
    `published`, as for `figure1`: a thin pale bar under each of ours.
    """
    theirs = (published or {}).get("factor_families")
    kept = factor_families.copy()
    known = {*FAMILY_LOOKS, "encoder", "layer", "representation", "sparsity", "seed"}
    kept[OTHER] = kept[[name for name in kept if name not in known]].sum(axis=1)
    null = kept["representation"].isin(NULLS)
    kept.loc[null, "sparsity"] = float("nan")
    kept["bar"] = kept["sparsity"].map(lambda s: "dense" if s != s else wording.sparsity(s))
    kept.loc[null, "bar"] = kept.loc[null, "representation"].map(SHORT_NULL_LABELS)
    kept["after"] = kept["representation"].map(lambda name: 1 + NULLS.index(name) if name in NULLS else 0)
    by = ["encoder", "layer", "after", "sparsity", "bar"]
    counts = kept.groupby(by, dropna=False, sort=False)[[*FAMILY_LOOKS, OTHER]].mean().reset_index()
    counts = counts.sort_values(by, key=_sort_key, na_position="first", kind="stable")
    if blind is not None:
        counts = _with_blind(counts, blind)
    places = counts[["encoder", "layer"]].drop_duplicates().to_numpy().tolist()
    n_bars = int(counts.groupby(["encoder", "layer"]).size().max())
    figure, axes = new_figure(len(places), stacked=stacked, per_row=2, height_in=0.85 + 0.24 * n_bars)
    for panel, (encoder, layer) in zip(axes, places):
        factor_panels.family_bars(
            panel, _at(counts, encoder, layer), None if theirs is None else _at(theirs, encoder, layer)
        )
        panel.set_title(_panel_name(encoder, layer, counts["encoder"].nunique()))
    for panel in axes[-1:] if stacked else axes[-2:]:
        panel.set_xlabel("factors, of the ten best predicted")
    found = [name for name in (*FAMILY_LOOKS, OTHER) if counts[name].sum() > 0]
    if theirs is not None:
        found += [name for name in FAMILY_LOOKS if theirs[name].sum() > 0 and name not in found]
    _family_legend(figure, found, markers=False, published=theirs is not None)
    return figure


def _with_blind(counts: pd.DataFrame, blind: pd.Series) -> pd.DataFrame:
    """Put the bar of factors drawn blindly before those of each layer."""
    row = {family: float(blind.get(family, 0.0)) for family in (*FAMILY_LOOKS, OTHER)} | {"bar": BLIND}
    places = counts[["encoder", "layer"]].drop_duplicates().to_dict("records")
    parts = []
    for place in places:
        first = pd.DataFrame([{**place, "after": -1, "sparsity": float("nan"), **row}])
        parts += [first, _at(counts, place["encoder"], place["layer"])]
    return pd.concat(parts, ignore_index=True)


def _null_marks(nulls: Iterable[str]) -> list[Line2D]:
    found = set(nulls)
    names = [null for null in NULLS if null in found]
    return [
        Line2D([], [], **NULL_LOOK, marker=NULL_MARKERS[null], label=SHORT_NULL_LABELS[null])
        for null in names
    ]


def _curve_legend(
    figure: Figure, styles: dict, stacked: bool, published: Published, more: list[Line2D]
) -> None:
    """Name under the panels what cannot be named at the lines' ends, and `more`, such as nulls."""
    lines = []
    if styles and not curves.direct(styles):
        lines = [Line2D([], [], **style) for style in styles.values()]
        lines.append(Line2D([], [], color=MUTED, linestyle=curves.DENSE_DASH, linewidth=1.1, label="dense"))
    if published:
        lines.append(
            Line2D([], [], color=MUTED, label="published, in the colour of its curve", **curves.PUBLISHED)
        )
    lines += more
    if lines:
        columns = _columns(len(lines), stacked, len(more))
        blank = Line2D([], [], linestyle="none", label=" ")
        lines += [blank] * (
            -len(lines) % columns
        )  # so that full columns come first, layers of an encoder together
        figure.legend(handles=lines, loc="outside lower center", ncols=columns)


def _legend_rows(styles: dict, stacked: bool, published: Published, n_more: int) -> int:
    n = (len(styles) + 1 if styles and not curves.direct(styles) else 0) + bool(published) + n_more
    return -(-n // _columns(n, stacked, n_more)) if n else 0


def _columns(n: int, stacked: bool, n_more: int) -> int:
    """How many columns a legend has: names of nulls are short, those of curves are not."""
    if stacked:
        return 2 if n_more == n and n > 1 else 1
    return min(n, 5 if n_more == n else 3)


def _height_in(styles: dict, usual: float) -> float:
    """Panels of many curves are taller."""
    return usual if len(styles) <= 4 else usual + 0.7


def _at(table: pd.DataFrame, encoder: str, layer: int | str) -> pd.DataFrame:
    return table[(table["encoder"] == encoder) & (table["layer"] == layer)]


def _family_legend(figure: Figure, families: list[str], *, markers: bool, published: bool = False) -> None:
    handles = []
    for name, (color, marker) in FAMILY_LOOKS.items():
        if name in families:
            look: Look = {"color": color, "marker": marker if markers else "s", "markersize": 5}
            handles.append(Line2D([], [], linestyle="none", label=name, **look))
    if set(families) - set(FAMILY_LOOKS):
        look = {"color": OTHER_COLOR, "marker": "." if markers else "s", "markersize": 5}
        handles.append(Line2D([], [], linestyle="none", label=OTHER, **look))
    if published:
        look = {"color": MUTED, "alpha": 0.5, "linewidth": 3}
        handles.append(Line2D([], [], label="thin and pale: published", **look))
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
