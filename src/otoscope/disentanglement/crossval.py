"""Grouped, nested cross-validation of the Lasso, from fold Gram matrices.

The rows are cut once into folds of whole groups. For the outer fold i, the penalty is chosen by predicting
each other fold j from the rows outside i and j. That fit serves the pair both ways, so 5 folds need 10 + 5
paths, not 25; and its Gram matrix is a difference: everything, less fold i, less fold j. Features and factors
are standardised by the rows that train, each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from otoscope.disentanglement.lasso import lasso_gram
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
    squares = np.zeros(
        (n_folds, n_folds, y.shape[1], len(alphas))
    )  # of the errors on fold j, trained without i and j
    for i, j in combinations(range(n_folds), 2):
        model = _fit(whole - parts[i] - parts[j], alphas, workers)
        for test, other in ((i, j), (j, i)):
            rows = folds == test
            squares[other, test] = ((model(x[rows]) - y[rows][:, :, None]) ** 2).sum(axis=0)
    chosen = squares.sum(axis=1).argmin(axis=2)  # [outer fold, factors]
    predictions = np.empty_like(y)
    single = np.zeros((y.shape[1], len(alphas)))
    for fold in range(n_folds):
        rows = folds == fold
        every = _fit(whole - parts[fold], alphas, workers)(x[rows])  # [rows, factors, penalties]
        single += ((every - y[rows][:, :, None]) ** 2).sum(axis=0)
        predictions[rows] = np.take_along_axis(every, chosen[fold][None, :, None], axis=2)[:, :, 0]
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    r2_cv = 1 - ((y - predictions) ** 2).sum(axis=0) / spread
    return CrossValidated(r2_cv, np.asarray(alphas)[single.argmin(axis=1)], predictions)


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


def _fit(train: _Moments, alphas: np.ndarray, workers: int | None):
    """Return the function that predicts [rows, factors, penalties] from rows, as learnt from `train`."""
    mean_x, mean_y = train.x / train.n, train.y / train.n
    gram = train.xx / train.n
    gram -= np.outer(mean_x, mean_x)
    inverse_x = _inverse_std(np.diag(gram))
    gram *= inverse_x
    gram *= inverse_x[:, None]
    inverse_y = _inverse_std(train.yy / train.n - mean_y**2)
    correlation = (train.yx / train.n - np.outer(mean_y, mean_x)) * inverse_x * inverse_y[:, None]
    coefs = lasso_gram(gram, correlation, (inverse_y > 0).astype(float), alphas, tol=_CV_TOL, workers=workers)
    std_y = np.divide(1.0, inverse_y, out=np.zeros_like(inverse_y), where=inverse_y > 0)
    weights = (coefs * inverse_x * std_y[:, None, None]).reshape(-1, len(mean_x))

    def predict(x: np.ndarray) -> np.ndarray:
        flat = (x - mean_x) @ weights.T
        return flat.reshape(len(x), len(mean_y), -1) + mean_y[:, None]

    return predict


def _inverse_std(variance: np.ndarray) -> np.ndarray:
    """Return 1 / std, and 0 for a constant column: it then predicts nothing."""
    alive = variance > _CONSTANT
    return np.where(alive, 1 / np.sqrt(np.where(alive, variance, 1.0)), 0.0)
