"""The paper's values beside a run's own, as tables of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.headlines import best_layers, studied_layers
from otoscope.report.numbers.means import probe_points, rows_of
from otoscope.report.numbers.published import CITATION, QUANTITIES, beside, comparison, comparison_summary
from otoscope.report.run import Run, n_top
from otoscope.report.tables.cells import (
    ENCODER,
    LAYER,
    Column,
    Table,
    laid_out,
    representation_name,
    whole,
    with_interval,
)
from otoscope.results import DENSE, FAMILIES, layer_order, trained_codes

_RULES = (
    " This run was made by other rules than the published numbers (see its protocol), so a difference is not a failure "
    "to reproduce them."
)


def published_tables(run: Run) -> list[Table]:
    """Return Table 1, and the published numbers beside the run's; none where they cannot be compared."""
    if not beside(run):
        return []
    found = comparison(run)
    tables = [_table1(run), _summary(run, found), _every_number(found), _families(run)]
    return [table for table in tables if table is not None]


def _table1(run: Run) -> Table | None:
    probes = run.table("layer_probing")
    if probes is None:
        return None
    published = beside(run)
    theirs = published["layer_probing"]
    best = {(b.encoder, b.layer) for b in best_layers(run)}
    printed = theirs[theirs["source"] == "Table 1"]
    shown = best | {*zip(printed["encoder"], printed["layer"])} | set(studied_layers(run))
    points = probe_points(probes, ("encoder", "layer"))
    points = points[[place in shown for place in zip(points["encoder"], points["layer"])]]
    rows = points.merge(theirs, on=["encoder", "layer"], how="left").fillna({"source": "none"})
    others = published["table1_sota"].sort_values("score").rename(columns={"model": "encoder"})
    others = others.assign(source=others["source"] + ", other work")
    columns: list[Column] = [
        ("model", lambda r: str(r.encoder)),
        ("layer", lambda r: "" if pd.isna(r.layer) else str(r.layer)),
        (
            "this run [95\u00a0% interval]",
            lambda r: (
                ""
                if pd.isna(r.mean)
                else with_interval(r.mean, r.low, r.high, "accuracy", trusted=r.trusted is not False)
            ),
        ),
        ("test groups", lambda r: "" if pd.isna(r.groups) else whole(r.groups)),
        ("published", lambda r: wording.percent(r.score)),
        (
            "this run minus published",
            lambda r: "" if pd.isna(r.mean) else wording.difference(r.mean - r.score, "accuracy"),
        ),
        _SOURCE,
    ]
    note = (
        "Probe accuracy on test clips, as Table 1 of the paper: the best layers. Bold: the layer this run is judged "
        "by. The published values carry no interval; 400 test files make their standard error about 2\u00a0points. "
        f"From: {CITATION}."
    )
    return laid_out(
        "Table 1, beside the published one",
        columns,
        rows_of(rows) + rows_of(others.reindex(columns=rows.columns)),
        note=note,
        marked=lambda r: (r.encoder, r.layer) in best,
        wraps=True,
    )


def _summary(run: Run, found: pd.DataFrame) -> Table | None:
    summary = comparison_summary(found)
    if summary.empty:
        return None
    columns: list[Column] = [
        _WHAT,
        ENCODER,
        ("numbers", lambda r: str(r.n)),
        ("published, mean", lambda r: _value(r.published, r.quantity)),
        ("this run, mean", lambda r: _value(r.ours, r.quantity)),
        ("difference", lambda r: _change(r.difference, r.quantity)),
        ("largest difference", lambda r: _change(r.largest, r.quantity).lstrip("+")),
    ]
    note = "Means over the layers and sparsities that both have; differences are this run minus published."
    note += "" if run.protocol == "paper" else _RULES
    return laid_out("Published beside ours", columns, rows_of(summary), note=note)


def _every_number(found: pd.DataFrame) -> Table | None:
    counts = [name for name, quantity in QUANTITIES.items() if quantity.written == "count"]
    kept = found[~found["quantity"].isin(counts)]
    if kept.empty:
        return None
    columns: list[Column] = [
        _WHAT,
        ENCODER,
        LAYER,
        ("of", lambda r: DENSE if pd.isna(r.sparsity) else representation_name("codes", r.sparsity)),
        ("published", lambda r: _value(r.published, r.quantity)),
        ("this run", lambda r: _value(r.ours, r.quantity)),
        ("difference", lambda r: _change(r.difference, r.quantity)),
        _SOURCE,
    ]
    note = "results/published_comparison.csv has the same, with the family counts."
    return laid_out("Every published number beside ours", columns, rows_of(kept), note=note, folded=True)


def _families(run: Run) -> Table | None:
    families, theirs = run.table("factor_families"), beside(run)["factor_families"]
    if families is None:
        return None
    by = ["encoder", "layer", "sparsity"]
    ours = trained_codes(families).groupby(["representation", *by], sort=False)[list(FAMILIES)].mean()
    both = theirs.merge(ours.reset_index(), on=by, suffixes=("_published", ""))
    if both.empty:
        return None
    both = both.sort_values(by, key=lambda c: c.map(layer_order) if c.name == "layer" else c, kind="stable")
    columns: list[Column] = [
        ENCODER,
        LAYER,
        ("sparsity", lambda r: wording.sparsity(r.sparsity)),
        *((family, _counts(family)) for family in FAMILIES),
    ]
    note = "This run's count, and the published one in brackets."
    title = f"Families of the {n_top(run)} best-predicted factors (published)"
    return laid_out(title, columns, rows_of(both), note=note, folded=True)


def _counts(family: str) -> Callable[[Any], str]:
    return lambda row: f"{round(getattr(row, family), 1):g} ({getattr(row, f'{family}_published'):g})"


_WHAT: Column = ("what", lambda row: QUANTITIES[row.quantity].label)
_SOURCE: Column = ("source", lambda row: row.source.replace("+-", "±"))


def _value(value: float, quantity: str) -> str:
    written = QUANTITIES[quantity].written
    return f"{value:.3g}" if written == "mse" else wording.score(value, written)


def _change(value: float, quantity: str) -> str:
    written = QUANTITIES[quantity].written
    return f"{value:+.2g}".replace("-", "−") if written == "mse" else wording.difference(value, written)
