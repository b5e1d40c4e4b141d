"""Grouped, nested cross-validation of the Lasso, from fold Gram matrices.

The rows are cut once into folds of whole groups. For the outer fold i, the penalty is chosen by predicting
each other fold j from the rows outside i and j. That fit serves the pair both ways, so 5 folds need 10 + 5
paths, not 25; and its Gram matrix is a difference: everything, less fold i, less fold j. Features and factors
are standardised by the rows that train, each time. From strong to weak, a path stops where held-out rows
are predicted worse and worse; each fold for itself, so that fold i has no say in the penalty that predicts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from otoscope.disentanglement.lasso import lasso_held_out
from otoscope.disentanglement.scaling import standardised

_CV_TOL = 1e-4  # an R2 is wanted to three digits
_CONSTANT = 1e-9  # variance, of columns scaled to 1, below which a column is constant


@dataclass(frozen=True)
class CrossValidated:
    """What held-out rows say about each factor.

    Attributes
    ----------
    r2_cv : np.ndarray [factors]
        R2 of the pooled out-of-fold predictions, the penalty chosen inside each fold.
    alpha : np.ndarray [factors]
        The penalty that predicts all held-out folds best: the one for a refit on all rows.
    predictions : np.ndarray [rows, factors]
        Out-of-fold.
    """

    r2_cv: np.ndarray
    alpha: np.ndarray
    predictions: np.ndarray


def cross_validate(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, alphas: np.ndarray, *, workers: int | None = None
) -> CrossValidated:
    """Predict every fold from the others.

    Parameters
    ----------
    x : np.ndarray [rows, features], float64
    y : np.ndarray [rows, factors], float64
    folds : np.ndarray [rows]
        Fold of each row, 0 ... n - 1: at least 3, one to test, one to choose on, one to learn from.
    alphas : np.ndarray [penalties]
        To choose from.
    workers : int, optional
        Threads.
    """
    n_folds = int(folds.max()) + 1
    # Scaled once, so that sums of squares are of one size and differences of them keep their digits.
    x, y = standardised(x), standardised(y)
    parts = [_Moments.of(x[folds == fold], y[folds == fold]) for fold in range(n_folds)]
    whole = sum(parts[1:], parts[0])
    penalties = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
    losses = np.zeros((n_folds, y.shape[1], len(penalties)))  # of all inner folds, for each outer one
    for i, j in combinations(range(n_folds), 2):
        rows = (folds == i) | (folds == j)
        path = _predict(
            whole - parts[i] - parts[j],
            x[rows],
            y[rows],
            penalties,
            workers,
            parts=(folds[rows] == j).astype(int),
        )
        squares = (path - y[rows].T[:, None]) ** 2
        losses[j] += squares[:, :, folds[rows] == i].sum(axis=2)
        losses[i] += squares[:, :, folds[rows] == j].sum(axis=2)
    chosen = losses.argmin(axis=2)  # [outer fold, factors]
    predictions = np.empty_like(y)
    pooled = np.zeros((y.shape[1], len(penalties)))
    for fold in range(n_folds):
        rows = folds == fold
        path = _predict(whole - parts[fold], x[rows], y[rows], penalties, workers, at_least=chosen[fold] + 1)
        pooled += ((path - y[rows].T[:, None]) ** 2).sum(axis=2)
        predictions[rows] = path[np.arange(y.shape[1]), chosen[fold]].T
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    r2_cv = 1 - ((y - predictions) ** 2).sum(axis=0) / spread
    return CrossValidated(r2_cv, penalties[pooled.argmin(axis=1)], predictions)


@dataclass(frozen=True)
class _Moments:
    """Sums over rows that add and subtract."""

    n: int
    x: np.ndarray  # [features]
    y: np.ndarray  # [factors]
    xx: np.ndarray  # [features, features]
    yx: np.ndarray  # [factors, features]
    yy: np.ndarray  # [factors]

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> _Moments:
        return cls(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, y.T @ x, (y**2).sum(axis=0))

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))

    def __sub__(self, other: _Moments) -> _Moments:
        return _Moments(*(getattr(self, name) - getattr(other, name) for name in _FIELDS))


_FIELDS = ("n", "x", "y", "xx", "yx", "yy")


def _predict(
    train: _Moments,
    x: np.ndarray,
    y: np.ndarray,
    alphas: np.ndarray,
    workers: int | None,
    *,
    parts: np.ndarray | None = None,
    at_least: np.ndarray | None = None,
) -> np.ndarray:
    """Return predictions [factors, penalties, rows] of held-out rows, as learnt from `train`."""
    mean_x, mean_y = train.x / train.n, train.y / train.n
    gram = train.xx / train.n
    gram -= np.outer(mean_x, mean_x)
    inverse_x = _inverse_std(np.diag(gram))
    gram *= inverse_x
    gram *= inverse_x[:, None]
    inverse_y = _inverse_std(train.yy / train.n - mean_y**2)
    correlation = (train.yx / train.n - np.outer(mean_y, mean_x)) * inverse_x * inverse_y[:, None]
    alive = (inverse_y > 0).astype(float)
    std_y = np.divide(1.0, inverse_y, out=np.zeros_like(inverse_y), where=inverse_y > 0)
    path = lasso_held_out(
        gram,
        correlation,
        alive,
        alphas,
        (x - mean_x) * inverse_x,
        (y - mean_y) * inverse_y,
        parts=parts,
        at_least=at_least,
        tol=_CV_TOL,
        workers=workers,
    )
    return path * std_y[:, None, None] + mean_y[:, None, None]


def _inverse_std(variance: np.ndarray) -> np.ndarray:
    """Return 1 / std, and 0 for a constant column: it then predicts nothing."""
    alive = variance > _CONSTANT
    return np.where(alive, 1 / np.sqrt(np.where(alive, variance, 1.0)), 0.0)
