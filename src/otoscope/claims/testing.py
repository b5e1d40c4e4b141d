"""The takeaways of Mariotte et al. (2025), each tested on the result tables of a run by a stated rule.

A claim is tested layer by layer, then summed up: "yes" where it holds in every layer that could be tested, "no" where
in none, "in part" between. Under in-sample R2 a claim about disentanglement that holds is "as published, not held
out". What cannot be tested, for want of a table, of clips or of factors, is "not tested", with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pandas as pd

from otoscope.claims.evidence import Rules, Untestable
from otoscope.claims.takeaways import TAKEAWAYS
from otoscope.claims.verdicts import Found
from otoscope.results import NOT_TESTED, TABLES, entropy_column, r2_column


def claims(
    tables: Mapping[str, pd.DataFrame],
    *,
    protocol: str,
    fit: Literal["held_out", "in_sample"],
    entropy: Literal["knn", "histogram"] = "knn",
    top: int = 10,
    chance: float | None = None,
    n_bootstrap: int = 2000,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every takeaway on the result tables of one run.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As in ``RUN/results``, by file name without ``.csv``: reconstruction, comparisons, layer_probing,
        disentanglement, factor_entropy. A claim whose table is missing is not tested.
    protocol : str
        Whose rules the run followed; copied to the table.
    fit : {"held_out", "in_sample"}
        Which R2 counts: ``r2_cv``, or ``r2`` of the very rows that were fitted.
    entropy : {"knn", "histogram"}
        The estimate of entropy that completeness is set against.
    top : int
        How many best-predicted factors R2, completeness and dimensions are averaged over.
    chance : float, optional
        Accuracy of a constant answer. A layer whose dense probe is not shown to beat it has nothing to keep.
    n_bootstrap, n_permutations, seed : int
        Of the intervals over factors, and of the test of a rank correlation.

    Returns
    -------
    DataFrame
        ``claim, protocol, statement, measured, holds, rule, scope``, a row per claim. `holds` is "yes", "no", "in
        part", "as published, not held out" or "not tested"; `scope` is what it was tested on.
    """
    rules = Rules(
        score=r2_column(fit),
        entropy_column=entropy_column(entropy),
        top=top,
        chance=chance,
        n_bootstrap=n_bootstrap,
        n_permutations=n_permutations,
        seed=seed,
    )
    rows = []
    for takeaway in TAKEAWAYS:
        try:
            found = takeaway.test(tables, rules)
        except Untestable as reason:
            found = Found(str(reason), NOT_TESTED, "")
        said = (takeaway.name, protocol, takeaway.statement, found.measured, found.holds)
        rows.append((*said, takeaway.rule, found.scope))
    return pd.DataFrame(rows, columns=list(TABLES["claims"].names))
