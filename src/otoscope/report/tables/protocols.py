"""What each rule of the protocol changes when it is turned alone, as tables."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.protocols import HEADLINES, Headline, over_encoders
from otoscope.report.tables.cells import Column, Table, laid_out
from otoscope.report.words.protocols import write_change, write_least, write_value


def switched_table(table: pd.DataFrame) -> Table:
    """Return what each rule changes, a mean over encoders; rules that could not be turned are left out."""
    means = over_encoders(table)
    means = means[(means["note"] == "") | means[f"d_{HEADLINES[0].column}"].notna()]
    columns: list[Column] = [
        ("rule", lambda row: _rule(row, numbered=row["role"] == "switch")),
        ("published", lambda row: row["published"]),
        ("turned to", lambda row: row["sound"]),
        *((headline.name, _switched(headline)) for headline in HEADLINES),
    ]
    n = table["encoder"].nunique()
    note = (
        "First and last row: the numbers themselves; between them: the change against the first row "
        "when this rule alone "
        f"is turned{f', means over {n} encoders' if n > 1 else ''}. Bold: at least "
        f"{wording.listing([f'{write_least(h)} ({h.name})' for h in HEADLINES])}. Numbers of rules: their "
        "place in the list "
        "of differences between the paper's text and its code."
    )
    return laid_out(
        "Each rule turned alone",
        columns,
        means.to_dict("records"),
        note=note,
        marked=lambda row: row["role"] != "switch",
        wraps=True,
    )


def each_encoder(table: pd.DataFrame) -> Table | None:
    """Return the changes of every encoder, None where there is one only."""
    if table["encoder"].nunique() < 2:
        return None
    columns: list[Column] = [
        ("rule", _rule),
        ("encoder", lambda row: row["encoder"]),
        *((headline.name, _with_change(headline)) for headline in HEADLINES),
    ]
    rows = table[table["note"] == ""].to_dict("records")
    return laid_out("Every encoder", columns, rows, note="In brackets: the change.", folded=True)


def not_switched(table: pd.DataFrame) -> Table | None:
    """Return the rules that could not be turned, with the reason."""
    rows = table[table["note"] != ""].drop_duplicates(["number", "note"]).to_dict("records")
    columns: list[Column] = [
        ("rule", _rule),
        ("published", lambda row: row["published"]),
        ("sound", lambda row: row["sound"]),
        ("why it cannot show", lambda row: row["note"]),
    ]
    return laid_out("Listed, but not turned", columns, rows, wraps=True) if rows else None


def _switched(headline: Headline) -> Callable[[dict], str]:
    """Write the number itself at both ends, and its change between them."""

    def write(row: dict) -> str:
        if row["role"] == "switch":
            return write_change(row[f"d_{headline.column}"], headline, loud=True)
        if row["role"] == "sound":
            return _with_change(headline)(row)
        return write_value(row[headline.column], headline)

    return write


def _with_change(headline: Headline) -> Callable[[dict], str]:
    def write(row: dict) -> str:
        change = write_change(row[f"d_{headline.column}"], headline)
        return f"{write_value(row[headline.column], headline)} ({change})"

    return write


def _rule(row: dict, *, numbered: bool = True) -> str:
    return f"{row['number']:.0f}. {row['switch']}" if numbered else row["switch"]
