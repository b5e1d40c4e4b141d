"""The page "what the choice of protocol does": each published rule turned alone, and what that changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from otoscope import wording
from otoscope.errors import InputError
from otoscope.report.cells import Table
from otoscope.report.rendering import render, write
from otoscope.report.saving import inline_svg, save
from otoscope.report.sentences import Finding
from otoscope.report.switches_figure import switches_figure
from otoscope.results import read_table

FILE = "switches.csv"


@dataclass(frozen=True)
class Headline:
    """A number that a protocol is judged by: its column, its names, and how it is written."""

    column: str
    name: str
    short: str
    metric: str
    small: float
    """A change below this is called small."""


HEADLINES = (
    Headline("best_layer_score", "best-layer score", "best-layer score", "accuracy", 0.01),
    Headline("r2_top10", "mean R² of the ten best factors", "mean R², ten best", "r2", 0.02),
    Headline("completeness_gain", "completeness, codes minus dense", "completeness gain", "r2", 0.02),
)


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
        return write(folder / "protocol.html", page)
    except OSError as error:
        raise InputError(f"cannot write to '{folder}' ({error.strerror})") from error


def read_switches(path: Path) -> pd.DataFrame:
    """Return the table of an ablation, its rows in the order of the list."""
    if not path.is_file():
        raise InputError(f"there is no {path}; 'otoscope ablate RECIPE --out {path.parent}' makes it")
    table = read_table(path)
    if table.empty:
        raise InputError(f"{path} lacks rows; make it anew with 'otoscope ablate'")
    return table.sort_values("number", kind="stable", ignore_index=True)


def switch_findings(table: pd.DataFrame) -> list[Finding]:
    """Say for each headline number which rules move it most, and how many do not; from the table alone."""
    means = over_encoders(table)
    alone, sound = means[means["role"] == "switch"], means[means["role"] == "sound"]
    found = []
    for headline in HEADLINES:
        column, change = headline.column, f"d_{headline.column}"
        first, last = means.iloc[0], (sound.iloc[0] if len(sound) else None)
        known = alone.dropna(subset=[change])
        if known.empty or pd.isna(first[column]):
            continue
        text = f"{_value(first[column], headline)} by the published rules"
        if last is not None:
            text += f", {_value(last[column], headline)} by sound ones ({_change(last[change], headline)})"
        text += "."
        order = known.reindex(known[change].abs().sort_values(ascending=False, kind="stable").index)
        moved = order[order[change].abs() >= headline.small]
        if moved.empty:
            text += f" No rule turned alone moves it by {_least(headline)} or more."
        else:
            named = [
                f"“{row.switch}” ({_change(getattr(row, change), headline)})"
                for row in moved.head(3).itertuples()
            ]
            text += f" Of {len(known)} rules turned alone, {len(moved)} {'moves' if len(moved) == 1 else 'move'} it by "
            text += f"{_least(headline)} or more"
            text += f"; most of all {wording.listing(named)}." if len(moved) > 1 else f": {named[0]}."
            total = known[change].sum()
            if last is not None and abs(total - last[change]) >= headline.small:
                text += f" One by one the changes add up to {_change(total, headline)}, not to that of all together: "
                text += "rules act on one another, and the sound protocol has rules of its own beside these."
        found.append(Finding(wording.sentence_case(headline.name), text))
    n = int((alone["note"] != "").sum())
    if n:
        text = f"{n} of {len(alone)} listed differences could not be turned here; the table below says why for each."
        found.append(Finding("What cannot show", text))
    return found


def over_encoders(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per switch: means over the encoders that could be measured."""
    # a table of an ablation that was broken off has no last row, the whole sound protocol
    numbers = [name for headline in HEADLINES for name in (headline.column, f"d_{headline.column}")]
    groups = table.groupby("number", sort=True)
    names = ["role", "switch", "published", "sound", "note"]
    return groups[names].first().join(groups[numbers].mean()).reset_index()


def switched_table(table: pd.DataFrame) -> Table:
    """Return what each rule changes, a mean over encoders; rules that could not be turned are left out."""
    means = over_encoders(table)
    rows: list[list[str]] = []
    marked: list[int] = []
    for row in means.to_dict("records"):
        if row["note"] and pd.isna(row[f"d_{HEADLINES[0].column}"]):
            continue
        ends = row["role"] != "switch"
        marked += [len(rows)] if ends else []
        cells = [
            _value(row[h.column], h) if ends else _change(row[f"d_{h.column}"], h, loud=True)
            for h in HEADLINES
        ]
        if row["role"] == "sound":
            cells = [f"{cell} ({_change(row[f'd_{h.column}'], h)})" for cell, h in zip(cells, HEADLINES)]
        rows.append([_rule(row, numbered=not ends), row["published"], row["sound"], *cells])
    columns = ["rule", "published", "turned to", *(headline.name for headline in HEADLINES)]
    n = table["encoder"].nunique()
    note = (
        "First and last row: the numbers themselves; between them: the change against the first row "
        "when this rule alone "
        f"is turned{f', means over {n} encoders' if n > 1 else ''}. Bold: at least "
        f"{wording.listing([f'{_least(h)} ({h.name})' for h in HEADLINES])}. Numbers of rules: their "
        "place in the list "
        "of differences between the paper's text and its code."
    )
    return Table("Each rule turned alone", columns, rows, note, tuple(marked), wraps=True)


def each_encoder(table: pd.DataFrame) -> Table | None:
    """Return the changes of every encoder, None where there is one only."""
    if table["encoder"].nunique() < 2:
        return None
    rows = []
    for row in table.to_dict("records"):
        if row["note"]:
            continue
        cells = [f"{_value(row[h.column], h)} ({_change(row[f'd_{h.column}'], h)})" for h in HEADLINES]
        rows.append([_rule(row), row["encoder"], *cells])
    columns = ["rule", "encoder", *(headline.name for headline in HEADLINES)]
    return Table("Every encoder", columns, rows, "In brackets: the change.", folded=True)


def not_switched(table: pd.DataFrame) -> Table | None:
    """Return the rules that could not be turned, with the reason."""
    rows = [
        [_rule(row), row["published"], row["sound"], row["note"]]
        for row in table[table["note"] != ""].drop_duplicates(["number", "note"]).to_dict("records")
    ]
    columns = ["rule", "published", "sound", "why it cannot show (n/a)"]
    return Table("Listed, but not turned", columns, rows, wraps=True) if rows else None


def _rule(row: dict, *, numbered: bool = True) -> str:
    return f"{row['number']:.0f}. {row['switch']}" if numbered else row["switch"]


def _value(value: float, headline: Headline) -> str:
    if headline.column == "completeness_gain":
        return wording.signed(value)
    return wording.score(value, headline.metric)


def _change(value: float, headline: Headline, *, loud: bool = False) -> str:
    text = "0" if value == 0 else wording.difference(value, headline.metric)
    return Markup("<b>{}</b>").format(text) if loud and abs(value) >= headline.small else text


def _least(headline: Headline) -> str:
    if headline.metric == "accuracy":
        return f"{100 * headline.small:g}\u00a0{'point' if headline.small == 0.01 else 'points'}"
    return wording.number(headline.small)
