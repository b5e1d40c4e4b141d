"""What a probe says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otoscope.clips import LabelKind
from otoscope.probing import scoring
from otoscope.probing.intervals import Estimate


@dataclass(frozen=True)
class Probe:
    """A fitted probe's results.

    Attributes
    ----------
    kind : {"class", "number", "multi"}
        What the label holds, and so what `score` is: accuracy, R2 or macro average precision.
    score, score_low, score_high : float
        Over the test clips, with a 95 % interval for clips of new groups (`otoscope.probing.group_interval`).
    trusted : bool
        False where the score is too near its ceiling for its number of groups: the interval may be too narrow.
    balanced_accuracy : float
        Mean recall over classes; NaN unless classes.
    n_test, n_groups : int
        How many test rows, of how many groups.
    valid_score : float
        On the validation rows, of the model that never saw them: pick layers by it. NaN without validation
        rows.
    strength : float
        The C chosen (classes) or the inverse of the penalty (numbers); NaN where training was stopped early instead.
    classes : tuple of str
        Names of the outputs; empty for numbers.
    predictions : np.ndarray [test rows] or [test rows, classes]
        Index of the class, the number, or the logits of several classes.
    truth : np.ndarray
        As `predictions`: index, number, or 0/1.
    correct : np.ndarray [test rows]
        1.0 or 0.0 for classes; for numbers and several classes NaN, as a single row has no R2.
    epoch : int or None
        The epoch kept, from 1, of a probe trained by `linear_probes`.
    """

    kind: LabelKind
    score: float
    score_low: float
    score_high: float
    trusted: bool
    balanced_accuracy: float
    n_test: int
    n_groups: int
    valid_score: float
    strength: float
    classes: tuple[str, ...]
    predictions: np.ndarray
    truth: np.ndarray
    correct: np.ndarray
    epoch: int | None = None


def judge(
    kind: LabelKind,
    outputs: np.ndarray,
    targets: np.ndarray,
    interval: Estimate,
    classes: tuple[str, ...],
    *,
    valid_score: float,
    strength: float = float("nan"),
    epoch: int | None = None,
) -> Probe:
    """Return the `Probe` of a model's outputs [test rows, outputs] for the targets [test rows, outputs]."""
    predictions, truth, correct = scoring.per_row(kind, outputs, targets)
    return Probe(
        kind=kind,
        score=scoring.score(kind, outputs, targets),
        score_low=interval.low,
        score_high=interval.high,
        trusted=interval.trusted,
        balanced_accuracy=scoring.balanced_accuracy(predictions, truth) if kind == "class" else float("nan"),
        n_test=len(outputs),
        n_groups=interval.n_groups,
        valid_score=valid_score,
        strength=strength,
        classes=classes,
        predictions=predictions,
        truth=truth,
        correct=correct,
        epoch=epoch,
    )
