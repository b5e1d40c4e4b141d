"""What interventions showed, in sentences."""

from __future__ import annotations

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.interventions import splice_measure
from otoscope.report.run import Run
from otoscope.report.words.finding import Finding, place_of
from otoscope.results import (
    COMPONENTS,
    LATENTS,
    LEACE,
    MEAN,
    RECONSTRUCTION,
    at_nearest_sparsity,
)


def intervention_findings(run: Run) -> list[Finding]:
    """Return what splicing and erasing showed; what was not made is left out."""
    return [finding for finding in (_splice(run), _erasure(run)) if finding is not None]


def _splice(run: Run) -> Finding | None:
    table = run.table("splice")
    if table is None:
        return None
    measure = splice_measure(table)
    table = table[(table["measure"] == measure) & table["recovered"].notna()]
    made = at_nearest_sparsity(table[table["replaced_by"] == RECONSTRUCTION])
    if made.empty:
        return None
    parts = []
    for row in made.itertuples():
        there = table[(table["encoder"] == row.encoder) & (table["layer"] == row.layer)]
        linear = there[(there["replaced_by"] == COMPONENTS) & (there["k"] == row.k)]
        others = [
            (linear, f"{row.k:.0f} principal components"),
            (there[there["replaced_by"] == MEAN], "its mean"),
        ]
        beside = [
            f"{name}: {wording.percent(own['recovered'].iloc[0], 0)}" for own, name in others if len(own)
        ]
        parts.append(
            f"{place_of(run, row.encoder, row.layer)} {wording.percent(row.recovered, 0)} ({', '.join(beside)})"
        )
    text = f"With a layer replaced by its reconstruction at {wording.sparsity(made['sparsity'].iloc[0])} sparsity, the "
    text += f"model keeps of what zeros would cost it ({measure}): {wording.listing(parts)}."
    return Finding("What the model does on reconstructions", text)


def _erasure(run: Run) -> Finding | None:
    table = run.table("erasure_summary")
    if table is None:
        return None
    parts = []
    for (encoder, layer), own in table.groupby(["encoder", "layer"], sort=False):
        latents, leace = (own[own["method"] == method] for method in (LATENTS, LEACE))
        parts.append(f"{place_of(run, encoder, layer)}: {_by_latents(latents)}; {_by_leace(leace)}")
    text = f"Erasing “{table['target'].iloc[0]}”. {wording.sentence_case('. '.join(parts))}."
    return Finding("Taking a label out", text)


def _by_latents(rows: pd.DataFrame) -> str:
    share = wording.percent(rows["share"].mean(), 0)
    kept, target = (wording.percent(rows[name].mean(), 0) for name in ("kept_lost", "target_lost"))
    if rows["at_chance"].all():
        return f"{share} of the living latents must go before it is at chance, and {kept} of the other labels goes too"
    best = f"most selective: {share}, {target} of it gone, {kept} of the others"
    return f"no number of latents brings it to chance in every seed ({best})"


def _by_leace(rows: pd.DataFrame) -> str:
    kept, target = (wording.percent(rows[name].mean(), 0) for name in ("kept_lost", "target_lost"))
    return f"LEACE takes {target} of it and {kept} of the others, with {rows['n'].iloc[0]:,.0f} directions"
