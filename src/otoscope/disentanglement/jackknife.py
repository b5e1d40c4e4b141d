"""Intervals over groups for what has no value per group: leave out each group once, and see how much it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.disentanglement.lasso import lasso_gram
from otoscope.disentanglement.results import Disentanglement, check_codes, check_groups
from otoscope.disentanglement.scaling import standardised
from otoscope.disentanglement.scores import effective_dims


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
    groups: Sequence | np.ndarray | None,
    *,
    level: float = 0.95,
    workers: int | None = None,
) -> pd.DataFrame:
    """Return each factor's intervals over groups: of held-out R2, effective dimensions and completeness.

    ``factor, n_groups``, then ``_low`` and ``_high`` of ``r2_cv, effective_dims, completeness``. R2 is that of the
    remaining groups' predictions. Dimensions are of a refit without the group at the factor's own penalty; their
    interval is that of the entropy H, from which both scores follow. NaN where a fit is empty.

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
    table = pd.DataFrame({"factor": result.factors.factor, "n_groups": 0})
    alphas, base = result.factors.alpha.to_numpy(), result.factors.base.to_numpy()
    names = [
        f"{name}_{end}" for name in ("r2_cv", "effective_dims", "completeness") for end in ("low", "high")
    ]
    table[names] = np.nan
    for column in np.flatnonzero(np.isfinite(alphas)):
        rows = np.flatnonzero(np.isfinite(y[:, column]))
        scores = _Statistic(x[rows], y[rows, column], alphas[column], result, rows, column)
        with one_thread_each():
            found = jackknife(scores, known_groups[rows], level=level, workers=workers or cpu_count())
        (r2_low, low), (r2_high, high) = found.low, found.high
        divisor = np.log(base[column]) if base[column] > 1 else np.nan
        table.loc[column, ["n_groups", *names]] = [
            found.n_groups, r2_low, r2_high, np.exp(low), np.exp(high), 1 - high / divisor, 1 - low / divisor
        ]  # fmt: skip
    return table


class _Statistic:
    """Held-out R2 and the entropy of the refit's weights, for one factor, of the rows kept."""

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        alpha: float,
        result: Disentanglement,
        rows: np.ndarray,
        column: int,
    ) -> None:
        assert result.held_out is not None
        self.x, self.y, self.alpha = x, y, alpha
        self.predicted = result.held_out.predictions[rows, column].astype(np.float64)

    def __call__(self, kept: np.ndarray) -> np.ndarray:
        truth = self.y[kept]
        r2 = 1 - ((truth - self.predicted[kept]) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
        x, y = standardised(self.x[kept]), standardised(truth)
        n = len(x)
        weights = lasso_gram(
            x.T @ x / n, y[None] @ x / n, np.array([(y**2).mean()]), np.array([self.alpha]), workers=1
        )
        return np.array([r2, np.log(effective_dims(np.abs(weights[0].T)))[0]])
