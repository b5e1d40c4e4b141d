"""The paper's values beside a run's own, as tables of the page."""

from __future__ import annotations

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.headlines import best_layers, studied_layers
from otoscope.report.numbers.means import over_seeds, rows_of
from otoscope.report.numbers.published import CITATION, QUANTITIES, beside, comparison, comparison_summary
from otoscope.report.run import Run, n_top
from otoscope.report.tables.cells import Table, representation_name, with_interval
from otoscope.results import FAMILIES, NULLS, layer_order

_RULES = (
    " This run was made by other rules than the published numbers (see its protocol), so a "
    "difference is not a failure "
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
    theirs = published["layer_probing"].set_index(["encoder", "layer"])
    points = over_seeds(probes, "score", by=("encoder", "layer"), low="score_low", high="score_high")
    best = {(b.encoder, b.layer) for b in best_layers(run)}
    printed = set(theirs.index[theirs["source"] == "Table 1"])
    shown = best | printed | set(studied_layers(run))
    rows, marked = [], []
    for p in rows_of(points):
        place = (p.encoder, p.layer)
        if place not in shown:
            continue
        value = theirs["score"].get(place, float("nan"))
        source = theirs["source"].get(place, "none")
        rows.append(
            [
                p.encoder,
                str(p.layer),
                with_interval(p.mean, p.low, p.high, "accuracy"),
                wording.percent(value),
                wording.difference(p.mean - value, "accuracy"),
                source.replace("+-", "±"),
            ]
        )
        if place in best:
            marked.append(len(rows) - 1)
    for row in rows_of(published["table1_sota"].sort_values("score")):
        layer = "" if pd.isna(row.layer) else str(row.layer)
        rows.append([row.model, layer, "", wording.percent(row.score), "", f"{row.source}, other work"])
    columns = [
        "model",
        "layer",
        "this run [95\u00a0% interval]",
        "published",
        "this run minus published",
        "source",
    ]
    note = (
        "Probe accuracy on test clips, as Table 1 of the paper: the best layers. Bold: the layer this "
        "run is judged by. "
        "The published values carry no interval; 400 test files make their standard error about 2\u00a0points. "
        f"From: {CITATION}."
    )
    return Table("Table 1, beside the published one", columns, rows, note, tuple(marked), wraps=True)


def _summary(run: Run, found: pd.DataFrame) -> Table | None:
    summary = comparison_summary(found)
    if summary.empty:
        return None
    rows = [
        [
            QUANTITIES[row.quantity].label,
            row.encoder,
            str(row.n),
            _value(row.published, row.quantity),
            _value(row.ours, row.quantity),
            _change(row.difference, row.quantity),
            _change(row.largest, row.quantity).lstrip("+"),
        ]
        for row in rows_of(summary)
    ]
    columns = [
        "what",
        "encoder",
        "numbers",
        "published, mean",
        "this run, mean",
        "difference",
        "largest difference",
    ]
    note = "Means over the layers and sparsities that both have; differences are this run minus published."
    note += "" if run.protocol == "paper" else _RULES
    return Table("Published beside ours", columns, rows, note)


def _every_number(found: pd.DataFrame) -> Table | None:
    counts = [name for name, quantity in QUANTITIES.items() if quantity.written == "count"]
    kept = found[~found["quantity"].isin(counts)]
    if kept.empty:
        return None
    rows = [
        [
            QUANTITIES[row.quantity].label,
            row.encoder,
            str(row.layer),
            representation_name("codes", row.sparsity) if row.sparsity == row.sparsity else "dense",
            _value(row.published, row.quantity),
            _value(row.ours, row.quantity),
            _change(row.difference, row.quantity),
            row.source.replace("+-", "±"),
        ]
        for row in rows_of(kept)
    ]
    columns = ["what", "encoder", "layer", "of", "published", "this run", "difference", "source"]
    note = "results/published_comparison.csv has the same, with the family counts."
    return Table("Every published number beside ours", columns, rows, note, folded=True)


def _families(run: Run) -> Table | None:
    families = run.table("factor_families")
    theirs = beside(run)["factor_families"]
    if families is None:
        return None
    by = ["encoder", "layer", "sparsity"]
    ours = (
        families[families["sparsity"].notna()]
        .groupby(["representation", *by], sort=False)[list(FAMILIES)]
        .mean()
    )
    both = theirs.merge(ours.reset_index(), on=by, suffixes=("_published", ""))
    both = both[~both["representation"].isin(NULLS)]
    if both.empty:
        return None
    both = both.sort_values(by, key=lambda c: c.map(layer_order) if c.name == "layer" else c, kind="stable")
    rows = [
        [row["encoder"], str(row["layer"]), wording.sparsity(row["sparsity"])]
        + [f"{round(row[f], 1):g} ({row[f'{f}_published']:g})" for f in FAMILIES]
        for row in both.to_dict("records")
    ]
    note = "This run's count, and the published one in brackets."
    title = f"Families of the {n_top(run)} best-predicted factors (published)"
    return Table(title, ["encoder", "layer", "sparsity", *FAMILIES], rows, note, folded=True)


def _value(value: float, quantity: str) -> str:
    written = QUANTITIES[quantity].written
    return f"{value:.3g}" if written == "mse" else wording.score(value, written)


def _change(value: float, quantity: str) -> str:
    written = QUANTITIES[quantity].written
    return f"{value:+.2g}".replace("-", "−") if written == "mse" else wording.difference(value, written)
