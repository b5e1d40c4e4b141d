"""Disentanglement by one Lasso per factor: `measure_disentanglement` holds out, `measure_in_sample` does not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from otoscope.clips import group_folds
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.disentanglement.crossval import cross_validate
from otoscope.disentanglement.lasso import lasso_gram
from otoscope.disentanglement.results import (
    FEWEST_GROUPS,
    Disentanglement,
    check_codes,
    check_groups,
    empty_table,
    fill,
    patterns,
    scored,
)
from otoscope.disentanglement.scaling import standardised
from otoscope.disentanglement.uniqueness import free_directions

Key = TypeVar("Key", bound=Hashable)

ALPHAS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
"""Penalties to choose from, for standardised codes and factors; 0.1 is the paper's."""

R2_FLOOR = 0.1
"""Held-out R2 below which a factor is not ranked: nothing can be said about where it is held."""


def measure_disentanglement(
    codes: np.ndarray,
    factors: pd.DataFrame,
    *,
    groups: Sequence | np.ndarray | None = None,
    families: Mapping[str, str] | None = None,
    alphas: Sequence[float] = ALPHAS,
    n_folds: int = 5,
    r2_floor: float = R2_FLOOR,
    workers: int | None = None,
) -> Disentanglement:
    """Measure what `codes` say about each factor on groups they were not fitted on.

    ``r2_cv`` is the R2 of pooled out-of-fold predictions, folds being whole groups and the penalty chosen
    inside each. ``r2``, completeness and effective dimensions come from one refit on all rows. A factor under
    `r2_floor` is not ranked, and one without a coefficient has no completeness (NaN). NaN in a factor leaves
    its row out, for that factor.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
        Codes or dense activations.
    factors : DataFrame [rows, factors]
        One numeric column per factor, in the order of `codes`.
    groups : sequence [rows], optional
        What must not be in two folds (singer, speaker); default: each row is its own.
    families : mapping, optional
        Family of each factor, copied to the table.
    alphas : sequence of float
        Penalties to choose from.
    n_folds : int
        At most as many as there are groups.
    r2_floor : float
        Factors with a lower ``r2_cv`` are not ranked.
    workers : int, optional
        Threads; default: as many as there are cores.

    Raises
    ------
    InputError
        If shapes do not match, codes are not finite, or there are fewer than 3 groups.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> codes = np.random.default_rng(0).standard_normal((200, 5))
    >>> found = measure_disentanglement(codes, pd.DataFrame({"f0_hz": 100 + 20 * codes[:, 2]})).factors
    >>> found.r2_cv.round(2).item(), found.effective_dims.round(2).item()
    (1.0, 1.0)
    """
    x, y = check_codes(codes, factors)
    known_groups = check_groups(groups, len(x))
    table = empty_table(factors, families)
    weights = np.zeros((x.shape[1], y.shape[1]))
    for rows, columns in patterns(y, known_groups):
        folds = group_folds(known_groups[rows], max(n_folds, FEWEST_GROUPS))
        with one_thread_each():
            held_out = cross_validate(
                x[rows], y[rows][:, columns], folds, np.asarray(alphas), workers=workers
            )
        fit = _refit(x[rows], y[rows][:, columns], held_out.alpha, workers)
        weights[:, columns] = fit.weights
        fill(table, columns, r2=fit.r2, r2_cv=held_out.r2_cv, alpha=held_out.alpha, n_rows=len(rows))
        fill(table, columns, n_free=fit.n_free)
    table["ranked"] = table.r2_cv >= r2_floor
    return scored(table, weights, empty=np.nan)


def measure_in_sample(
    codes: np.ndarray,
    factors: pd.DataFrame,
    *,
    families: Mapping[str, str] | None = None,
    alpha: float = 0.1,
    empty_completeness: float = 1.0,
    workers: int | None = None,
) -> Disentanglement:
    """Fit one Lasso per factor at a fixed penalty and score it on the rows it was fitted on, as published.

    Every factor is ranked, and one without a coefficient has the completeness `empty_completeness`: 1.0 in
    the published code (0/eps has no entropy). Nothing is held out; `measure_disentanglement` says what
    generalises.

    Parameters, Returns and Raises are those of `measure_disentanglement`.
    """
    x, y = check_codes(codes, factors)
    table = empty_table(factors, families)
    weights = np.zeros((x.shape[1], y.shape[1]))
    for rows, columns in patterns(y):
        penalties = np.full(len(columns), float(alpha))
        fit = _refit(x[rows], y[rows][:, columns], penalties, workers)
        weights[:, columns] = fit.weights
        fill(table, columns, r2=fit.r2, alpha=penalties, n_rows=len(rows), n_free=fit.n_free)
    table["ranked"] = table.r2.notna()
    return scored(table, weights, empty=empty_completeness)


def measure_all(
    representations: Mapping[Key, np.ndarray],
    factors: pd.DataFrame | Mapping[Key, pd.DataFrame],
    *,
    measure: Callable[..., Disentanglement] = measure_disentanglement,
    workers: int | None = None,
    on_done: Callable[[Key], None] | None = None,
    **options,
) -> dict[Key, Disentanglement]:
    """Measure many representations of the same rows, several at a time.

    Parameters
    ----------
    representations : mapping to np.ndarray [rows, latents]
        Dense activations, codes, nulls, by any key.
    factors : DataFrame [rows, factors] or mapping
        Shared, or one for each key (the null "shuffled" has its own).
    measure : callable
        `measure_disentanglement` or `measure_in_sample`.
    workers : int, optional
        Representations at a time, each on one core; default: as many as there are cores.
    on_done : callable, optional
        Called with each key once it is measured, in order.
    **options
        Of `measure`.
    """

    def one(key: Key) -> Disentanglement:
        own = factors if isinstance(factors, pd.DataFrame) else factors[key]
        return measure(representations[key], own, workers=1, **options)

    results = {}
    with one_thread_each():
        found = thread_map(one, representations, workers=workers or cpu_count())
        for key, result in zip(representations, found):
            results[key] = result
            if on_done:
                on_done(key)
    return results


@dataclass(frozen=True)
class _Refit:
    weights: np.ndarray  # [latents, factors], absolute
    r2: np.ndarray  # [factors], in-sample
    n_free: np.ndarray  # [factors]


def _refit(x: np.ndarray, y: np.ndarray, alphas: np.ndarray, workers: int | None) -> _Refit:
    """Fit all rows, each factor at its penalty."""
    x, y = standardised(x), standardised(y)
    n = len(x)
    gram, xy = x.T @ x / n, y.T @ x / n
    coefs = lasso_gram(gram, xy, (y**2).mean(axis=0), alphas[:, None], workers=workers)[:, 0]
    residuals = y - x @ coefs.T
    return _Refit(
        np.abs(coefs.T),
        1 - (residuals**2).sum(axis=0) / (y**2).sum(axis=0),
        np.array([free_directions(gram, xy[j], coefs[j], alphas[j]) for j in range(len(coefs))]),
    )
