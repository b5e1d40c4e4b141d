"""Entropy of the factors, in bits: nearest neighbours (Kozachenko & Leonenko 1987) and a histogram."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from otoscope.disentanglement.results import check_numeric
from otoscope.errors import InputError

MIXED_SHARE = 0.05
"""A factor of which more rows than this share one value has no density: it is "mixed", part number, part class."""

_LN2 = np.log(2.0)
_RESOLUTION = 1e-9
"""Of the range of a factor: values nearer than that count as equal."""


def knn_entropy(values: np.ndarray, *, k: int = 3) -> float:
    """Estimate the differential entropy of a sample of one variable, in bits, from its k-th nearest neighbours.

    ``H = psi(n) - psi(k) + log 2 + mean(log r_k)``, over log 2, with r_k the distance of each value to its
    k-th nearest neighbour (Kraskov et al. 2004, eq. 20, one dimension). A density has no equal values: where
    they occur, they are taken as rounded, and scattered (always alike) over a cell as wide as the smallest
    gap between different values. So rounding alone changes little, and a value that many rows share lowers
    the estimate, to a finite number.

    Parameters
    ----------
    values : np.ndarray [n]
        NaN is left out.
    k : int
        Which neighbour.

    Returns
    -------
    float
        Bits; may be negative. Minus infinity if all values are equal; NaN with `k` values or fewer.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).uniform(0, 8, 5000)
    >>> round(knn_entropy(draws), 1)  # log2(8)
    3.0
    """
    from scipy.special import digamma

    x = np.sort(np.asarray(values, dtype=np.float64).ravel())
    x = x[np.isfinite(x)]
    n = len(x)
    if k < 1:
        raise InputError(f"k must be at least 1; got {k}")
    if n <= k:
        return float("nan")
    if x[-1] == x[0]:
        return float("-inf")
    resolution = _RESOLUTION * (x[-1] - x[0])
    x = (
        np.round(x / resolution) * resolution
    )  # values that only the last digits of arithmetic tell apart are equal
    gaps = np.diff(x)
    radius = _kth_distance(_scatter_ties(x, gaps[gaps > 0].min()), k)
    return float((digamma(n) - digamma(k) + _LN2 + np.log(radius).mean()) / _LN2)


def histogram_entropy(values: np.ndarray, *, bins: int = 10) -> float:
    """Return the entropy of a histogram of ``values [rows]``, of equal bins over their range, in bits (0 to log2 bins).

    Examples
    --------
    >>> import numpy as np
    >>> histogram_entropy(np.arange(8), bins=4)
    2.0
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return float("nan")
    counts, _ = np.histogram(x, bins=bins)
    p = counts[counts > 0] / len(x)
    return float(-(p * np.log2(p)).sum())


def factor_entropy(
    factors: pd.DataFrame,
    *,
    families: Mapping[str, str] | None = None,
    k: int = 3,
    bins: int = 10,
    z_score: bool = True,
) -> pd.DataFrame:
    """Return ``factor, family, entropy_knn_bits, entropy_hist_bits``, then ``n_rows, n_tied, largest_tie, mixed``.

    Where more than `MIXED_SHARE` of the rows (and more than `k`) share one value, nearest neighbours say anything:
    the factor is marked ``mixed``, its ``entropy_knn_bits`` is NaN, which keeps it out of rank correlations, and
    the histogram's value stands. Rounding alone, with many different values left, is no such case.

    Parameters
    ----------
    factors : DataFrame [rows, factors]
        NaN is left out, per factor.
    families : mapping, optional
        Family of each factor.
    k, bins : int
        Of the two estimators.
    z_score : bool
        Standardise each factor first, so that entropies compare shapes, not units: in raw units a factor in
        Hz has log2(1000) bits more than the same one in kHz. False keeps the units. The histogram has no
        units either way.

    Examples
    --------
    >>> import pandas as pd
    >>> factor_entropy(pd.DataFrame({"f0_hz": range(8)}), bins=4).entropy_hist_bits.item()
    2.0
    """
    check_numeric(factors)
    rows = []
    for name in factors.columns:
        x = factors[name].to_numpy(dtype=np.float64)
        x = x[np.isfinite(x)]
        scaled = (x - x.mean()) / x.std() if z_score and len(x) and x.std() > 0 else x
        _, counts = np.unique(x, return_counts=True)
        largest = int(counts.max(initial=0))
        mixed = largest > max(MIXED_SHARE * len(x), k)
        rows.append(
            {
                "factor": str(name),
                "family": (families or {}).get(str(name), "other"),
                "entropy_knn_bits": float("nan") if mixed else knn_entropy(scaled, k=k),
                "entropy_hist_bits": histogram_entropy(x, bins=bins),
                "n_rows": len(x),
                "n_tied": int(counts[counts > 1].sum()),
                "largest_tie": largest / len(x) if len(x) else float("nan"),
                "mixed": mixed,
            }
        )
    return pd.DataFrame(rows)


def _scatter_ties(x: np.ndarray, cell: float) -> np.ndarray:
    """Return the sorted values with equal ones scattered over `cell`, around where they are, sorted again.

    At random, as a sample would fall: at even distances neighbours are farther apart than the estimator
    expects.
    """
    _, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    offsets = np.random.default_rng(0).uniform(-0.5, 0.5, len(x))
    return np.sort(x + np.where(counts[index] > 1, cell * offsets, 0.0))


def _kth_distance(x: np.ndarray, k: int) -> np.ndarray:
    """Distance of each of the sorted values to its k-th nearest: the best window of k + 1 values that holds it."""
    n = len(x)
    best = np.full(n, np.inf)
    for below in range(k + 1):  # so many of the k neighbours lie below
        first = np.arange(n) - below
        last = first + k
        fits = (first >= 0) & (last < n)
        at = np.flatnonzero(fits)
        best[at] = np.minimum(best[at], np.maximum(x[at] - x[first[at]], x[last[at]] - x[at]))
    return best
