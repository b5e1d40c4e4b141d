"""Disentanglement by one Lasso per factor: `measure_disentanglement` holds out, `measure_in_sample` does not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from otoscope.clips import group_folds
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.disentanglement.crossval import cross_validate
from otoscope.disentanglement.held_out import HeldOut, label_predictions
from otoscope.disentanglement.lasso import lasso_gram
from otoscope.disentanglement.results import (
    FEWEST_GROUPS,
    Disentanglement,
    check_classes,
    check_codes,
    check_groups,
    empty_table,
    fill,
    living,
    patterns,
    rank,
    scored,
)
from otoscope.disentanglement.scaling import standardised
from otoscope.disentanglement.uniqueness import free_directions

Key = TypeVar("Key", bound=Hashable)

R2_FLOOR = 0.1
"""Held-out R2 below which a factor is not ranked: nothing can be said about where it is held."""


def measure_disentanglement(
    codes: np.ndarray,
    factors: pd.DataFrame,
    *,
    groups: Sequence | np.ndarray | None = None,
    classes: Sequence | np.ndarray | None = None,
    families: Mapping[str, str] | None = None,
    alphas: Sequence[float] | None = None,
    n_folds: int = 5,
    r2_floor: float = R2_FLOOR,
    base: int | None = None,
    workers: int | None = None,
) -> Disentanglement:
    """Measure what `codes` say about each factor on groups they were not fitted on.

    ``r2_cv`` is the R2 of pooled out-of-fold predictions, folds being whole groups and the penalty chosen
    inside each. ``r2``, completeness and effective dimensions come from one refit on all rows. Given
    `classes`, what the label alone predicts stands beside it, and what the codes hold beyond; a factor that is
    the label's counts by the latter. A factor that counts for less than `r2_floor` is not ranked, and one
    without a coefficient has no completeness (NaN). NaN in a factor leaves its row out, for that factor.
    `COLUMNS` says what each column is.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
        Codes or dense activations.
    factors : DataFrame [rows, factors]
        One numeric column per factor, in the order of `codes`.
    groups : sequence [rows], optional
        What must not be in two folds (singer, speaker); default: each row is its own.
    classes : sequence [rows], optional
        The label of each row: the null that any factor has to beat.
    families : mapping, optional
        Family of each factor, copied to the table.
    alphas : sequence of float, optional
        Penalties to choose from; default: a grid from the data, extended downwards, per factor, while the
        weakest is the best (`crossval`).
    n_folds : int
        At most as many as there are groups.
    r2_floor : float
        Factors whose R2 is lower are not ranked.
    base : int, optional
        How many dimensions completeness divides by the log of. Representations are comparable on one base only
        (`measure_all` sees to it); default: as many as are alive.
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
    known_classes = None if classes is None else check_classes(classes, len(x))
    table = empty_table(factors, families)
    weights, matched = (np.zeros((x.shape[1], y.shape[1])) for _ in range(2))
    held_out = HeldOut.empty(y)
    for rows, columns in patterns(y, known_groups):
        folds = group_folds(known_groups[rows], max(n_folds, FEWEST_GROUPS))
        here = (x[rows], y[rows][:, columns], folds, None if alphas is None else np.asarray(alphas))
        place = np.ix_(rows, columns)
        with one_thread_each():
            found = cross_validate(*here, workers=workers)
            if known_classes is not None:
                inside = cross_validate(*here, classes=known_classes[rows], workers=workers)
                held_out.label[place], held_out.within[place] = inside.baseline, inside.predictions
                fill(table, columns, r2_beyond=inside.r2_cv)
        held_out.predictions[place], held_out.folds[place] = found.predictions, folds[:, None]
        both = np.column_stack([found.alpha_matched, found.alpha])
        fit = _refit(*here[:2], both, workers)
        weights[:, columns], matched[:, columns] = fit.weights[1], fit.weights[0]
        for name in ("r2_cv", "r2_cv_matched", "alpha", "alpha_matched", "weak_edge", "strong_edge"):
            fill(table, columns, **{name: getattr(found, name)})
        fill(table, columns, r2=fit.r2, n_rows=len(rows), n_free=fit.n_free)
    table["r2_label"] = held_out.r2_label()
    rank(table, r2_floor)
    n_alive = living(x)
    return scored(table, weights, n_alive=n_alive, base=base or n_alive, matched=matched, held_out=held_out)


