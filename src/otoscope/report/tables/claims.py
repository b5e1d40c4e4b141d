"""What the paper's takeaways come to under a run's rules: one row a claim, verdicts that matter in bold."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run
from otoscope.report.tables.cells import Column, Table, laid_out
from otoscope.results import AS_PUBLISHED, NO

LOUD = (NO, AS_PUBLISHED)
"""Verdicts set in bold: a claim that falls, and one that stands only where nothing is held out."""


def claims_table(run: Run) -> Table | None:
    """Return the claims of a run, None if it has none."""
    claims = run.table("claims")
    if claims is None:
        return None
    columns: list[Column] = [
        ("claim", lambda r: r.statement + _small("Rule: ", r.rule)),
        ("holds?", lambda r: verdict(r.holds)),
        ("measured", lambda r: r.measured + _small("Tested on: ", r.scope)),
    ]
    title = f"Tested by protocol “{run.protocol}”"
    return laid_out(title, columns, rows_of(claims), note=_tally(claims), wraps=True)


def claims_beside(runs: list[Run]) -> Table | None:
    """Return each claim with the verdict of every run, None if none has claims."""
    tables = {
        i: claims.set_index("claim")
        for i, run in enumerate(runs)
        if (claims := run.table("claims")) is not None
    }
    if not tables:
        return None
    statements: dict[str, str] = {}
    for table in tables.values():
        for claim, statement in table["statement"].items():
            statements.setdefault(str(claim), statement)
    rows, marked = [], []
    for claim, statement in statements.items():
        cells, verdicts = [], set()
        for i in range(len(runs)):
            here = tables[i].loc[[claim]] if i in tables and claim in tables[i].index else None
            if here is None:
                cells.append("–")
                continue
            row = here.iloc[0]
            verdicts.add(row["holds"])
            cells.append(verdict(row["holds"]) + _small("", row["measured"]))
        differ = len(verdicts) > 1
        rows.append([statement, *cells, "yes" if differ else "no" if verdicts and "–" not in cells else "–"])
        marked += [len(rows) - 1] if differ else []
    columns = ["claim", *(f"{run.name} (“{run.protocol}”)" for run in runs), "verdicts differ?"]
    n = len(marked)
    note = f"{n} of {len(rows)} claims get another verdict where the rules change." if len(tables) > 1 else ""
    return Table("The paper's claims", columns, rows, note, wraps=True)


def verdict(holds: str) -> Markup:
    """Return a verdict as a cell; loud ones in bold."""
    return Markup("<b>{}</b>").format(holds) if holds in LOUD else Markup("{}").format(holds)


def _small(lead: str, text: str) -> Markup:
    return Markup("<small>{}{}</small>").format(lead, text) if text else Markup()


def _tally(claims: pd.DataFrame) -> str:
    counts = claims["holds"].value_counts(sort=False)
    said = ", ".join(f"{n} “{name}”" for name, n in counts.items())
    text = f"Of {len(claims)} claims: {said}."
    if AS_PUBLISHED in counts:
        text += " “As published, not held out”: true of the numbers that the published rules give, but not shown on "
        text += "clips that the fit has not seen."
    return text
