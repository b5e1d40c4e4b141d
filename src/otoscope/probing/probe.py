"""The sound probe: a regularised linear model whose penalty is chosen on held-out groups.

Classes: multinomial logistic regression, accuracy. Several classes per clip: a logistic regression for each,
macro average precision. Numbers: ridge regression, R2. Features are standardised by the rows that train.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind, label_kind
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.errors import InputError
from otoscope.probing import scoring
from otoscope.probing.logistic import PrincipalAxes, fit_logistic, principal_axes

Key = TypeVar("Key", bound=Hashable)

STRENGTHS = tuple(float(c) for c in 10.0 ** np.arange(-4, 1.1, 0.5))
"""Inverse penalties C to choose from, of scikit-learn's meaning, weakest fit first."""

_FOLDS = 5


@dataclass(frozen=True)
class Probe:
    """A fitted probe's results.

    Attributes
    ----------
    kind : {"class", "number", "multi"}
        What the label holds, and so what `score` is: accuracy, R2 or macro average precision.
    score, low, high : float
        On the test rows, with a 95 % interval by bootstrap over test groups.
    balanced_accuracy : float
        Mean recall over classes; NaN unless classes.
    n_test : int
        How many test rows.
    valid_score : float
        On the validation rows, of the model that never saw them: pick layers by it. NaN without validation
        rows.
    strength : float
        The C chosen (classes) or the inverse of the penalty (numbers).
    classes : tuple of str
        Names of the outputs; empty for numbers.
    predictions : np.ndarray [test rows] or [test rows, classes]
        Index of the class, the number, or the logits of several classes.
    truth : np.ndarray
        As `predictions`: index, number, or 0/1.
    correct : np.ndarray [test rows]
        1.0 or 0.0 for classes; for numbers and several classes NaN, as a single row has no R2.
    """

    kind: LabelKind
    score: float
    low: float
    high: float
    balanced_accuracy: float
    n_test: int
    valid_score: float
    strength: float
    classes: tuple[str, ...]
    predictions: np.ndarray
    truth: np.ndarray
    correct: np.ndarray