def measure_label(
    classes: Sequence | np.ndarray,
    factors: pd.DataFrame,
    *,
    groups: Sequence | np.ndarray | None = None,
    families: Mapping[str, str] | None = None,
    n_folds: int = 5,
    r2_floor: float = R2_FLOOR,
) -> Disentanglement:
    """Measure the label null, a representation that has heard nothing: each class's mean over the training folds.

    It is held out by the same folds as `measure_disentanglement`; a class absent from them gets the grand mean. It
    has no dimensions, so no completeness. All that it predicts is ranked by that, being what others must beat.

    Parameters, Returns and Raises are those of `measure_disentanglement`.
    """
    known_classes = check_classes(classes, len(factors))
    _, y = check_codes(np.zeros((len(factors), 1)), factors)
    known_groups = check_groups(groups, len(factors))
    table = empty_table(factors, families)
    held_out = HeldOut.empty(y)
    for rows, columns in patterns(y, known_groups):
        folds = group_folds(known_groups[rows], max(n_folds, FEWEST_GROUPS))
        place = np.ix_(rows, columns)
        truth, own = y[place], known_classes[rows]
        for array in (held_out.predictions, held_out.label, held_out.within):
            array[place] = label_predictions(truth, own, folds)
        held_out.folds[place] = folds[:, None]
        fitted = label_predictions(truth, own, None)
        in_sample = 1 - ((truth - fitted) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
        fill(table, columns, r2=in_sample, n_rows=len(rows))
    table["r2_cv"] = table["r2_label"] = table["r2_counted"] = held_out.r2()
    table["r2_beyond"] = held_out.r2_beyond()
    table["ranked"] = table.r2_cv >= r2_floor
    nothing = np.zeros((1, y.shape[1]))
    return scored(table, nothing, n_alive=0, held_out=held_out)


def measure_in_sample(
    codes: np.ndarray,
    factors: pd.DataFrame,
    *,
    families: Mapping[str, str] | None = None,
    alpha: float = 0.1,
    empty_completeness: float = 1.0,
    base: int | None = None,
    workers: int | None = None,
) -> Disentanglement:
    """Fit one Lasso per factor at a fixed penalty and score it on the rows it was fitted on, as published.

    Every factor is ranked, and one without a coefficient has the completeness `empty_completeness`: 1.0 in
    the published code (0/eps has no entropy). Completeness divides by the log of the code's own width unless a
    `base` is given. Nothing is held out; `measure_disentanglement` says what generalises.

    Parameters, Returns and Raises are those of `measure_disentanglement`.
    """
    x, y = check_codes(codes, factors)
    table = empty_table(factors, families)
    weights = np.zeros((x.shape[1], y.shape[1]))
    for rows, columns in patterns(y):
        penalties = np.full(len(columns), float(alpha))
        fit = _refit(x[rows], y[rows][:, columns], penalties[:, None], workers)
        weights[:, columns] = fit.weights[0]
        fill(table, columns, r2=fit.r2, alpha=penalties, n_rows=len(rows), n_free=fit.n_free)
    table["r2_counted"], table["ranked"] = table.r2, table.r2.notna()
    return scored(table, weights, n_alive=living(x), base=base, empty=empty_completeness)


def measure_all(
    representations: Mapping[Key, np.ndarray],
    factors: pd.DataFrame | Mapping[Key, pd.DataFrame],
    *,
    measure: Callable[..., Disentanglement] = measure_disentanglement,
    base: int | Literal["common"] | None = "common",
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
    base : int, "common" or None
        Of completeness: a number of dimensions; the most that are alive in any of the representations, so that
        all are comparable; or what `measure` has by default, each representation's own.
    workers : int, optional
        Representations at a time, each on one core; default: as many as there are cores.
    on_done : callable, optional
        Called with each key once it is measured, in order.
    **options
        Of `measure`.
    """

    if base == "common":
        base = max((living(codes) for codes in representations.values()), default=0) or None

    def one(key: Key) -> Disentanglement:
        own = factors if isinstance(factors, pd.DataFrame) else factors[key]
        return measure(representations[key], own, base=base, workers=1, **options)

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
    weights: np.ndarray  # [penalties, latents, factors], absolute
    r2: np.ndarray  # [factors], in-sample, at the last penalty
    n_free: np.ndarray  # [factors], too


def _refit(x: np.ndarray, y: np.ndarray, alphas: np.ndarray, workers: int | None) -> _Refit:
    """Fit all rows, each factor at its penalties [factors, penalties]."""
    x, y = standardised(x), standardised(y)
    n = len(x)
    gram, xy = x.T @ x / n, y.T @ x / n
    coefs = lasso_gram(gram, xy, (y**2).mean(axis=0), alphas, workers=workers)
    last = coefs[:, -1]
    residuals = y - x @ last.T
    return _Refit(
        np.abs(coefs).transpose(1, 2, 0),
        1 - (residuals**2).sum(axis=0) / (y**2).sum(axis=0),
        np.array([free_directions(gram, xy[j], last[j], alphas[j, -1]) for j in range(len(last))]),
    )
