"""What the paper's takeaways come to under a run's rules: one row a claim, verdicts that matter in bold."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from otoscope import wording
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run, sections
from otoscope.report.tables.cells import Column, Table, laid_out
from otoscope.results import AS_PUBLISHED, NO, NOT_TESTED

LOUD = (NO, AS_PUBLISHED)
"""Verdicts set in bold: a claim that falls, and one that stands only where nothing is held out."""


def claims_table(run: Run) -> Table | None:
    """Return the claims of a run that could be tested, None if it has none."""
    claims = run.table("claims")
    if claims is None or (claims["holds"] == NOT_TESTED).all():
        return None
    columns: list[Column] = [
        ("claim", lambda r: r.statement + _rule(r.rule)),
        ("holds?", lambda r: verdict(r.holds)),
        ("measured", lambda r: r.measured + _small("Tested on: ", r.scope)),
    ]
    title = f"Tested by protocol “{run.protocol}”"
    tested = claims[claims["holds"] != NOT_TESTED]
    return laid_out(title, columns, rows_of(tested), note=_tally(claims), wraps=True)


def untested_table(run: Run) -> Table | None:
    """Return, folded, the claims that this run could not test, and why; None if there is none."""
    claims = run.table("claims")
    if claims is None or not (claims["holds"] == NOT_TESTED).any():
        return None
    columns: list[Column] = [
        ("claim", lambda r: r.statement + _rule(r.rule)),
        ("why it could not be tested", lambda r: r.measured + _small("Tested on: ", r.scope)),
    ]
    rows = rows_of(claims[claims["holds"] == NOT_TESTED])
    title = f"Not tested in this run: {len(rows)} of {len(claims)} claims"
    return laid_out(title, columns, rows, note=_more(run), folded=True, wraps=True)


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
    rows, n_tested, n_differ = [], 0, 0
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
        differ = len(verdicts - {NOT_TESTED}) > 1
        in_all = NOT_TESTED not in verdicts and "–" not in cells
        rows.append([statement, *cells, "yes" if differ else "no" if in_all else "–"])
        n_tested, n_differ = n_tested + in_all, n_differ + (differ and in_all)
    columns = ["claim", *(f"{run.name} (“{run.protocol}”)" for run in runs), "verdicts differ?"]
    note = f"Verdicts differ for {n_differ} of {wording.count(n_tested, 'claim')} that all runs test."
    note = note if len(tables) > 1 else ""
    return Table("The paper's claims", columns, rows, note, wraps=True)


def verdict(holds: str) -> Markup:
    """Return a verdict as a cell; loud ones in bold."""
    return Markup("<b>{}</b>").format(holds) if holds in LOUD else Markup("{}").format(holds)


def _rule(text: str) -> Markup:
    """Return a claim's rule, to be opened."""
    return Markup("<details><summary>Rule</summary><small>{}</small></details>").format(text)


def _more(run: Run) -> str:
    """Return the settings that most claims need, where the run has fewer sparsities or seeds."""
    first = next(iter(sections(run)), None)
    if first is None or all(len(first.get(name) or []) >= 3 for name in ("sparsities", "seeds")):
        return ""
    wanted = "--set saes.sparsities=[0.75,0.8,0.85,0.9,0.95,0.99] --set saes.seeds=[0,1,2]"
    return (
        "Most claims need several sparsities and seeds: the same spec without the settings of a first look tests them, "
        f"otoscope run SPEC --out {run.path} {wanted}"
    )


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
