"""Several runs on one page: what differs between them, their headline numbers, and every claim with both verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.headlines import headlines, representations
from otoscope.report.numbers.means import rows_of
from otoscope.report.pages.rendering import render
from otoscope.report.pages.views import N_FIGURES, column_view
from otoscope.report.run import Run, metric_of, r2_kind, unequal_selection
from otoscope.report.tables.cells import UNTRUSTED_NOTE, Table, change, with_interval
from otoscope.report.tables.claims import claims_beside
from otoscope.report.words.findings import findings
from otoscope.results import DENSE, NULL_LABELS, trained_codes

_ASKED = ("data set", "label", "encoders")
"""Where these differ, the runs ask different questions."""


@dataclass(frozen=True)
class Differences:
    """What runs do not share: in a sentence, a warning if their numbers must not be compared, and every setting."""

    said: str
    warning: str
    rules: Table | None


def comparison_page(runs: list[Run]) -> str:
    """Return the page that puts runs side by side."""
    views = [
        [column_view(run, number, index=i) for i, run in enumerate(runs)]
        for number in range(1, N_FIGURES + 1)
    ]
    return render(
        "comparison.html",
        title=wording.listing([run.name for run in runs]),
        runs=runs,
        differences=differences(runs),
        numbers=headline_numbers(runs),
        alone=only_in_one(runs),
        claims=claims_beside(runs),
        figures=views,
        findings=[(run, findings(run)) for run in runs],
    )


def differences(runs: list[Run]) -> Differences:
    """Return how the runs differ."""
    facts = [_facts(run) for run in runs]
    names = [run.name for run in runs]
    same = [key for key in facts[0] if len({fact[key] for fact in facts}) == 1 and facts[0][key]]
    other = [key for key in facts[0] if len({fact[key] for fact in facts}) > 1]
    said = f"The same in all: {', '.join(f'{key} ({facts[0][key]})' for key in same)}. " if same else ""
    if other:
        pairs = []
        for key in other:
            each = [f"{name}: {fact[key] or 'not said'}" for name, fact in zip(names, facts)]
            pairs.append(f"{key} ({'; '.join(each)})")
        said += f"Different: {', '.join(pairs)}."
    asked = [key for key in other if key in _ASKED]
    warning = ""
    if asked:
        warning = f"These runs differ in {wording.listing(asked)}"
        if asked == ["encoders"]:
            warning += ": only encoders that they share can be compared; the others stand alone below."
        else:
            warning += ". They ask different questions: their numbers say nothing of each other."
    return Differences(said, warning, _rules(runs))


def headline_numbers(runs: list[Run]) -> list[Table]:
    """Return a table for each encoder that several runs share: a row per headline number, a column per run."""
    found = [{row.encoder: row for row in rows_of(headlines(run))} for run in runs]
    note = "Codes at the sparsity nearest to 95\u00a0%. Brackets: 95\u00a0% interval, a t over test groups. "
    note += "n/a: that run has none." + UNTRUSTED_NOTE
    columns = ["", *(f"{run.name} (“{run.protocol}”)" for run in runs)]
    tables = []
    for encoder in dict.fromkeys(encoder for rows in found for encoder in rows):
        here = [(run, rows[encoder]) if encoder in rows else None for run, rows in zip(runs, found)]
        if sum(map(bool, here)) < 2:
            continue
        parts = [[write(*own) if own else {} for own in here] for write in (_lines, _dimensions)]
        titles = list(dict.fromkeys(title for part in parts for line in part for title in line))
        lines = [first | second for first, second in zip(*parts)]
        cells = [
            [title, *(line.get(title, "n/a" if line else "not in this run") for line in lines)]
            for title in titles
        ]
        tables.append(Table(str(encoder), columns, cells, note))
    return tables


def only_in_one(runs: list[Run]) -> str:
    """Name the encoders that no two runs share; their numbers stand in the pages of their runs."""
    names = [list(dict.fromkeys(row.encoder for row in rows_of(headlines(run)))) for run in runs]
    counts = Counter(name for found in names for name in found)
    alone = [f"{name} ({run.name})" for run, found in zip(runs, names) for name in found if counts[name] == 1]
    return f"In one run only, so not compared: {wording.listing(alone)}." if alone else ""


def _facts(run: Run) -> dict[str, str]:
    dataset = run.spec.get("dataset") or {}
    encoders = dict.fromkeys(
        str(encoder) for table in run.tables.values() if "encoder" in table for encoder in table["encoder"]
    )
    n_test = run.summary.get("n_test")
    return {
        "data set": str(dataset.get("name") or ""),
        "label": str(run.summary.get("label") or dataset.get("label") or ""),
        "encoders": wording.listing(sorted(encoders)),
        "protocol": run.protocol,
        "clips of the test": f"{n_test:,}" if n_test is not None else "",
    }


def _rules(runs: list[Run]) -> Table | None:
    flat = [_flat({k: v for k, v in run.spec.items() if k not in ("versions", "name")}) for run in runs]
    keys = list(dict.fromkeys(key for spec in flat for key in spec))
    rows = [
        [key, *(_said(spec, key) for spec in flat)]
        for key in keys
        if len({_said(spec, key) for spec in flat}) > 1
    ]
    if not rows:
        return None
    title = f"Every setting that differs: {len(rows)}"
    return Table(title, ["setting", *(run.name for run in runs)], rows, folded=True, wraps=True)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{prefix}{key}.")
        return found
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return _flat({str(i): item for i, item in enumerate(value)}, prefix)
    text = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return {prefix.removesuffix("."): text}


def _said(spec: dict[str, str], key: str) -> str:
    return spec.get(key, "not set")


def _mean(part: pd.DataFrame, name: str) -> float:
    return float(part[name].astype(float).mean())


def _lines(run: Run, row: Any) -> dict[str, str]:
    """Return title -> value of one encoder's headline numbers."""
    metric = metric_of(run)
    lines = {
        "best layer": str(row.layer),
        "its probe": _probe(row, metric),
        "best layer minus layer 0": change(row.gain, row.gain_low, row.gain_high, metric),
        "layer of the codes below": "n/a" if row.studied is None else str(row.studied),
        "probe on codes minus dense": wording.difference(row.code_change, metric),
        "lost by the codes (FVU)": wording.percent(row.fvu),
        "mean R² of the codes": f"{wording.number(row.r2)} ({r2_kind(run)})",
    }
    table = representations(run, row.encoder, row.studied)
    codes = trained_codes(table)
    for null, what in ((DENSE, "the dense state"), *NULL_LABELS.items()):
        part = table[table["representation"] == null]
        if len(part):
            gain = _mean(codes, "completeness") - _mean(part, "completeness")
            lines[f"completeness of codes minus {what}"] = wording.signed(gain)
    if unequal_selection(run):
        dense = table[table["representation"] == DENSE]
        gain = _mean(codes, "completeness_unequal") - _mean(dense, "completeness_unequal")
        lines["the same against dense, by the published selections"] = wording.signed(gain)
    return lines


def _probe(row: Any, metric: str) -> str:
    text = with_interval(row.score, row.low, row.high, metric, trusted=row.trusted)
    return f"{text}, {wording.count(row.groups, 'test group')}" if row.groups else text


def _dimensions(run: Run, row: Any) -> dict[str, str]:
    """Return title -> value of the dimensions a factor takes."""
    table = representations(run, row.encoder, row.studied)
    dense = table[table["representation"] == DENSE]
    return {
        f"effective dimensions of {name}": wording.number(_mean(part, "effective_dims"), 1)
        for name, part in (("codes", trained_codes(table)), ("the dense state", dense))
        if len(part)
    }
