"""Write a run's figures and its page: one HTML file that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from otoscope.experiment import RunDirectory

from otoscope import wording
from otoscope.errors import InputError
from otoscope.report import overview, side_by_side, tables
from otoscope.report.claims import claims_beside, claims_table
from otoscope.report.confusion import confusion
from otoscope.report.findings import findings
from otoscope.report.headlines import headlines
from otoscope.report.more_tables import more_tables
from otoscope.report.published import comparison
from otoscope.report.published_tables import published_tables
from otoscope.report.rendering import render, write
from otoscope.report.runs import Run, read_run
from otoscope.report.views import N_FIGURES, FigureView, column_view, view
from otoscope.results import to_csv


def write_report(run: str | Path | RunDirectory, *runs: str | Path | RunDirectory) -> Path:
    """Write the figures and the page of a run, or a page that puts several runs side by side.

    Parameters
    ----------
    run : RunDirectory, str or Path
        What `otoscope.run` returned, or a run's directory. Gets ``figures/figure1.png`` and ``.pdf`` to ``figure4`` and
        ``report.html``; figures whose tables are missing are left out, and the page says why. Where the paper has
        numbers to compare with, also ``results/published_comparison.csv``.
    *runs : RunDirectory, str or Path
        More runs. Then the first gets ``comparison.html`` instead: headline numbers, claims and figures of all of
        them, and what differs between them.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If a directory is no run, holds no results or an unreadable table, or the page cannot be written.
    """
    loaded = [read_run(path) for path in (run, *runs)]
    first = loaded[0]
    try:
        if len(loaded) > 1:
            return write(first.path / "comparison.html", _comparison(loaded))
        beside = comparison(first)
        if len(beside):
            write(
                first.path / "results" / "published_comparison.csv",
                to_csv("published_comparison", beside),
            )
        views = [view(first, number, folder=first.path / "figures") for number in range(1, N_FIGURES + 1)]
        return write(first.path / "report.html", _report(first, views))
    except OSError as error:
        raise InputError(f"cannot write the report to '{first.path}' ({error.strerror})") from error


def _report(run: Run, views: list[FigureView]) -> str:
    return render(
        "report.html",
        title=run.name,
        run=run,
        intro=overview.intro(run),
        tiles=overview.tiles(run),
        findings=findings(run),
        claims=claims_table(run),
        figures=views,
        at_a_glance=tables.headline_table(run) if len(headlines(run)) > 1 else None,
        published=published_tables(run),
        tables=tables.result_tables(run) + more_tables(run),
        confusions=confusion(run),
        settings=overview.settings(run),
        spec=yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True) if run.spec else "",
        stages=[
            [s.get("stage", ""), wording.duration(s.get("seconds", float("nan"))), s.get("status", "")]
            for s in run.stages
        ],
    )


def _comparison(runs: list[Run]) -> str:
    views = [
        [column_view(run, number, index=i) for i, run in enumerate(runs)]
        for number in range(1, N_FIGURES + 1)
    ]
    return render(
        "comparison.html",
        title=wording.listing([run.name for run in runs]),
        runs=runs,
        differences=side_by_side.differences(runs),
        numbers=side_by_side.headline_numbers(runs),
        alone=side_by_side.only_in_one(runs),
        claims=claims_beside(runs),
        figures=views,
        findings=[(run, findings(run)) for run in runs],
    )
