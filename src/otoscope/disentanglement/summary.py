"""Few numbers per representation: means over selected factors, and which families they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from otoscope.disentanglement.results import Disentanglement
from otoscope.errors import InputError, nearest
from otoscope.results import FAMILIES

SCORES = ("r2_counted", "r2_cv", "r2")
SELECTIONS = ("top10_r2", "top10_completeness", "r2_floor")
"""Each representation's own factors; `SAME` are those of all."""
SAME = "same"
SUMMARY = (
    "r2_mean", "r2_std", "completeness_mean", "completeness_std", "effective_dims_mean", "r2_cv_mean",
    "r2_in_sample_mean", "r2_label_mean", "r2_beyond_mean", "effective_dims_matched_mean",
    "completeness_published_mean", "disentanglement", "n_factors",
)  # fmt: skip
"""Columns of a summary, after the selection."""


def select_factors(
    table: pd.DataFrame, selection: str, *, score: str = "r2_counted", n: int = 10
) -> pd.DataFrame:
    """Return the rows of `Disentanglement.factors` that a summary is made of.

    Parameters
    ----------
    table : DataFrame
        ``factor, ..., ranked``. Only ranked factors can be selected.
    selection : {"top10_r2", "top10_completeness", "r2_floor"}
        The `n` best by `score`, the `n` of highest completeness, or all ranked ones.
    score : {"r2_counted", "r2_cv", "r2"}
        Held-out R2, beyond the label where a factor is the label's; held-out R2 whatever the label says; or
        in-sample, as published. By the score that chooses, the chosen look better than they are: `cross_fitted`
        scores them elsewhere.
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
    if score not in SCORES:
        raise InputError(f"no score '{score}'{nearest(score, SCORES)} ({', '.join(SCORES)})")
    ranked = table[table.ranked]
    if selection == "top10_r2":
        return ranked.sort_values(score, ascending=False, kind="stable").head(n)
    if selection == "top10_completeness":
        complete = ranked[ranked.completeness.notna()]
        return complete.sort_values("completeness", ascending=False, kind="stable").head(n)
    return ranked


def summarise(
    result: Disentanglement, *, selections: Sequence[str] = SELECTIONS, score: str = "r2_counted", n: int = 10
) -> pd.DataFrame:
    """Return a row per selection: ``selection, r2_mean, r2_std, completeness_mean, completeness_std``, then more.

    ``r2_mean`` is of `score`; the other means name their column. Deviations are over
    factors (ddof 0). ``n_factors`` may be below `n`: a factor under the floor is not ranked. NaN where none
    is selected.
    """
    rows = []
    for selection in selections:
        chosen = select_factors(result.factors, selection, score=score, n=n)
        scores = {"r2_mean": chosen[score].mean(), "r2_std": chosen[score].std(ddof=0)}
        rows.append(
            {"selection": selection, **scores, **_means(chosen), "disentanglement": result.disentanglement}
        )
    return pd.DataFrame(rows, columns=["selection", *SUMMARY])


def same_factors(
    dense: pd.DataFrame, codes: Sequence[pd.DataFrame], *, floor: float, n: int = 10
) -> pd.DataFrame:
    """Return the factors over which all representations of a layer are compared, and what counts as their R2.

    They are the `n` best by the sum of what the dense layer and the codes (mean over seeds) hold, at least one of
    them `floor`. A factor that is the label's in either counts beyond the label in all.

    Parameters
    ----------
    dense : DataFrame
        `Disentanglement.factors` of the dense layer, held out.
    codes : sequence of DataFrame
        The same of codes: those of one sparsity, all seeds.
    floor : float
        Held-out R2 under which a factor counts as not predicted.
    n : int
        How many at most.

    Returns
    -------
    DataFrame
        ``factor, beyond``, best first; ``beyond``: its R2 is that beyond the label.
    """
    tables = [table.set_index("factor") for table in (dense, *codes)]
    owned = pd.concat([table["label_owned"].astype(bool) for table in tables], axis=1).any(axis=1)
    scores = [_scored(table, owned) for table in tables]
    both = pd.DataFrame({"dense": scores[0], "codes": pd.concat(scores[1:], axis=1).mean(axis=1)}).dropna()
    both = both[(both >= floor).any(axis=1)]
    best = both.sum(axis=1).sort_values(ascending=False, kind="stable").head(n).index
    return pd.DataFrame({"factor": best, "beyond": owned[best].to_numpy()})


def summarise_same(result: Disentanglement, same: pd.DataFrame, *, floor: float) -> pd.DataFrame:
    """Return one row as of `summarise`, called "same": over the factors of `same_factors`.

    The R2 are means over all of them; completeness and dimensions, which say nothing of what is not predicted, over
    the ``n_factors`` of them that the representation holds at `floor` or better.
    """
    table = result.factors.set_index("factor").loc[same["factor"]]
    score = _scored(table, same.set_index("factor")["beyond"])
    held = _means(table[score >= floor])
    r2 = {name: value for name, value in _means(table).items() if name.startswith("r2_")}
    row = {"selection": SAME, "r2_mean": score.mean(), "r2_std": score.std(ddof=0), **held, **r2}
    return pd.DataFrame([{**row, "disentanglement": result.disentanglement}], columns=["selection", *SUMMARY])


def _scored(table: pd.DataFrame, beyond: pd.Series) -> pd.Series:
    """Return the held-out R2 of each factor: beyond the label, where that counts."""
    return table["r2_cv"].where(~beyond.reindex(table.index), table["r2_beyond"])


def _means(chosen: pd.DataFrame) -> dict[str, float]:
    """Return the means over factors that need no choice of score."""
    return {
        "completeness_mean": chosen.completeness.mean(),
        "completeness_std": chosen.completeness.std(ddof=0),
        "effective_dims_mean": chosen.effective_dims.mean(),
        "r2_cv_mean": chosen.r2_cv.mean(),
        "r2_in_sample_mean": chosen.r2.mean(),
        "r2_label_mean": chosen.r2_label.mean(),
        "r2_beyond_mean": chosen.r2_beyond.mean(),
        "effective_dims_matched_mean": chosen.effective_dims_matched.mean(),
        "completeness_published_mean": chosen.completeness_published.mean(),
        "n_factors": len(chosen),
    }


def family_counts(result: Disentanglement, *, score: str = "r2_counted", n: int = 10) -> pd.DataFrame:
    """Return one row: how many of the `n` best-predicted factors are of each family (Fig. 4), a column per family.

    Families other than the paper's seven follow in columns of their own.
    """
    best = select_factors(result.factors, "top10_r2", score=score, n=n)
    others = [family for family in result.factors.family.unique() if family not in FAMILIES]
    counts = best.family.value_counts().reindex([*FAMILIES, *others], fill_value=0)
    return counts.to_frame().T.astype(np.int64).reset_index(drop=True).rename_axis(columns=None)
