"""From outputs of a model to scores, for the three kinds of label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind
from otoscope.errors import InputError
from otoscope.probing.intervals import Estimate, Scale, group_interval


def encode(labels: pd.Series, kind: LabelKind, *, train: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return targets [rows, outputs] and the names of the outputs: one-hot, 0/1 for each class, or the number."""
    if kind == "number":
        return labels.to_numpy(dtype=np.float64)[:, None], ()
    if kind == "class":
        classes = _in_order(labels.unique())
        index = pd.Categorical(labels, categories=classes).codes
        return np.eye(len(classes))[index], tuple(str(c) for c in classes)
    sets = [{part.strip() for part in str(value).split(";") if part.strip()} for value in labels]
    present = sorted({c for i in np.flatnonzero(train) for c in sets[i]})
    if not present:
        raise InputError("no row has a class; expected names separated by ';'")
    return np.array([[float(c in s) for c in present] for s in sets]), tuple(present)


def score(kind: LabelKind, outputs: np.ndarray, targets: np.ndarray) -> float:
    """Return accuracy, R2 or macro average precision of outputs [rows, outputs]."""
    if kind == "class":
        return float((outputs.argmax(axis=1) == targets.argmax(axis=1)).mean())
    if kind == "number":
        spread = ((targets - targets.mean()) ** 2).sum()
        return float(1 - ((targets - outputs) ** 2).sum() / spread) if spread > 0 else float("nan")
    return float(_macro_average_precision(outputs, targets, np.ones((1, len(targets))))[0])


def interval(kind: LabelKind, outputs: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> Estimate:
    """Return `score` with its 95 % interval for clips of new groups."""
    scale: Scale = "plain" if kind == "number" else "share"
    return group_interval(weighted(kind, outputs, targets), groups, scale=scale)


def difference(
    kind: LabelKind, outputs_a: np.ndarray, outputs_b: np.ndarray, targets: np.ndarray, groups: np.ndarray
) -> Estimate:
    """Return `score` of a minus that of b on the same rows, with its interval for clips of new groups."""
    a, b = weighted(kind, outputs_a, targets), weighted(kind, outputs_b, targets)
    return group_interval(lambda n: a(n) - b(n), groups)


def weighted(kind: LabelKind, outputs: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return `score` as a function of how often each row counts [draws, rows]; NaN where a draw has none."""
    if kind == "class":
        correct = (outputs.argmax(axis=1) == targets.argmax(axis=1)).astype(float)
        return lambda n: n @ correct / n.sum(axis=1)
    if kind == "number":
        y, errors = targets[:, 0] - targets[:, 0].mean(), (targets - outputs)[:, 0] ** 2

        def r2(n: np.ndarray) -> np.ndarray:
            spread = n @ y**2 - (n @ y) ** 2 / n.sum(axis=1)
            return 1 - np.divide(n @ errors, spread, out=np.full(len(n), np.nan), where=spread > 1e-12)

        return r2
    return lambda n: _macro_average_precision(outputs, targets, n)


def per_row(
    kind: LabelKind, outputs: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, per row [rows], predictions, truth, and what is right (1 or 0; NaN where a single row has no score)."""
    if kind == "class":
        predicted, true = outputs.argmax(axis=1), targets.argmax(axis=1)
        return predicted, true, (predicted == true).astype(np.float64)
    nothing = np.full(len(outputs), np.nan)
    return (outputs[:, 0], targets[:, 0], nothing) if kind == "number" else (outputs, targets, nothing)


def balanced_accuracy(predictions: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over the classes that occur in ``truth [rows]`` of the share found."""
    return float(np.mean([(predictions[truth == c] == c).mean() for c in np.unique(truth)]))


def _macro_average_precision(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over classes for each draw of `weights` [draws, rows]; a class needs drawn rows with and without.

    Average precision is ``sum (recall_i - recall_i-1) precision_i`` over thresholds, equal outputs being one
    threshold.
    """
    draws, n = weights.shape
    total, counted = np.zeros(draws), np.zeros(draws)
    for c in range(targets.shape[1]):
        order = np.argsort(-outputs[:, c], kind="stable")
        ends = np.append(np.flatnonzero(np.diff(outputs[order, c])), n - 1)
        drawn = weights[:, order]
        found = np.cumsum(drawn * targets[order, c], axis=1)[:, ends]
        taken = np.cumsum(drawn, axis=1)[:, ends]
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        area = (np.diff(found, axis=1, prepend=0) * precision).sum(axis=1)
        usable = (found[:, -1] > 0) & (found[:, -1] < taken[:, -1])
        total += np.divide(area, found[:, -1], out=np.zeros(draws), where=usable)
        counted += usable
    return np.divide(total, counted, out=np.full(draws, np.nan), where=counted > 0)


def _in_order(values: Sequence) -> list:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)
