"""Whether the dictionaries of a run are fit to be spoken of: their health, PCA beside them, and their stability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run
from otoscope.results import NULLS, layer_order, nearest_sparsity

STATES = ("healthy", "worn", "collapsed")
"""States of health.csv, from good to bad."""
COLLAPSED = STATES[-1]


@dataclass(frozen=True)
class LayerHealth:
    """The health of one layer's dictionaries.

    Attributes
    ----------
    encoder, layer
    state : {"healthy", "worn", "collapsed"}
        Of the dictionaries at the sparsity nearest to 95 %, the worst over seeds.
    verdict : str
        In words, with the numbers behind it.
    sparsity : float
        Which that is.
    alive, silent, n_latents, fvu, pca_fvu
        Of the dictionary that the verdict is on: how many latents live, how many are silent on held-out rows, of how
        many; what it loses of the variance of held-out rows, and what PCA with as many components does.
    others : dict of str to list of float
        State -> the other sparsities whose worst seed is in it.
    """

    encoder: str
    layer: int | str
    state: str
    verdict: str
    sparsity: float
    alive: int
    silent: int
    n_latents: int
    fvu: float
    pca_fvu: float
    others: dict[str, list[float]]


def layer_health(run: Run) -> list[LayerHealth]:
    """Return the health of each layer that was split into latents, in the order of depth; empty without the table."""
    table = run.table("health")
    if table is None:
        return []
    found = []
    for (encoder, layer), here in table.groupby(["encoder", "layer"], sort=False):
        worst = {s: _worst(rows) for s, rows in here.groupby("sparsity")}
        usual = nearest_sparsity(worst)
        row = _worst(here) if usual is None else worst.pop(usual)
        others: dict[str, list[float]] = {}
        for sparsity, other in worst.items():
            others.setdefault(other.state, []).append(float(sparsity))
        own = float("nan") if usual is None else usual
        counts = (int(row.alive), int(row.dead_held_out), int(row.n_latents))
        numbers = (*counts, float(row.fvu), float(row.pca_fvu))
        found.append(LayerHealth(str(encoder), layer, row.state, row.verdict, own, *numbers, others))
    return sorted(found, key=lambda health: (health.encoder, layer_order(health.layer)))


def collapse(run: Run, encoder: str, layer: int | str, sparsity: float) -> str:
    """Return the verdict on a dictionary that has collapsed in any seed; an empty text if none has."""
    table = run.table("health")
    if table is None:
        return ""
    here = table[(table["encoder"] == encoder) & (table["layer"] == layer) & (table["sparsity"] == sparsity)]
    here = here[here["state"] == COLLAPSED]
    return str(here["verdict"].iloc[0]) if len(here) else ""


def collapsed(run: Run) -> list[tuple[str, int | str, float]]:
    """Return (encoder, layer, sparsity) of the dictionaries that collapsed in any seed."""
    table = run.table("health")
    if table is None:
        return []
    rows = table.loc[table["state"] == COLLAPSED, ["encoder", "layer", "sparsity"]].drop_duplicates()
    return [(row.encoder, row.layer, row.sparsity) for row in rows_of(rows)]


def pca_errors(run: Run) -> pd.DataFrame | None:
    """Return ``encoder, layer, sparsity, seed, fvu, mse``: of PCA with as many components as latents are active.

    From the reconstruction by nulls where a run has one, else from its health; MSE is then missing.
    """
    nulls, health = run.nulls.get("reconstruction"), run.table("health")
    columns = ["encoder", "layer", "sparsity", "seed", "fvu", "mse"]
    if nulls is not None and (nulls["representation"] == "pca").any():
        return nulls.loc[nulls["representation"] == "pca", columns]
    if health is None or health["pca_fvu"].isna().all():
        return None
    return health.assign(fvu=health["pca_fvu"], mse=float("nan"))[columns]


def recurring(run: Run) -> pd.DataFrame | None:
    """Return ``encoder, layer, sparsity, representation, pairs`` and means over pairs of seeds of stability.csv."""
    table = run.table("stability")
    if table is None:
        return None
    by = ["encoder", "layer", "sparsity", "representation"]
    values = ["n_matched", "pw_mcc", "matched_cosine", "recurring_0.7", "recurring_0.9"]
    groups = table.groupby(by, dropna=False, sort=False)
    means = groups[values].mean().assign(pairs=groups.size()).reset_index()
    order = means.assign(
        layer=means["layer"].map(layer_order),
        representation=means["representation"].map(
            lambda name: 1 + NULLS.index(name) if name in NULLS else 0
        ),
    )
    means = means.loc[order.sort_values(by, kind="stable").index].reset_index(drop=True)
    return means.rename(columns=lambda name: name.replace("0.", "0_"))


def _worst(rows: pd.DataFrame) -> Any:
    return max(rows_of(rows), key=lambda row: STATES.index(row.state) if row.state in STATES else -1)
