"""Few numbers per representation: means over selected factors, and which families they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from otoscope.disentanglement.results import Disentanglement
from otoscope.errors import InputError, nearest
from otoscope.results import FAMILIES

SELECTIONS = ("top10_r2", "top10_completeness", "r2_floor")


def select_factors(table: pd.DataFrame, selection: str, *, score: str = "r2_cv", n: int = 10) -> pd.DataFrame:
    """Return the rows of `Disentanglement.factors` that a summary is made of.

    Parameters
    ----------
    table : DataFrame
        ``factor, ..., ranked``. Only ranked factors can be selected.
    selection : {"top10_r2", "top10_completeness", "r2_floor"}
        The `n` best by `score`, the `n` of highest completeness, or all ranked ones.
    score : {"r2_cv", "r2"}
        The R2 that counts: held out, or in-sample as published.
    n : int
        How many a "top" takes.

    Raises
    ------
    InputError
        If the selection or score is unknown.
    """
    if selection not in SELECTIONS:
        raise InputError(
            f"no selection '{selection}'{nearest(selection, SELECTIONS)} ({', '.join(SELECTIONS)})"
        )
    if score not in ("r2_cv", "r2"):
        raise InputError(f"score must be 'r2_cv' or 'r2'; got '{score}'")
    ranked = table[table.ranked]
    if selection == "top10_r2":
        return ranked.sort_values(score, ascending=False, kind="stable").head(n)
    if selection == "top10_completeness":
        complete = ranked[ranked.completeness.notna()]
        return complete.sort_values("completeness", ascending=False, kind="stable").head(n)
    return ranked


def summarise(
    result: Disentanglement, *, selections: Sequence[str] = SELECTIONS, score: str = "r2_cv", n: int = 10
) -> pd.DataFrame:
    """Return a row per selection: ``selection, r2_mean, r2_std, completeness_mean, completeness_std``, then more.

    ``r2_mean`` is of `score`; ``r2_cv_mean`` and ``r2_in_sample_mean`` name theirs. Deviations are over
    factors (ddof 0). ``n_factors`` may be below `n`: a factor under the floor is not ranked. NaN where none
    is selected.
    """
    rows = []
    for selection in selections:
        chosen = select_factors(result.factors, selection, score=score, n=n)
        rows.append(
            {
                "selection": selection,
                "r2_mean": chosen[score].mean(),
                "r2_std": chosen[score].std(ddof=0),
                "completeness_mean": chosen.completeness.mean(),
                "completeness_std": chosen.completeness.std(ddof=0),
                "effective_dims_mean": chosen.effective_dims.mean(),
                "r2_cv_mean": chosen.r2_cv.mean(),
                "r2_in_sample_mean": chosen.r2.mean(),
                "disentanglement": result.disentanglement,
                "n_factors": len(chosen),
            }
        )
    return pd.DataFrame(rows)


def family_counts(result: Disentanglement, *, score: str = "r2_cv", n: int = 10) -> pd.DataFrame:
    """Return one row: how many of the `n` best-predicted factors are of each family (Fig. 4), a column per family.

    Families other than the paper's seven follow in columns of their own.
    """
    best = select_factors(result.factors, "top10_r2", score=score, n=n)
    others = [family for family in result.factors.family.unique() if family not in FAMILIES]
    counts = best.family.value_counts().reindex([*FAMILIES, *others], fill_value=0)
    return counts.to_frame().T.astype(np.int64).reset_index(drop=True).rename_axis(columns=None)
