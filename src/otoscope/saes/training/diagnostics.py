"""Look at activations before training on them: dimensions whose mean or spread drowns the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from otoscope.errors import InputError
from otoscope.saes.training.rows import BLOCK_ROWS

SEVERE_MEAN = 3.0
"""|mean| / standard deviation above which a dimension acts as a constant."""
LARGE_SPREAD = 10.0
"""Standard deviation, in units of the median one, above which a dimension dominates the squared error."""


@dataclass(frozen=True)
class ActivationDiagnostics:
    """What :func:`diagnose_activations` finds."""

    dimensions: pd.DataFrame
    """A row per dimension: dimension, mean, std, severity (|mean| / std), variance_share."""
    mean_share: float
    """Share of the mean squared activation that is the mean's: what a decoder without a bias must spend on it."""
    advice: str
    """What ``normalise`` to train with, and why."""
    normalise: str
    """``"none"``, ``"center"`` or ``"scale"``."""

    def to_csv(self, path: Any) -> None:
        """Write the dimensions as CSV."""
        self.dimensions.to_csv(path, index=False)


def diagnose_activations(x: np.ndarray | torch.Tensor | Iterator[np.ndarray]) -> ActivationDiagnostics:
    """Measure each dimension's mean and spread, streamed in float64.

    Parameters
    ----------
    x : [rows, features]
        Activations, or an iterator over blocks of them.

    Raises
    ------
    InputError
        If there are no rows.
    """
    n_rows, mean, variation = 0, np.zeros(1), np.zeros(1)
    for block in _blocks(x):
        new, rows = block.mean(0), len(block)
        gap, total = new - mean, n_rows + rows
        variation = variation + ((block - new) ** 2).sum(0) + gap**2 * (n_rows * rows / total)
        mean = mean + gap * rows / total
        n_rows = total
    if n_rows == 0:
        raise InputError("there are no activations to diagnose")
    variance = variation / n_rows
    std = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        severity = np.where(std > 0, np.abs(mean) / std, np.where(mean != 0, np.inf, 0.0))
    dimensions = pd.DataFrame(
        {
            "dimension": np.arange(len(mean)),
            "mean": mean,
            "std": std,
            "severity": severity,
            "variance_share": variance / variance.sum() if variance.sum() > 0 else 0.0,
        }
    )
    energy = (mean**2).sum() + variance.sum()
    share = float((mean**2).sum() / energy) if energy > 0 else 0.0
    normalise, advice = _advice(dimensions, share)
    return ActivationDiagnostics(dimensions, share, advice, normalise)


def _advice(dimensions: pd.DataFrame, mean_share: float) -> tuple[str, str]:
    typical = float(dimensions["std"].median())
    wide = dimensions[dimensions["std"] > LARGE_SPREAD * typical] if typical > 0 else dimensions.iloc[:0]
    if len(wide):
        share = wide["variance_share"].sum()
        return "scale", (
            f"{len(wide)} of {len(dimensions)} dimensions (first: {int(wide['dimension'].iloc[0])}) spread over "
            f"{LARGE_SPREAD:g} times the median and make {share:.0%} of the variance: the squared error would see "
            'little else. Train with normalise="scale"'
        )
    severe = dimensions[dimensions["severity"] > SEVERE_MEAN]
    if mean_share > 0.5 or len(severe):
        return "center", (
            f"{len(severe)} of {len(dimensions)} dimensions have a mean beyond {SEVERE_MEAN:g} standard deviations, "
            f"and the mean makes {mean_share:.0%} of the squared activations: latents would be spent on a constant. "
            'Train with normalise="center", or a kind with a decoder bias'
        )
    return "none", "no dimension stands out: train on the activations as they are"


def _blocks(x: Any) -> Iterator[np.ndarray]:
    if isinstance(x, (np.ndarray, torch.Tensor)):
        if x.ndim != 2:
            raise InputError(f"diagnostics need rows x features, got an array of shape {tuple(x.shape)}")
        blocks: Iterator[Any] = (x[start : start + BLOCK_ROWS] for start in range(0, len(x), BLOCK_ROWS))
    else:
        blocks = x
    for block in blocks:
        if len(block):
            yield np.asarray(block, dtype=np.float64)
