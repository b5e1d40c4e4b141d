"""Intervals over groups for what has no value per group: leave out each group once, and see how much it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.disentanglement.lasso import lasso_gram
from otoscope.disentanglement.results import Disentanglement, check_codes, check_groups, patterns
from otoscope.disentanglement.scaling import standardised
from otoscope.disentanglement.scores import effective_dims
from otoscope.errors import InputError


class Jackknife(NamedTuple):
    """A statistic of all groups, its standard error and its interval (floats, or arrays alike)."""

    value: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_groups: int


def jackknife(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    groups: Sequence | np.ndarray,
    *,
    level: float = 0.95,
    workers: int = 1,
) -> Jackknife:
    """Return a statistic and its delete-one-group jackknife interval (Efron & Stein 1981; t, groups - 1 degrees).

    ``se^2 = (G - 1) / G * sum((value without g - their mean)^2)``. The estimand is the statistic over groups such as
    these. Fewer than 2 groups: NaN.

    Parameters
    ----------
    statistic : callable
        From the rows kept [rows] (bool) to a number, or an array of them.
    groups : sequence [rows]
    level : float
        Coverage.
    workers : int
        Threads.
    """
    from scipy.stats import t

    names, index = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    n = len(names)
    value = np.asarray(statistic(np.ones(len(index), dtype=bool)), dtype=np.float64)
    if n < 2:
        nothing = np.full(value.shape, np.nan)
        return Jackknife(value, nothing, nothing, nothing, n)
    without = np.array(list(thread_map(lambda g: statistic(index != g), range(n), workers=workers)))
    standard_error = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = t.ppf((1 + level) / 2, n - 1) * standard_error
    return Jackknife(value, standard_error, value - reach, value + reach, n)


def factor_intervals(
    codes: np.ndarray,
    factors: pd.DataFrame,
    result: Disentanglement,
    groups: Sequence | np.ndarray,
    *,
    level: float = 0.95,
    workers: int | None = None,
) -> pd.DataFrame:
    """Return each factor's intervals over groups: of held-out R2, effective dimensions and completeness.

    ``factor, n_groups``, then ``_low`` and ``_high`` of ``r2_cv, r2_beyond, effective_dims, completeness``. R2 is
    that of the remaining groups' predictions. Dimensions are of a refit without the group, at the factor's own
    penalty; their interval is that of the entropy H, from which both scores follow. NaN where a fit is empty.

    Parameters
    ----------
    codes, factors, groups
        What `result` was measured on.
    result : Disentanglement
        Of `measure_disentanglement`.
    level : float
        Coverage.
    workers : int, optional
        Threads; default: as many as there are cores.
    """
    x, y = check_codes(codes, factors)
    known_groups = check_groups(groups, len(x))
    held_out, alphas = result.held_out, result.factors.alpha.to_numpy()
    if held_out is None:
        raise InputError("nothing was held out; measure by measure_disentanglement")
    table = pd.DataFrame({"factor": result.factors.factor, "n_groups": 0})
    scores = ("r2_cv", "r2_beyond", "effective_dims", "completeness")
    table[[f"{name}_{end}" for name in scores for end in ("low", "high")]] = np.nan
    for rows, columns in patterns(y, known_groups):
        here_x, here_y, own = x[rows], y[np.ix_(rows, columns)], held_out.only(rows, columns)

        def statistic(kept: np.ndarray) -> np.ndarray:
            part_x, part_y = standardised(here_x[kept]), standardised(here_y[kept])  # noqa: B023 (used at once)
            n = len(part_x)
            gram, xy, yy = part_x.T @ part_x / n, part_y.T @ part_x / n, (part_y**2).mean(axis=0)
            coefs = lasso_gram(gram, xy, yy, alphas[columns][:, None], workers=1)[:, 0]  # noqa: B023
            entropy = np.log(effective_dims(np.abs(coefs.T)))
            return np.stack([own.r2(kept), own.r2_beyond(kept), entropy])  # noqa: B023

        with one_thread_each():
            found = jackknife(statistic, known_groups[rows], level=level, workers=workers or cpu_count())
        divisor = np.log(np.maximum(result.factors.base.to_numpy()[columns], 2))
        for end, r2, entropy in (
            ("low", found.low, found.high[2]),
            ("high", found.high, found.low[2]),
        ):
            table.loc[columns, f"r2_cv_{end}"], table.loc[columns, f"r2_beyond_{end}"] = r2[0], r2[1]
            table.loc[columns, f"effective_dims_{end}"] = np.exp(r2[2])
            table.loc[columns, f"completeness_{end}"] = 1 - entropy / divisor
        table.loc[columns, "n_groups"] = found.n_groups
    return table
