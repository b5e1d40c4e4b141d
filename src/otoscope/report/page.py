"""Write a run's figures and its page: one HTML file that needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml
from markupsafe import Markup

from otoscope.errors import InputError
from otoscope.report import figures, overview, tables, wording
from otoscope.report.captions import Caption, caption, r2_kind
from otoscope.report.findings import findings
from otoscope.report.headlines import (
    SPARSITY,
    entropy_points,
    headlines,
    main_selection,
    metric_of,
    min_r2,
)
from otoscope.report.runs import Run, codes_of, read_run
from otoscope.report.saving import inline_svg, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_FIGURES = 4


@dataclass(frozen=True)
class FigureView:
    """A figure as the page holds it: for a wide and for a narrow screen, or why it is not there."""

    number: int
    run: str
    caption: Caption
    wide: Markup
    narrow: Markup
    missing: str = ""


def write_report(run_dir: str | Path, *runs: str | Path) -> Path:
    """Write the figures and the page of a run, or a page that puts several runs side by side.

    Parameters
    ----------
    run_dir : str or Path
        A run's directory. Gets ``figures/figure1.png`` and ``.pdf`` to ``figure4`` and ``report.html``; figures whose
        tables are missing are left out, and the page says why.
    *runs : str or Path
        More runs. Then ``run_dir`` gets ``comparison.html`` instead: headline numbers and figures of all of them.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If a directory is no run, holds no results or an unreadable table, or the page cannot be written.
    """
    loaded = [read_run(path) for path in (run_dir, *runs)]
    first = loaded[0]
    try:
        if len(loaded) > 1:
            return _write(first.path / "comparison.html", _comparison(loaded))
        views = [_view(first, number, folder=first.path / "figures") for number in range(1, N_FIGURES + 1)]
        return _write(first.path / "report.html", _report(first, views))
    except OSError as error:
        raise InputError(f"cannot write the report to '{first.path}' ({error.strerror})") from error


def draw(run: Run, number: int, *, stacked: bool = False) -> Figure | None:
    """Return figure 1, 2, 3 or 4 of a run, None if it lacks the tables."""
    return _DRAW[number](run, stacked)


def _draw1(run: Run, stacked: bool) -> Figure | None:
    found = [run.table(name) for name in ("layer_probing", "sae_probing", "reconstruction")]
    if all(table is None for table in found):
        return None
    chance = run.summary.get("chance")
    return figures.figure1(*found, metric=metric_of(run), chance=chance, stacked=stacked)


def _draw2(run: Run, stacked: bool) -> Figure | None:
    summary = run.table("disentanglement_summary")
    if summary is None or codes_of(summary).empty:
        return None
    selection, label = main_selection(summary), f"mean {r2_kind(run)} R²"
    return figures.figure2(summary, selection=selection, r2_label=label, stacked=stacked)


def _draw3(run: Run, stacked: bool) -> Figure | None:
    factors, entropy = run.table("disentanglement"), run.table("factor_entropy")
    if factors is None or entropy is None:
        return None
    if entropy_points(factors, entropy, sparsity=SPARSITY).empty:
        return None
    return figures.figure3(factors, entropy, min_r2=min_r2(run), stacked=stacked)


def _draw4(run: Run, stacked: bool) -> Figure | None:
    families = run.table("factor_families")
    return None if families is None else figures.figure4(families, stacked=stacked)


_DRAW: dict[int, Callable[[Run, bool], Figure | None]] = {1: _draw1, 2: _draw2, 3: _draw3, 4: _draw4}
_NEEDS = {
    1: "layer_probing.csv, sae_probing.csv or reconstruction.csv",
    2: "rows of codes in disentanglement_summary.csv",
    3: "factors with a completeness in disentanglement.csv and an entropy in factor_entropy.csv",
    4: "factor_families.csv",
}


def _view(run: Run, number: int, *, folder: Path | None = None, index: int = 0) -> FigureView:
    """Draw a figure for the page, and save it to `folder`; an older file of a figure that cannot be drawn goes."""
    wide, about = draw(run, number), caption(run, number)
    paths = [folder / f"figure{number}{suffix}" for suffix in (".png", ".pdf")] if folder else []
    if wide is None:
        for path in paths:
            path.unlink(missing_ok=True)
        reason = f"Figure {number} is left out: this run has no {_NEEDS[number]}."
        return FigureView(number, run.name, about, Markup(), Markup(), reason)
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        save(wide, path)
    narrow = draw(run, number, stacked=True)
    assert narrow is not None
    return FigureView(
        number,
        run.name,
        about,
        Markup(inline_svg(wide, name=f"wide{index}-{number}", title=about.title)),
        Markup(inline_svg(narrow, name=f"narrow{index}-{number}", title=about.title)),
    )


def _report(run: Run, views: list[FigureView]) -> str:
    return _render(
        "report.html",
        title=run.name,
        run=run,
        intro=overview.intro(run),
        tiles=overview.tiles(run),
        findings=findings(run),
        figures=views,
        at_a_glance=tables.headline_table([run]) if len(headlines(run)) > 1 else None,
        tables=tables.result_tables(run),
        confusions=tables.confusion(run),
        settings=overview.settings(run),
        spec=yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True) if run.spec else "",
        stages=[
            [s.get("stage", ""), wording.duration(s.get("seconds", float("nan"))), s.get("status", "")]
            for s in run.stages
        ],
    )


def _comparison(runs: list[Run]) -> str:
    views = [
        [_view(run, number, index=i) for i, run in enumerate(runs)] for number in range(1, N_FIGURES + 1)
    ]
    return _render(
        "comparison.html",
        title=wording.listing([run.name for run in runs]),
        runs=runs,
        at_a_glance=tables.headline_table(runs),
        figures=views,
        findings=[(run, findings(run)) for run in runs],
    )


def _render(template: str, **context: Any) -> str:
    from otoscope import __version__

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("otoscope.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **context)


def _write(path: Path, text: str) -> Path:
    """Write whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path
