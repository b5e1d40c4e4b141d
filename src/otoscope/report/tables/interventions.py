"""Tables of what a model does when its states are changed: replaced, rid of a label, pushed."""

from __future__ import annotations

from typing import Any

from otoscope import wording
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run
from otoscope.report.tables.cells import (
    ENCODER,
    LAYER,
    LONG,
    SPARSITY,
    Column,
    Table,
    laid_out,
    where,
    with_interval,
)
from otoscope.results import COMPONENTS, LATENTS, RECONSTRUCTION, layer_order


def intervention_tables(run: Run) -> list[Table]:
    """Return splicing, erasing and steering; those whose results are missing are left out."""
    tables = [_splice(run), _erasure(run), _steering(run)]
    return [table for table in tables if table is not None]


def _splice(run: Run) -> Table | None:
    table = run.table("splice")
    if table is None:
        return None
    order = table.assign(layer=table["layer"].map(layer_order))
    table = table.loc[order.sort_values(["encoder", "layer", "measure"], kind="stable").index]
    columns: list[Column] = [
        *where(table["encoder"].nunique() > 1, ENCODER),
        LAYER,
        ("replaced by", lambda r: f"{r.k:.0f} components" if r.replaced_by == COMPONENTS else r.replaced_by),
        *where(table["sae"].nunique() > 2, ("dictionary", lambda r: r.sae)),
        SPARSITY,
        ("measure", lambda r: r.measure),
        ("mean over clips", _interval),
        ("recovered", lambda r: wording.percent(r.recovered, 0)),
    ]
    first = table.iloc[0]
    note = (
        f"The model heard {wording.count(int(first.n_clips), 'test clip')} of "
        f"{wording.count(int(first.n_groups), 'group')} again, a layer's states replaced on the way, and was asked "
        f"for: {first.readout}. Recovered: 100\u00a0% as untouched, 0\u00a0% as with zeros in its place. Intervals are "
        "for clips of new groups."
    )
    return laid_out(
        "Splice test: what the model does on reconstructions",
        columns,
        rows_of(table),
        note=note,
        marked=lambda r: r.replaced_by == RECONSTRUCTION,
        folded=len(table) > LONG,
    )


def _erasure(run: Run) -> Table | None:
    table = run.table("erasure_summary")
    if table is None:
        return None
    columns: list[Column] = [
        *where(table["encoder"].nunique() > 1, ENCODER),
        LAYER,
        *where(table["seed"].nunique() > 1, ("seed", lambda r: f"{r.seed:g}")),
        ("by", lambda r: r.method),
        ("latents or directions", _amount),
        ("of the target gone", lambda r: wording.percent(r.target_lost, 0)),
        ("of the others gone", lambda r: wording.percent(r.kept_lost, 0)),
        ("selectivity", lambda r: wording.number(r.selectivity)),
        ("target at chance", lambda r: "yes" if r.at_chance else "no"),
    ]
    erasure = run.table("erasure")
    by_clip = [] if erasure is None else list(erasure.loc[erasure["held_out"] == "clips", "label"].unique())
    note = (
        f"“{table['target'].iloc[0]}” taken out of the layer, and fresh probes trained on what is left. Gone: the "
        "share of the way from the untouched score down to chance. Latents are ranked on training rows, set to their "
        "mean there, and shown at the fewest that bring the target to chance or, if none do, at their most selective; "
        "random latents, of equal frequency, at the most there were. Selectivity: the target's share less the others', "
        "1 where all of the one and nothing of the others is gone. At chance: nine tenths of the way are gone, and the "
        "interval reaches chance."
    )
    if by_clip:
        names = ["the target" if name == "target" else f"“{name}”" for name in by_clip]
        note += (
            f" A group's own label ({wording.listing(names)}) is judged on other clips of the same groups."
        )
    return laid_out(
        "Erasing a label",
        columns,
        rows_of(table),
        note=note,
        marked=lambda r: r.method == LATENTS,
        folded=len(table) > LONG,
    )


def _steering(run: Run) -> Table | None:
    table = run.table("steering")
    if table is None:
        return None
    columns: list[Column] = [
        *where(table["encoder"].nunique() > 1, ENCODER),
        LAYER,
        ("pushed by", lambda r: r.by),
        ("dose", lambda r: f"{r.dose:g}"),
        *where(table["readout"].nunique() > 1, ("asked", lambda r: r.readout)),
        ("measure", lambda r: r.measure),
        ("mean over clips", _interval),
    ]
    note = (
        "A dose of 1 adds, to the latents that tell the class best, the difference of their means between its training "
        "rows and the rest; by the raw direction, the difference of the states' means. Random latents get the same "
        "amounts, a random direction the raw one's length: what they do, any push does. "
        "What a probe of another label then says against what it said before is a side effect."
    )
    return laid_out(
        "Steering towards a class",
        columns,
        rows_of(table),
        note=note,
        marked=lambda r: r.by == LATENTS,
        folded=len(table) > LONG,
    )


def _interval(row: Any) -> str:
    return with_interval(row.value, row.low, row.high, "")


def _amount(row: Any) -> str:
    return f"{row.n:,.0f}" if row.share != row.share else f"{row.n:,.0f} ({wording.percent(row.share, 0)})"
