"""The models a sound probe chooses from: logistic regression of classes, ridge regression of numbers.

Each knows its targets, chooses a strength (the inverse of a penalty) on held-out folds, and predicts rows from others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from otoscope.clips import group_folds
from otoscope.probing.logistic import PrincipalAxes, fit_logistic, principal_axes

_WORSE = 1e-3  # by which a held-out loss must rise to end the search: more than the solver leaves open


class LogisticModel:
    """Multinomial, or one logistic regression per class."""

    def __init__(self, targets: np.ndarray, *, multi_label: bool) -> None:
        self.targets, self.multi_label = targets, multi_label

    def choose(self, x: np.ndarray, train: np.ndarray, folds: np.ndarray, strengths: list[float]) -> float:
        """Return the strength of lowest held-out log-loss; folds are one batch, each strength starts from the last."""
        import torch

        if folds.max() < 1 or len(strengths) == 1:
            return strengths[len(strengths) // 2]
        features = principal_axes(standardised(x, train)[train])
        targets = self.targets[train]
        masks = np.stack([folds != fold for fold in range(folds.max() + 1)]).astype(np.float64)
        weights, best, lowest = None, strengths[0], np.inf
        for strength in strengths:
            weights = fit_logistic(
                features,
                targets,
                masks,
                np.full(len(masks), strength),
                multi_label=self.multi_label,
                start=weights,
                tol=1e-4,
                dtype=torch.float32,
            )
            loss = self._held_out_loss(features, targets, folds, weights)
            if loss < lowest:
                best, lowest = strength, loss
            elif loss > lowest * (1 + _WORSE):
                break
        return best

    def fit(self, x: np.ndarray, rows: np.ndarray, strength: float) -> np.ndarray:
        """Return the logits of all rows [rows, classes], learnt from `rows`."""
        scaled = standardised(x, rows)
        features = principal_axes(scaled[rows])
        mask = np.ones((1, int(rows.sum())))
        weights = fit_logistic(
            features, self.targets[rows], mask, np.array([strength]), multi_label=self.multi_label
        )[0]
        return (scaled - features.mean) @ features.axes.T @ weights[:-1] + weights[-1]

    def _held_out_loss(
        self, features: PrincipalAxes, targets: np.ndarray, folds: np.ndarray, weights: np.ndarray
    ) -> float:
        from scipy.special import logsumexp

        total = 0.0
        for fold, w in enumerate(weights):
            out = folds == fold
            logits = features.scores[out] @ w[:-1] + w[-1]
            if self.multi_label:
                total += float((np.logaddexp(0, logits) - logits * targets[out]).sum())
            else:
                total += float((logsumexp(logits, axis=1) - (logits * targets[out]).sum(axis=1)).sum())
        return total


class RidgeModel:
    """Ridge regression of a number; its strength is the inverse of scikit-learn's alpha."""

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = targets

    def choose(self, x: np.ndarray, train: np.ndarray, folds: np.ndarray, strengths: list[float]) -> float:
        """Return the strength of lowest held-out squared error."""
        if folds.max() < 1:
            return strengths[len(strengths) // 2]
        scaled, targets = standardised(x, train)[train], self.targets[train]
        losses = np.zeros(len(strengths))
        for fold in range(folds.max() + 1):
            out = folds == fold
            path = _ridge_path(scaled[~out], targets[~out], strengths, scaled[out])
            losses += ((path - targets[out]) ** 2).sum(axis=(1, 2))
        return strengths[int(losses.argmin())]

    def fit(self, x: np.ndarray, rows: np.ndarray, strength: float) -> np.ndarray:
        """Return the predictions [rows, 1], learnt from `rows`."""
        scaled = standardised(x, rows)
        return _ridge_path(scaled[rows], self.targets[rows], [strength], scaled)[0]


def _ridge_path(x: np.ndarray, y: np.ndarray, strengths: Sequence[float], at: np.ndarray) -> np.ndarray:
    """Return predictions [strengths, rows of `at`, 1] from one rotation."""
    features = principal_axes(x)
    squares = (features.scores**2).sum(axis=0)
    centre = y.mean(axis=0)
    projected = features.scores.T @ (y - centre)
    rotated = (at - features.mean) @ features.axes.T
    return np.stack([rotated @ (projected / (squares + 1 / c)[:, None]) + centre for c in strengths])


def training_folds(groups: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each training row [rows]: whole groups; rows where there is one group only."""
    if len(np.unique(groups)) < 2:
        groups = np.arange(len(groups))
    return group_folds(groups, n_folds)


def standardised(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return all of ``x [rows, width]`` in units of the mean and deviation of `rows`; what is constant there is 0."""
    mean, std = x[rows].mean(axis=0), x[rows].std(axis=0)
    alive = std > 1e-9 * np.maximum(np.abs(x[rows]).max(axis=0), 1e-30)
    return np.where(alive, (x - mean) / np.where(alive, std, 1.0), 0.0)
