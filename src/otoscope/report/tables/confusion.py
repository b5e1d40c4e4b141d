"""Confusion matrices of the best layers' probes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from otoscope import wording
from otoscope.report.run import Run


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: counts, and each row's shares for the shading."""

    title: str
    classes: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    note: str


def confusion(run: Run, *, most: int = 30) -> list[Confusion]:
    """Return a confusion matrix per encoder; with more than `most` classes, none."""
    table = run.table("confusion")
    if table is None:
        return []
    found = []
    for (encoder, layer), here in table.groupby(["encoder", "layer"], sort=False):
        classes = list(dict.fromkeys([*here["truth"], *here["predicted"]]))
        if len(classes) > most:
            continue
        counts = here.pivot_table(
            index="truth", columns="predicted", values="count", aggfunc="sum", fill_value=0
        )
        counts = counts.reindex(index=classes, columns=classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        title = f"Confusion of the probe on {wording.place(str(encoder), layer, encoders=table['encoder'].nunique())}"
        found.append(
            Confusion(
                title,
                classes,
                counts.astype(int).to_numpy().tolist(),
                shares.to_numpy().tolist(),
                _mix_ups(counts),
            )
        )
    return found


def _mix_ups(counts: pd.DataFrame) -> str:
    """Say which two classes are taken for another most often."""
    pairs = [
        (int(counts.loc[truth, predicted]), str(truth), str(predicted))
        for truth in counts.index
        for predicted in counts.columns
        if truth != predicted
    ]
    worst = [pair for pair in sorted(pairs, key=lambda pair: -pair[0])[:3] if pair[0] > 0]
    if not worst:
        return "No clip was taken for another class."
    said = [f"{truth} for {predicted} ({n})" for n, truth, predicted in worst]
    return f"Rows: the truth; columns: what the probe says. Most often taken for another: {wording.listing(said)}."
