"""What may be said when more than one question was asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values [n] corrected for being asked together (Holm 1979); NaN stays, and does not count.

    Rejecting where the result is at most .05 is wrong about any true null in at most 5 % of families, whatever hangs
    together. A family is all that a claim could have been read off: every sparsity of every layer, say.
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
