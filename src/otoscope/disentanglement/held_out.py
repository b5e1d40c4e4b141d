"""What was predicted of rows that no fit had seen, and what of it the label alone would say.

A factor can be well predicted only because it follows the label: the label null, each class's mean over the training
folds, says how well no audio at all would do. Beyond the label, features and factor are centred by class on the
training folds, and R2 is what remains to be predicted within classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LABEL_FLOOR = 0.1
"""Held-out R2 of the label null above which a factor can be the label's."""

LABEL_SHARE = 0.5
"""And the share of the representation's held-out R2 that it must exceed. Both were fixed before looking."""


@dataclass(frozen=True)
class HeldOut:
    """Out-of-fold predictions; everything is [rows, factors], NaN where a factor was not measured.

    Attributes
    ----------
    truth : np.ndarray
        The factors.
    predictions : np.ndarray
        Of the codes.
    label : np.ndarray
        Of the label null; all NaN without labels.
    within : np.ndarray
        The label null's, and what the codes add within classes.
    folds : np.ndarray of int
        Which fold a row was held out in; -1 where not measured.
    """

    truth: np.ndarray
    predictions: np.ndarray
    label: np.ndarray
    within: np.ndarray
    folds: np.ndarray

    @classmethod
    def empty(cls, truth: np.ndarray) -> HeldOut:
        """Return one of ``truth [rows, factors]`` in which nothing is measured yet."""
        predictions, label, within = np.full((3, *truth.shape), np.nan, dtype=np.float32)
        return cls(truth, predictions, label, within, np.full(truth.shape, -1, dtype=np.int16))

    def only(self, rows: np.ndarray, columns: np.ndarray) -> HeldOut:
        """Return that of some rows [some] and factors [some], masks or places."""
        place = np.ix_(rows, columns)
        arrays = (self.truth, self.predictions, self.label, self.within, self.folds)
        return HeldOut(*(array[place] for array in arrays))

    def r2(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the R2 [factors] of the predictions on all rows, or on some: a mask [rows] or [rows, factors]."""
        return self._r2(self.predictions, None, rows)

    def r2_label(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the R2 [factors] of the label null."""
        return self._r2(self.label, None, rows)

    def r2_beyond(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the R2 [factors] within classes: the share of the null's squared error that the codes take off."""
        return self._r2(self.within, self.label, rows)

    def _r2(self, guess: np.ndarray, about: np.ndarray | None, rows: np.ndarray | None) -> np.ndarray:
        there = (self.folds >= 0) & np.isfinite(guess)
        if rows is not None:
            there &= rows if np.ndim(rows) == 2 else np.asarray(rows)[:, None]
        n = np.maximum(there.sum(axis=0), 1)
        if about is None:
            about = np.where(there, self.truth, 0.0).sum(axis=0) / n
        error = np.where(there, (self.truth - guess) ** 2, 0.0).sum(axis=0)
        spread = np.where(there, (self.truth - about) ** 2, 0.0).sum(axis=0)
        return 1 - np.divide(error, spread, out=np.full(len(n), np.nan), where=spread > 0)


def label_owned(r2_label: np.ndarray, r2_cv: np.ndarray) -> np.ndarray:
    """Return which factors are the label's [factors]: these are ranked, and claimed, by the R2 beyond the label."""
    return (np.asarray(r2_label) > LABEL_FLOOR) & (np.asarray(r2_label) > LABEL_SHARE * np.asarray(r2_cv))


def label_predictions(truth: np.ndarray, classes: np.ndarray, folds: np.ndarray | None) -> np.ndarray:
    """Return [rows, factors] each class's mean over the other folds' rows, or all rows; without any, the grand mean."""
    found = np.empty_like(truth)
    for fold in [None] if folds is None else np.unique(folds):
        held = np.ones(len(truth), dtype=bool) if fold is None else folds == fold
        train = held if fold is None else ~held
        means = np.tile(truth[train].mean(axis=0), (classes.max() + 1, 1))
        for name in np.unique(classes[train]):
            means[name] = truth[train & (classes == name)].mean(axis=0)
        found[held] = means[classes[held]]
    return found
