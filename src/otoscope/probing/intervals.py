"""Intervals for scores: bootstrap over groups (sound), Wilson over examples (as published)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from otoscope.errors import InputError

N_BOOTSTRAP = 2000

_MOST_WEIGHTS = 20_000_000  # draws times examples held at a time: 160 MB


def group_bootstrap(
    score: Callable[[np.ndarray], np.ndarray],
    groups: Sequence | np.ndarray,
    *,
    seed: int = 0,
    n_bootstrap: int = N_BOOTSTRAP,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a score over groups drawn with replacement.

    400 clips of five singers are not 400 independent clips: what is drawn is singers. One group alone says nothing
    about others: the interval is then NaN.

    Parameters
    ----------
    score : callable
        From how often each example was drawn [draws, examples] to the scores [draws]; NaN where a draw has
        none.
    groups : sequence [examples]
        Which examples are drawn together.
    seed : int
        Of the draws: the same seed draws the same groups.
    n_bootstrap : int
        Draws.
    level : float
        Coverage.
    """
    names, index = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    at_a_time = max(_MOST_WEIGHTS // len(index), 1)
    starts = range(0, n_bootstrap, at_a_time)
    scores = np.concatenate([score(counts[i : i + at_a_time, index].astype(np.float64)) for i in starts])
    if np.isnan(scores).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_mean(
    values: np.ndarray, groups: Sequence | np.ndarray, *, seed: int = 0, n_bootstrap: int = N_BOOTSTRAP
) -> tuple[float, float, float]:
    """Return the mean of `values` [examples] and its 95 % interval, groups drawn with replacement."""
    values = np.asarray(values, dtype=np.float64)
    _check_lengths(values, groups)
    low, high = group_bootstrap(
        lambda n: n @ values / n.sum(axis=1), groups, seed=seed, n_bootstrap=n_bootstrap
    )
    return float(values.mean()), low, high


def paired_difference(
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    groups: Sequence | np.ndarray,
    *,
    seed: int = 0,
    n_bootstrap: int = N_BOOTSTRAP,
) -> tuple[float, float, float]:
    """Return the mean of ``a - b`` on the same examples and its 95 % interval, groups drawn with replacement.

    Pairing takes out what makes an example or a singer hard for both: the interval is tighter than that of
    two separate scores.

    Parameters
    ----------
    correct_a, correct_b : np.ndarray [examples]
        `Probe.correct` of two probes on the same test examples, in the same order.
    groups : sequence [examples]
        Singer, speaker.

    Raises
    ------
    InputError
        If the lengths differ.
    """
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    _check_lengths(a, b)
    return bootstrap_mean(a - b, groups, seed=seed, n_bootstrap=n_bootstrap)


def wilson(n_correct: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927): examples count as independent."""
    from scipy.stats import norm

    if n <= 0:
        raise InputError(f"an interval needs at least one example; got {n}")
    if not 0 <= n_correct <= n:
        raise InputError(f"of {n} examples, 0 to {n} can be right; got {n_correct}")
    z = float(norm.ppf((1 + level) / 2))
    share = n_correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def _check_lengths(values: np.ndarray, others) -> None:
    if len(values) != len(others) or len(values) == 0:
        raise InputError(
            f"expected as many values as groups, and at least one; got {len(values)} and {len(others)}"
        )
