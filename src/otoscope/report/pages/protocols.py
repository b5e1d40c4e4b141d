"""The page "what the choice of protocol does": each published rule turned alone, and what that changes."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from otoscope.errors import InputError
from otoscope.files import write_text
from otoscope.report.figures.protocols import switches_figure
from otoscope.report.figures.saving import inline_svg, save
from otoscope.report.numbers.protocols import HEADLINES, read_switches
from otoscope.report.pages.rendering import render
from otoscope.report.tables.protocols import each_encoder, not_switched, switched_table
from otoscope.report.words.protocols import switch_findings

FILE = "switches.csv"


def write_switches_page(folder: str | Path) -> Path:
    """Write ``protocol.html`` from ``switches.csv``, both in `folder`, and its figure as png and pdf.

    Parameters
    ----------
    folder : str or Path
        Where ``otoscope ablate`` wrote its table.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If there is no such table, it lacks a column or holds text for a number, or the page cannot be written.
    """
    folder = Path(folder)
    table = read_switches(folder / FILE)
    title = "What the choice of protocol does"
    try:
        figure = switches_figure(table, HEADLINES)
        views = ("", "")
        if figure is not None:
            for suffix in ("png", "pdf"):
                save(figure, folder / f"protocol.{suffix}")
            narrow = switches_figure(table, HEADLINES, stacked=True)
            assert narrow is not None
            views = (
                inline_svg(figure, name="wide", title=title),
                inline_svg(narrow, name="narrow", title=title),
            )
        page = render(
            "protocol.html",
            title=title,
            findings=switch_findings(table),
            wide=Markup(views[0]),
            narrow=Markup(views[1]),
            switched=switched_table(table),
            each=each_encoder(table),
            not_switched=not_switched(table),
        )
        return write_text(folder / "protocol.html", page)
    except OSError as error:
        raise InputError(f"cannot write to '{folder}' ({error.strerror})") from error
