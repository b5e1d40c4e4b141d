"""What each rule of the protocol changes when it is turned alone, as tables."""

from __future__ import annotations

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.protocols import HEADLINES, over_encoders
from otoscope.report.tables.cells import Table
from otoscope.report.words.protocols import write_change, write_least, write_value


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
            write_value(row[h.column], h) if ends else write_change(row[f"d_{h.column}"], h, loud=True)
            for h in HEADLINES
        ]
        if row["role"] == "sound":
            cells = [f"{cell} ({write_change(row[f'd_{h.column}'], h)})" for cell, h in zip(cells, HEADLINES)]
        rows.append([_rule(row, numbered=not ends), row["published"], row["sound"], *cells])
    columns = ["rule", "published", "turned to", *(headline.name for headline in HEADLINES)]
    n = table["encoder"].nunique()
    note = (
        "First and last row: the numbers themselves; between them: the change against the first row "
        "when this rule alone "
        f"is turned{f', means over {n} encoders' if n > 1 else ''}. Bold: at least "
        f"{wording.listing([f'{write_least(h)} ({h.name})' for h in HEADLINES])}. Numbers of rules: their "
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
        cells = [
            f"{write_value(row[h.column], h)} ({write_change(row[f'd_{h.column}'], h)})" for h in HEADLINES
        ]
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
