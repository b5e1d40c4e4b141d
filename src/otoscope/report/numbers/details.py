"""Numbers that are looked up rather than read: few latents, solutions that are not unique, what was not measured."""

from __future__ import annotations

import pandas as pd

from otoscope.report.run import Run

BY = ["encoder", "layer", "representation", "sparsity"]
SHARE = 0.95
"""A class is told apart by as few latents as reach this share of the whole code's average precision."""


def latents_needed(run: Run) -> pd.DataFrame | None:
    """Return ``encoder, layer, representation, sparsity, class, k_needed``, the larger where seeds differ.

    k is chosen on validation rows; None where these tell of no class.
    """
    from otoscope.probing import latents_needed as needed

    table = run.table("sparse_probing")
    if table is None:
        return None
    parts = []
    for key, here in table.groupby([*BY, "seed"], dropna=False, sort=False):
        parts.append(needed(here, share=SHARE).assign(**dict(zip(BY, key))))
    both = pd.concat(parts, ignore_index=True)
    if both.empty:
        return None
    return both.groupby([*BY, "class"], dropna=False, sort=False)["k_needed"].max().reset_index()


def free_shares(run: Run) -> pd.DataFrame | None:
    """Return ``encoder, layer, representation, sparsity, share``: of factors whose Lasso solution is not unique."""
    table = run.table("disentanglement")
    if table is None:
        return None
    lasso = table[(table["importance"] == "lasso") & table["r2"].notna()]
    free = lasso.assign(share=lasso["n_free"] > 0)
    return free.groupby(BY, dropna=False, sort=False)["share"].mean().reset_index()


def problem_counts(run: Run) -> list[tuple[str, int]]:
    """Return (reason, how many clips) of factors that could not be measured, the commonest first."""
    table = run.table("factor_problems")
    if table is None:
        return []
    counts = (
        table.groupby("problem", sort=False)["clip_id"].nunique().sort_values(ascending=False, kind="stable")
    )
    return [(str(reason), int(n)) for reason, n in counts.items()]
