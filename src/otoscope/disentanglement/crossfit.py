"""The best factors, chosen on other folds than they are scored on, and the same for all that are compared.

The ten best of many by one and the same score are too good by what luck had in it; and two representations that each
bring their own ten are compared on different factors. Here the even folds choose for the odd ones, and the odd for
the even.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from otoscope.disentanglement.leave_one_out import Jackknife, jackknife
from otoscope.disentanglement.measure import R2_FLOOR
from otoscope.disentanglement.results import Disentanglement
from otoscope.errors import InputError


@dataclass(frozen=True)
class CrossFitted:
    """What was chosen, and how it scores where it was not chosen.

    Attributes
    ----------
    factors : DataFrame
        ``half, factor, beyond_label``, then a column of R2 per representation: a row for each factor chosen, scored
        on the folds of ``half`` ("even" or "odd") and chosen on the others. ``beyond_label``: R2 is within
        classes, for all of them, as the factor is the label's in one.
    means : Series
        The mean of each column: of the halves, each the mean over its factors. NaN where none was good enough.
    """

    factors: pd.DataFrame
    means: pd.Series


def cross_fitted(
    results: Mapping[Hashable, Disentanglement],
    *,
    n: int = 10,
    r2_floor: float = R2_FLOOR,
    rows: np.ndarray | None = None,
    by: Sequence[Hashable] | None = None,
) -> CrossFitted:
    """Choose the `n` factors that are predicted best, on average over the representations, and score them elsewhere.

    Parameters
    ----------
    results : mapping
        Held-out measurements of the same factors in the same rows and folds, of any representations.
    n : int
        How many factors; fewer where fewer reach `r2_floor` on the folds that choose.
    r2_floor : float
        Of the mean over the representations.
    rows : np.ndarray of bool [rows], optional
        Rows that are scored; all rows choose. A jackknife leaves out groups this way.
    by : sequence of keys, optional
        Representations that have a say in the choice; default: all. A null to be put beside needs none.

    Raises
    ------
    InputError
        If the results are of different factors, rows or folds, or nothing was held out.
    """
    owned = _check_alike(results)
    names = next(iter(results.values())).factors.factor.to_numpy()
    tables = []
    for half, parity in (("even", 0), ("odd", 1)):
        choose = _scores(results, owned, 1 - parity, None)
        merit = np.mean([choose[key] for key in (by or results)], axis=0)
        best = np.argsort(-np.nan_to_num(merit, nan=-np.inf), kind="stable")[:n]
        best = best[np.nan_to_num(merit[best], nan=-np.inf) >= r2_floor]
        score = _scores(results, owned, parity, rows)
        columns = {key: values[best] for key, values in score.items()}
        tables.append(
            pd.DataFrame({"half": half, "factor": names[best], "beyond_label": owned[best], **columns})
        )
    factors = pd.concat(tables, ignore_index=True)
    means = factors.groupby("half")[list(results)].mean().reindex(["even", "odd"]).mean(skipna=False)
    return CrossFitted(factors, means)


def compare_best(
    a: Disentanglement,
    b: Disentanglement,
    groups: Sequence | np.ndarray,
    *,
    n: int = 10,
    r2_floor: float = R2_FLOOR,
    level: float = 0.95,
) -> Jackknife:
    """Return the mean R2 of the best factors in `a` minus that of the same in `b`, and its interval over groups.

    The factors are chosen once; the jackknife leaves a group out of what is scored.
    """
    groups = np.asarray(groups)

    def difference(kept: np.ndarray) -> float:
        means = cross_fitted({"a": a, "b": b}, n=n, r2_floor=r2_floor, rows=kept).means
        return float(means["a"] - means["b"])

    return jackknife(difference, groups, level=level)


def _scores(
    results: Mapping[Hashable, Disentanglement], owned: np.ndarray, parity: int, rows: np.ndarray | None
) -> dict[Hashable, np.ndarray]:
    """Return the R2 that counts [factors] of each representation on every second fold."""
    found = {}
    for key, result in results.items():
        held_out = result.held_out
        assert held_out is not None
        mask = held_out.folds % 2 == parity
        if rows is not None:
            mask &= np.asarray(rows, dtype=bool)[:, None]
        plain = held_out.r2(mask)
        found[key] = np.where(owned, held_out.r2_beyond(mask), plain) if owned.any() else plain
    return found


def _check_alike(results: Mapping[Hashable, Disentanglement]) -> np.ndarray:
    """Return which factors [factors] are the label's in any of the representations."""
    tables = [result.factors for result in results.values()]
    held_out = [result.held_out for result in results.values()]
    if not tables:
        raise InputError("nothing to choose factors of: no representation was given")
    first = held_out[0]
    for key, table, own in zip(results, tables, held_out):
        if own is None or first is None:
            raise InputError(f"'{key}' has no held-out predictions; measure it by measure_disentanglement")
        if list(table.factor) != list(tables[0].factor) or not np.array_equal(own.folds, first.folds):
            raise InputError(
                f"'{key}' was not measured on the factors, rows and folds of '{next(iter(results))}'; measure all "
                "with the same factors, groups and n_folds"
            )
    return np.any([table.label_owned.to_numpy(dtype=bool) for table in tables], axis=0)
