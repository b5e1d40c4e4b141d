"""Columns of mean 0 and deviation 1."""

from __future__ import annotations

import numpy as np

_CONSTANT = 1e-9  # deviation, relative to the largest value, that is rounding


def standardised(values: np.ndarray) -> np.ndarray:
    """Return `values` [rows, columns] as float64, mean 0 and deviation 1 per column; a constant column becomes 0."""
    values = np.asarray(values, dtype=np.float64)
    centred = values - values.mean(axis=0)
    std = centred.std(axis=0)
    alive = std > _CONSTANT * np.maximum(np.abs(values).max(axis=0), 1e-300)
    return np.where(alive, centred / np.where(alive, std, 1.0), 0.0)
