"""Write a run's figures and its page: one HTML file that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from otoscope.experiment import RunDirectory

from otoscope import wording
from otoscope.errors import InputError
from otoscope.files import write_text
from otoscope.report.numbers.headlines import headlines
from otoscope.report.numbers.published import comparison
from otoscope.report.pages.comparison import comparison_page
from otoscope.report.pages.rendering import render
from otoscope.report.pages.views import FigureView, figure_numbers, view
from otoscope.report.run import Run, read_run
from otoscope.report.tables import results as tables
from otoscope.report.tables.claims import claims_table, untested_table
from otoscope.report.tables.confusion import confusion
from otoscope.report.tables.details import more_tables
from otoscope.report.tables.dictionaries import dictionary_tables
from otoscope.report.tables.interventions import intervention_tables
from otoscope.report.tables.published import published_tables
from otoscope.report.words import overview
from otoscope.report.words.findings import findings
from otoscope.report.words.latents import latents_section
from otoscope.results import to_csv


def write_report(run: str | Path | RunDirectory, *runs: str | Path | RunDirectory) -> Path:
    """Write the figures and the page of a run, or a page that puts several runs side by side.

    Parameters
    ----------
    run : RunDirectory, str or Path
        What `otoscope.run` returned, or a run's directory. Gets ``figures/figure1.png`` and ``.pdf`` to ``figure4``,
        with interventions to ``figure6``, and ``report.html``; figures whose tables are missing are left out, and the
        page says why. Where the paper has numbers to compare with, also ``results/published_comparison.csv``.
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
            return write_text(first.path / "comparison.html", comparison_page(loaded))
        beside = comparison(first)
        if len(beside):
            write_text(
                first.path / "results" / "published_comparison.csv",
                to_csv("published_comparison", beside),
            )
        views = [view(first, number, folder=first.path / "figures") for number in figure_numbers(first)]
        return write_text(first.path / "report.html", _report(first, views))
    except OSError as error:
        raise InputError(f"cannot write the report to '{first.path}' ({error.strerror})") from error


def _report(run: Run, views: list[FigureView]) -> str:
    return render(
        "report.html",
        title=run.name,
        run=run,
        intro=overview.intro(run),
        verdicts=overview.verdicts(run),
        tiles=overview.tiles(run),
        findings=findings(run),
        latents=latents_section(run),
        paper=overview.PAPER,
        claims=claims_table(run),
        untested=untested_table(run),
        figures=views,
        at_a_glance=tables.headline_table(run) if len(headlines(run)) > 1 else None,
        published=published_tables(run),
        tables=[
            *dictionary_tables(run),
            *tables.result_tables(run),
            *intervention_tables(run),
            *more_tables(run),
        ],
        confusions=confusion(run),
        settings=overview.settings(run),
        spec=yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True) if run.spec else "",
        stages=[
            [s.get("stage", ""), wording.duration(s.get("seconds", float("nan"))), s.get("status", "")]
            for s in run.stages
        ],
    )
