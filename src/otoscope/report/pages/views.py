"""Figures 1-4 of a run, drawn for a page and saved beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from otoscope.report.figures import interventions, paper
from otoscope.report.figures.saving import inline_svg, save
from otoscope.report.numbers.dictionaries import pca_errors
from otoscope.report.numbers.factors import base_rate, entropy_points
from otoscope.report.numbers.groups import few_groups, scores_by_group
from otoscope.report.numbers.headlines import main_rows, main_selection
from otoscope.report.numbers.interventions import splice_measure
from otoscope.report.numbers.published import beside
from otoscope.report.run import (
    Run,
    completeness_of,
    entropy_of,
    error_measure,
    in_sample,
    metric_of,
    min_r2,
    n_top,
    r2_kind,
    score_of,
    unequal_selection,
)
from otoscope.report.words.captions import Caption, caption
from otoscope.results import trained_codes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_POINTS = 5
"""Factors predicted in a layer's codes, from which on figure 3 says something."""
N_FIGURES = 4
"""The paper's; `figure_numbers` says which more a run has."""


@dataclass(frozen=True)
class FigureView:
    """A figure as the page holds it: for a wide (unless it stands in a column) and a narrow screen, or why not.

    `folded` says why it shows only when it is opened; empty where it is open.
    """

    number: int
    run: str
    caption: Caption
    wide: Markup
    narrow: Markup
    missing: str = ""
    folded: str = ""


def figure_numbers(run: Run) -> list[int]:
    """Return the figures of a run's page: the paper's, drawn or not, and those of interventions that were made."""
    more = {5: "splice", 6: "erasure"}
    return [
        *range(1, N_FIGURES + 1),
        *(number for number, name in more.items() if run.table(name) is not None),
    ]


def draw(run: Run, number: int, *, stacked: bool = False) -> Figure | None:
    """Return a figure of a run, None if it lacks the tables."""
    return _DRAW[number](run, stacked)


def view(run: Run, number: int, *, folder: Path) -> FigureView:
    """Draw a figure for a run's page, and save it to `folder`; an older file of one that cannot be drawn goes."""
    wide = draw(run, number)
    paths = [folder / f"figure{number}{suffix}" for suffix in (".png", ".pdf")]
    if wide is None:
        for path in paths:
            path.unlink(missing_ok=True)
        return column_view(run, number)
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        save(wide, path)
    found = column_view(run, number)
    svg = inline_svg(wide, name=f"wide0-{number}", title=found.caption.title)
    return replace(found, wide=Markup(svg))


def column_view(run: Run, number: int, *, index: int = 0) -> FigureView:
    """Draw a figure with its panels under one another, for a column of a page; `index` keeps several runs apart."""
    narrow, about = draw(run, number, stacked=True), caption(run, number)
    if narrow is None:
        reason = f"Figure {number} is left out: this run has no {_NEEDS[number]}."
        return FigureView(number, run.name, about, Markup(), Markup(), reason)
    svg = inline_svg(narrow, name=f"narrow{index}-{number}", title=about.title)
    return FigureView(number, run.name, about, Markup(), Markup(svg), folded=_folded(run, number))


def _folded(run: Run, number: int) -> str:
    """Return why a figure is not worth a look: figure 3 where hardly a factor is predicted."""
    if number != 3 or in_sample(run):
        return ""
    points = entropy_points(
        run.tables["disentanglement"],
        run.tables["factor_entropy"],
        min_r2=min_r2(run),
        score=score_of(run),
        column=entropy_of(run),
        completeness=completeness_of(run),
    )
    most = int(points.groupby(["encoder", "layer"])["counted"].sum().max())
    if most >= FEWEST_POINTS:
        return ""
    return f"The codes of no layer predict more than {most} of the factors: too few for a correlation."


def _draw1(run: Run, stacked: bool) -> Figure | None:
    found = [run.table(name) for name in ("layer_probing", "sae_probing", "reconstruction")]
    if all(table is None for table in found):
        return None
    return paper.figure1(
        *found,
        metric=metric_of(run),
        chance=run.summary.get("chance"),
        error=error_measure(run),
        pca=pca_errors(run),
        by_group=scores_by_group(run) if few_groups(run) else None,
        published=beside(run),
        stacked=stacked,
    )


def _draw2(run: Run, stacked: bool) -> Figure | None:
    summary = run.table("disentanglement_summary")
    if summary is None or trained_codes(summary).empty:
        return None
    return paper.figure2(
        pd.concat([main_rows(run), main_rows(run, "top10_completeness")]).drop_duplicates(),
        selection=main_selection(summary),
        unequal=unequal_selection(run),
        dimensions=not in_sample(run),
        r2_name=f"mean {r2_kind(run)} R²",
        published=beside(run),
        stacked=stacked,
    )


def _draw3(run: Run, stacked: bool) -> Figure | None:
    factors, entropy = run.table("disentanglement"), run.table("factor_entropy")
    if factors is None or entropy is None:
        return None
    column, completeness = entropy_of(run), completeness_of(run)
    if entropy_points(factors, entropy, column=column, completeness=completeness).empty:
        return None
    return paper.figure3(
        factors,
        entropy,
        min_r2=None if in_sample(run) else min_r2(run),
        score=score_of(run),
        column=column,
        completeness=completeness,
        stacked=stacked,
    )


def _draw4(run: Run, stacked: bool) -> Figure | None:
    families = run.table("factor_families")
    if families is None:
        return None
    rate = base_rate(run)
    blind = None if rate is None else rate * n_top(run)
    return paper.figure4(families, blind=blind, published=beside(run), stacked=stacked)


def _draw5(run: Run, stacked: bool) -> Figure | None:
    table = run.table("splice")
    if table is None:
        return None
    return interventions.splice_figure(table, measure=splice_measure(table), stacked=stacked)


def _draw6(run: Run, stacked: bool) -> Figure | None:
    table = run.table("erasure")
    return None if table is None else interventions.erasure_figure(table, stacked=stacked)


_DRAW: dict[int, Callable[[Run, bool], Figure | None]] = {
    1: _draw1,
    2: _draw2,
    3: _draw3,
    4: _draw4,
    5: _draw5,
    6: _draw6,
}
_NEEDS = {
    1: "layer_probing.csv, sae_probing.csv or reconstruction.csv",
    2: "rows of codes in disentanglement_summary.csv",
    3: "factors with a completeness in disentanglement.csv and an entropy in factor_entropy.csv",
    4: "factor_families.csv",
    5: "splice.csv",
    6: "erasure.csv",
}