def probe(
    x: np.ndarray,
    labels: pd.Series | Sequence,
    *,
    split: Sequence[str] | np.ndarray,
    groups: Sequence | np.ndarray,
    kind: LabelKind | None = None,
    strengths: Sequence[float] = STRENGTHS,
    n_folds: int = _FOLDS,
    refit: bool = True,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> Probe:
    """Fit on the training rows, choose on held-out groups, score on the test rows.

    The penalty is chosen by cross-validation over the training groups, by the held-out log-loss (squared
    error for numbers), going from strong to weak until it gets worse. A first model, fitted on the training
    rows, gives `valid_score`; a second, fitted on training and validation rows at the same penalty, is scored
    on the test rows.

    Parameters
    ----------
    x : np.ndarray [rows, features]
        A layer's activations, or codes.
    labels : sequence [rows]
        Text or whole numbers: classes. Text with ``;``: several classes. Fractions: a number.
    split : sequence [rows] of {"train", "valid", "test"}
        Whole groups on one side.
    groups : sequence [rows]
        Singer, speaker: folds and bootstrap draws keep them whole.
    kind : {"class", "number", "multi"}, optional
        Of the label; default: as it looks.
    strengths : sequence of float
        Inverse penalties to choose from.
    n_folds : int
        Of the cross-validation; fewer where there are fewer training groups.
    refit : bool
        False scores the first model on the test rows too.
    seed : int
        Of the bootstrap.
    n_bootstrap : int
        Draws.

    Raises
    ------
    InputError
        If lengths differ, a split has no training or test rows, or the training rows have one class only.
    """
    x, labels, split, groups = _check(x, labels, split, groups)
    kind = kind or label_kind(labels)
    targets, classes = scoring.encode(labels, kind, train=split != "test")
    train, valid, test = (split == side for side in ("train", "valid", "test"))
    if kind != "number" and len(np.unique(targets[train], axis=0)) < 2:
        raise InputError("the training rows have one class only; a probe needs at least two")
    model = _RidgeModel if kind == "number" else _LogisticModel
    fitter = model(targets, multi_label=kind == "multi")
    with one_thread_each():
        strength = fitter.choose(x, train, _training_folds(groups[train], n_folds), sorted(strengths))
        outputs = fitter.fit(x, train, strength)
        valid_score = scoring.score(kind, outputs[valid], targets[valid]) if valid.any() else float("nan")
        if refit and valid.any():
            outputs = fitter.fit(x, train | valid, strength)
    low, high = scoring.interval(
        kind, outputs[test], targets[test], groups[test], seed=seed, n_bootstrap=n_bootstrap
    )
    predictions, truth, correct = scoring.per_row(kind, outputs[test], targets[test])
    return Probe(
        kind=kind,
        score=scoring.score(kind, outputs[test], targets[test]),
        low=low,
        high=high,
        balanced_accuracy=scoring.balanced_accuracy(predictions, truth) if kind == "class" else float("nan"),
        n_test=int(test.sum()),
        valid_score=valid_score,
        strength=strength,
        classes=classes,
        predictions=predictions,
        truth=truth,
        correct=correct,
    )


def probe_all(
    representations: Mapping[Key, np.ndarray],
    labels: pd.Series | Sequence,
    *,
    workers: int | None = None,
    on_done: Callable[[Key], None] | None = None,
    **options,
) -> dict[Key, Probe]:
    """Probe many representations of the same rows, several at a time.

    Parameters
    ----------
    representations : mapping to np.ndarray [rows, features]
        Layers, codes, by any key.
    labels : sequence [rows]
    workers : int, optional
        Representations at a time, each on one core; default: as many as there are cores.
    on_done : callable, optional
        Called with each key once it is probed, in order.
    **options
        Of `probe`: `split` and `groups` are needed.
    """
    results = {}
    with one_thread_each():
        found = thread_map(
            lambda key: probe(representations[key], labels, **options),
            representations,
            workers=workers or cpu_count(),
        )
        for key, result in zip(representations, found):
            results[key] = result
            if on_done:
                on_done(key)
    return results


class _LogisticModel:
    """Multinomial, or one logistic regression per class."""

    def __init__(self, targets: np.ndarray, *, multi_label: bool) -> None:
        self.targets, self.multi_label = targets, multi_label

    def choose(self, x: np.ndarray, train: np.ndarray, folds: np.ndarray, strengths: list[float]) -> float:
        """Return the strength of lowest held-out log-loss; folds are one batch, each strength starts from the last."""
        import torch

        if folds.max() < 1 or len(strengths) == 1:
            return strengths[len(strengths) // 2]
        features = principal_axes(_standardised(x, train)[train])
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
            if loss >= lowest:
                break
            best, lowest = strength, loss
        return best

    def fit(self, x: np.ndarray, rows: np.ndarray, strength: float) -> np.ndarray:
        """Return the logits of all rows, learnt from `rows`."""
        scaled = _standardised(x, rows)
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


class _RidgeModel:
    """Ridge regression of a number; its strength is the inverse of scikit-learn's alpha."""

    def __init__(self, targets: np.ndarray, *, multi_label: bool) -> None:
        self.targets = targets

    def choose(self, x: np.ndarray, train: np.ndarray, folds: np.ndarray, strengths: list[float]) -> float:
        """Return the strength of lowest held-out squared error."""
        if folds.max() < 1:
            return strengths[len(strengths) // 2]
        scaled, targets = _standardised(x, train)[train], self.targets[train]
        losses = np.zeros(len(strengths))
        for fold in range(folds.max() + 1):
            out = folds == fold
            path = _ridge_path(scaled[~out], targets[~out], strengths, scaled[out])
            losses += ((path - targets[out]) ** 2).sum(axis=(1, 2))
        return strengths[int(losses.argmin())]

    def fit(self, x: np.ndarray, rows: np.ndarray, strength: float) -> np.ndarray:
        """Return the predictions [rows, 1], learnt from `rows`."""
        scaled = _standardised(x, rows)
        return _ridge_path(scaled[rows], self.targets[rows], [strength], scaled)[0]


def _ridge_path(x: np.ndarray, y: np.ndarray, strengths: Sequence[float], at: np.ndarray) -> np.ndarray:
    """Return predictions [strengths, rows of `at`, 1] from one rotation."""
    features = principal_axes(x)
    squares = (features.scores**2).sum(axis=0)
    centre = y.mean(axis=0)
    projected = features.scores.T @ (y - centre)
    rotated = (at - features.mean) @ features.axes.T
    return np.stack([rotated @ (projected / (squares + 1 / c)[:, None]) + centre for c in strengths])


def _training_folds(groups: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each training row: whole groups, the largest first to the emptiest; rows if one group."""
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return np.arange(len(groups)) % max(min(n_folds, len(groups)), 1)
    load = np.zeros(min(n_folds, len(names)))
    fold_of = np.zeros(len(names), dtype=int)
    for name in np.argsort(-sizes, kind="stable"):
        fold_of[name] = load.argmin()
        load[fold_of[name]] += sizes[name]
    return fold_of[index]


def _standardised(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return all of `x` in units of the mean and deviation of `rows`; what is constant there becomes 0 everywhere."""
    mean, std = x[rows].mean(axis=0), x[rows].std(axis=0)
    alive = std > 1e-9 * np.maximum(np.abs(x[rows]).max(axis=0), 1e-30)
    return np.where(alive, (x - mean) / np.where(alive, std, 1.0), 0.0)


def _check(x, labels, split, groups) -> tuple[np.ndarray, pd.Series, np.ndarray, np.ndarray]:
    x = np.asarray(x, dtype=np.float64)
    labels = pd.Series(labels).reset_index(drop=True)
    split, groups = np.asarray(split).astype(str), np.asarray(groups).astype(str)
    if x.ndim != 2 or not len(x) == len(labels) == len(split) == len(groups):
        raise InputError(
            f"expected features [rows, features] with a label, split and group for each row; got {x.shape}, "
            f"{len(labels)}, {len(split)} and {len(groups)}"
        )
    if not np.isfinite(x).all():
        raise InputError(f"features must be finite; {np.count_nonzero(~np.isfinite(x))} numbers are not")
    for side in ("train", "test"):
        if not (split == side).any():
            raise InputError(f"no row is in the split '{side}' (found: {', '.join(np.unique(split))})")
    return x, labels, split, groups
