"""Intervals for scores over groups that cover what they say.

400 clips of five singers are not 400 independent clips: what is left out in turn is a singer. The estimand is the
score over clips, of clips of new groups: a group with more clips counts for more, as it does in the score itself.
``benchmarks/coverage.py`` measures how often these intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from otoscope.errors import InputError

LEVEL = 0.95

Scale = Literal["share", "plain"]

_MOST_WEIGHTS = 20_000_000  # draws times examples held at a time: 160 MB


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, and how sure it is.

    Attributes
    ----------
    value : float
        Over all clips.
    low, high : float
        The 95 % interval for clips of new groups; NaN with one group.
    se, df : float
        Standard error of `value`, and the degrees of freedom it is known with.
    n_groups : int
        How many groups it is from.
    trusted : bool
        Whether groups enough err for the interval to be believed; see `group_interval`.
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    n_groups: int
    trusted: bool


def group_interval(
    score: Callable[[np.ndarray], np.ndarray],
    groups: Sequence | np.ndarray,
    *,
    scale: Scale = "plain",
    level: float = LEVEL,
) -> Estimate:
    """Return a score over clips with an interval for clips of new groups, by leaving out a group at a time.

    The standard error is the delete-one-group jackknife's, the quantile Student's t with one degree of freedom fewer
    than there are groups; groups of unequal size count as ``(sum n)^2 / sum n^2`` groups. For a mean over groups of
    equal size this is the t interval over the groups' means.

    A share is reckoned in log odds, where its errors are more nearly normal: at shares of .5 and .7, four to twenty
    groups and correlations within them of .02 to .3, the interval holds the truth in 94 to 97 % of trials. Nearer
    to 0 or 1 it may hold it less often, 90 % at .9 with five groups and a correlation of .3: `trusted` says so.

    Parameters
    ----------
    score : callable
        From how often each example counts [draws, examples] to the scores [draws]; NaN where there is none.
    groups : sequence [examples]
        Singer, speaker: what is left out together.
    scale : {"share", "plain"}
        A share between 0 and 1 (accuracy, average precision), or a number that is not (R2, a difference).
    level : float
        Coverage.

    Returns
    -------
    Estimate
        A share is `trusted` where its distance from 0 and from 1 is at least one group's worth (four groups: .25
        to .75; twenty: .05 to .95) and the groups differ at all; a plain number where they differ. Where all is right
        (or nothing), the interval is Wilson's, each group one trial.
    """
    index = _numbered(groups)
    value = float(score(np.ones((1, len(index))))[0])
    return _jackknife(value, _without_each(score, index), np.bincount(index), scale, level)


def mean_interval(
    values: np.ndarray, groups: Sequence | np.ndarray, *, scale: Scale = "plain", level: float = LEVEL
) -> Estimate:
    """Return the mean of `values` [examples] over all examples, with the interval of `group_interval`."""
    values = np.asarray(values, dtype=np.float64)
    _check_lengths(values, groups)
    index = _numbered(groups)
    sizes, sums = np.bincount(index), np.bincount(index, weights=values)
    others = np.maximum(len(values) - sizes, 1)  # with one group there are none, nor an interval
    return _jackknife(float(values.mean()), (sums.sum() - sums) / others, sizes, scale, level)


def paired_difference(
    correct_a: np.ndarray, correct_b: np.ndarray, groups: Sequence | np.ndarray, *, level: float = LEVEL
) -> Estimate:
    """Return the mean of ``a - b`` over the same clips, with its interval for clips of new groups.

    Pairing takes out what makes an example or a singer hard for both: the interval is tighter than that of
    two separate scores. Without any difference it excludes 0 in at most 6 % of trials.

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
    return mean_interval(a - b, groups, level=level)


def p_value(difference: Estimate, *, null: float = 0.0) -> float:
    """Return the two-sided p of a difference (of plain scale) being `null`; NaN where it has no standard error."""
    from scipy.special import stdtr

    if np.isnan(difference.se):
        return float("nan")
    distance = abs(difference.value - null)
    if difference.se == 0:
        return (
            1.0 if distance == 0 else float("nan")
        )  # all groups differ alike: nothing says by how much more
    return float(2 * stdtr(difference.df, -distance / difference.se))


def wilson(n_correct: float, n: int, *, level: float = LEVEL) -> tuple[float, float]:
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


def wilson_interval(correct: np.ndarray, groups: Sequence | np.ndarray) -> Estimate:
    """Return the share of `correct` [examples] with Wilson's interval, as published: of these groups' clips alone.

    It is `trusted` only where every clip is a group of its own.
    """
    correct = np.asarray(correct, dtype=np.float64)
    n_groups, value = len(np.unique(np.asarray(groups).astype(str))), float(correct.mean())
    low, high = wilson(correct.sum(), len(correct))
    se = float(np.sqrt(value * (1 - value) / len(correct)))
    return Estimate(value, low, high, se, float("inf"), n_groups, n_groups == len(correct))


def _numbered(groups: Sequence | np.ndarray) -> np.ndarray:
    """Return the number of each example's group, from 0."""
    return pd.factorize(np.asarray(groups), use_na_sentinel=False)[0]


def _without_each(score: Callable[[np.ndarray], np.ndarray], index: np.ndarray) -> np.ndarray:
    """Return the score without each group [groups]."""
    n_groups, at_a_time = int(index.max()) + 1, max(_MOST_WEIGHTS // len(index), 1)
    if n_groups < 2:
        return np.full(1, np.nan)
    parts = []
    for start in range(0, n_groups, at_a_time):
        left_out = np.arange(start, min(start + at_a_time, n_groups))
        parts.append(score((left_out[:, None] != index).astype(np.float64)))
    return np.concatenate(parts)


def _jackknife(value: float, without: np.ndarray, sizes: np.ndarray, scale: Scale, level: float) -> Estimate:
    """Return the estimate from the score of all, the score without each group [groups], and the groups' sizes."""
    n_groups = len(sizes)
    if n_groups < 2 or not np.isfinite([value, *without]).all():  # or there is no score without a group
        nothing = float("nan")
        return Estimate(value, nothing, nothing, nothing, nothing, n_groups, trusted=False)
    se = float(np.sqrt((n_groups - 1) / n_groups * ((without - without.mean()) ** 2).sum()))
    se = 0.0 if se < 1e-12 else se
    df = float(sizes.sum() ** 2 / (sizes**2).sum()) - 1
    half = _quantile(level, df) * se
    low, high, trusted = value - half, value + half, se > 0
    if scale == "share":
        trusted = trusted and n_groups * min(value, 1 - value) >= 1 - 1e-9
        if 0 < value < 1:
            low, high = _from_log_odds(value, half)
        else:
            low, high = wilson(round(value) * n_groups, n_groups, level=level)
    return Estimate(value, low, high, se, df, n_groups, trusted)


def _quantile(level: float, df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


def _from_log_odds(share: float, half: float) -> tuple[float, float]:
    """Return the ends of an interval that is symmetrical in log odds, `half` being its half width in shares."""
    from scipy.special import expit, logit

    width = half / (share * (1 - share))
    return float(expit(logit(share) - width)), float(expit(logit(share) + width))


def _check_lengths(values: np.ndarray, others) -> None:
    if len(values) != len(others) or len(values) == 0:
        raise InputError(
            f"expected as many values as groups, and at least one; got {len(values)} and {len(others)}"
        )
