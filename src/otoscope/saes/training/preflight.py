"""Look at activations before training on them: would a mean, an outlier or a low rank drown what is to be learnt?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from otoscope.errors import InputError

OUTLIER = 10.0
"""Root mean square of a dimension, in units of the median one, from which it is an outlier.

A sum over 100 dimensions of typical size is then no larger than the outlier alone: the squared error of rows some
hundreds wide would see little else. (Dettmers et al. 2022 and Sun et al. 2024 count from 6 and from 1,000 times.)
"""
LIMIT = 6.0
"""Standard deviation of a dimension, in units of the median one, that ``normalise="auto"`` brings larger ones down to.

Chosen on planted rows (``benchmarks/planted.py``: one outlier among few directions): at 10 a fifth of the latents died,
at 7 up to 2 %, at 6 under 1 %; at 5 as few, for twice the error in raw units, which is the outlier's.
"""
LARGE_MEAN = 1.0
"""Length of the mean over the rows' spread from which a code without centring spends most of its energy on it."""
LOW_RANK = 0.25
"""Effective rank, as a share of the width, below which a wide dictionary has few directions to tell apart."""
MANY_DUPLICATES = 0.01
"""Share of repeated rows above which held-out rows may be copies of training rows."""

_HASHED_ROWS = 4096

COLUMNS = (
    "layer", "n_rows", "width", "mean_over_spread", "outliers", "outlier_share", "largest_dimension",
    "largest_severity", "effective_rank", "limited", "duplicates", "advice",
)  # fmt: skip


@dataclass(frozen=True)
class Moments:
    """What one pass over the rows of a layer leaves."""

    n_rows: int
    mean: np.ndarray
    """[features], float64"""
    covariance: np.ndarray
    """[features, features], float64; of the rows themselves, divided by their number."""
    n_duplicates: int
    """Rows that are equal to an earlier one in every feature."""


@dataclass(frozen=True)
class Preflight:
    """What :func:`preflight` finds about one layer."""

    n_rows: int
    width: int
    mean_over_spread: float
    """Length of the mean over the root mean squared distance of the rows from it."""
    outliers: int
    """Dimensions whose root mean square is `OUTLIER` times the median one's."""
    outlier_share: float
    """Their share of the mean squared length of a row."""
    largest_dimension: int
    """The dimension with the largest share of it."""
    largest_severity: float
    """|mean| / standard deviation of that dimension."""
    effective_rank: float
    """exp of the entropy of the correlation matrix's eigenvalues (after Roy & Vetterli 2007): how many directions the
    rows use, each dimension taken at its own scale, so that an outlier does not hide the others."""
    limited: int
    """Dimensions whose standard deviation is over `LIMIT` times the median one: ``normalise="auto"`` brings them
    down to that (:func:`divisors`)."""
    duplicates: int
    """Rows that are equal to an earlier one."""
    advice: str
    """What was seen and what to do, in one line."""


class MomentTally:
    """Running :class:`Moments` of one layer, in float64.

    Blocks are pooled as by Chan et al. (1983), which loses no digits to a large mean.
    """

    def __init__(self) -> None:
        self._n_rows = 0
        self._mean, self._scatter = np.zeros(()), np.zeros(())
        self._hashes: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Add rows [rows, features]."""
        if not len(rows):
            return
        self._hashes.append(_hashes(rows))
        rows = np.array(rows, dtype=np.float64)  # a copy, centred in place: it may be a gigabyte
        mean = rows.mean(0)
        gap = mean - self._mean
        rows -= mean
        total = self._n_rows + len(rows)
        between = np.multiply.outer(gap, gap) * (self._n_rows * len(rows) / total)
        self._scatter = self._scatter + rows.T @ rows + between
        self._mean = self._mean + gap * (len(rows) / total)
        self._n_rows = total

    def moments(self) -> Moments:
        """Return what was found.

        Raises
        ------
        InputError
            If no rows were added.
        """
        if self._n_rows == 0:
            raise InputError("there are no activations to look at before training")
        n_different = len(np.unique(np.concatenate(self._hashes)))
        return Moments(self._n_rows, self._mean, self._scatter / self._n_rows, self._n_rows - n_different)


def moments(blocks: Iterable[np.ndarray]) -> Moments:
    """Return mean, covariance and count of repeated rows of all `blocks` ``[rows, features]``."""
    tally = MomentTally()
    for block in blocks:
        tally.add(block)
    return tally.moments()


def divisors(found: Moments) -> np.ndarray:
    """Return what ``normalise="auto"`` divides each dimension by, once its mean is gone, [features].

    One number for all, the median standard deviation, so that directions stay what they are; but a dimension of over
    `LIMIT` times it is brought down to that. Dividing by each dimension's own deviation instead would make as much
    of the outlier as of any other, and the error in raw units is the outlier's.
    """
    deviations = np.sqrt(np.diagonal(found.covariance))
    lively = deviations[deviations > 0]
    if not len(lively):  # all rows are equal: there is nothing to scale by
        return np.ones(len(deviations))
    return np.maximum(np.median(lively), deviations / LIMIT)


def preflight(found: Moments) -> Preflight:
    """Judge one layer's rows by their :func:`moments`."""
    variance = np.diagonal(found.covariance)
    energy, deviations = found.mean**2 + variance, np.sqrt(variance)
    total = float(energy.sum())
    outlying = np.sqrt(energy) >= OUTLIER * max(float(np.median(np.sqrt(energy))), np.finfo(float).tiny)
    largest = int(energy.argmax())
    lively = deviations[deviations > 0]
    found_here = Preflight(
        n_rows=found.n_rows,
        width=len(energy),
        mean_over_spread=_ratio(float(np.linalg.norm(found.mean)), float(np.sqrt(variance.sum()))),
        outliers=int(outlying.sum()),
        outlier_share=float(energy[outlying].sum() / total) if total > 0 else 0.0,
        largest_dimension=largest,
        largest_severity=_ratio(abs(float(found.mean[largest])), float(deviations[largest])),
        effective_rank=_effective_rank(found.covariance),
        limited=int((deviations > LIMIT * np.median(lively)).sum()) if len(lively) else 0,
        duplicates=found.n_duplicates,
        advice="",
    )
    return dataclasses.replace(found_here, advice=_advice(found_here))


def preflight_table(found: dict) -> pd.DataFrame:
    """Return the rows of ``preflight.csv``: one for each ``{layer: Preflight}``."""
    rows = [{"layer": layer, **vars(one)} for layer, one in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _advice(seen_here: Preflight) -> str:
    seen = []
    if seen_here.mean_over_spread >= LARGE_MEAN:
        seen.append(
            f"the rows' mean is {seen_here.mean_over_spread:.1f} times as long as their spread around it, and "
            "takes latents for itself where it is not subtracted"
        )
    if seen_here.outliers:
        seen.append(
            f"{seen_here.outliers} of {seen_here.width} dimensions (first in size: "
            f"{seen_here.largest_dimension}) hold {seen_here.outlier_share:.0%} of the energy: without scaling, "
            "the squared error sees little else"
        )
    if seen_here.effective_rank < LOW_RANK * seen_here.width:
        seen.append(
            f"the rows use about {seen_here.effective_rank:.0f} of {seen_here.width} directions: PCA with so many "
            "components is hard to beat, and fewer latents (n_latents) may do"
        )
    if seen_here.duplicates > MANY_DUPLICATES * seen_here.n_rows:
        seen.append(
            f"{seen_here.duplicates:,} of {seen_here.n_rows:,} rows repeat an earlier one: take them out, or "
            "held-out rows are not held out"
        )
    does = "normalise: auto, the default, subtracts the mean and divides by one number"
    if seen_here.limited:
        which = "a dimension" if seen_here.limited == 1 else f"{seen_here.limited} dimensions"
        does += f", and brings {which} down to {LIMIT:g} times the median"
    return "; ".join([*seen, does]) if seen else f"nothing stands out; {does}"


def _effective_rank(covariance: np.ndarray) -> float:
    deviations = np.sqrt(np.diagonal(covariance))
    lively = deviations > 0
    if not lively.any():
        return 0.0
    scaled = covariance[np.ix_(lively, lively)] / np.outer(deviations[lively], deviations[lively])
    values = np.linalg.eigvalsh(scaled).clip(0)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _hashes(block: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each row: a random linear form of its bits, modulo 2^64 (a chance pair: 1 in 2^63)."""
    factors = np.random.default_rng(0).integers(0, 2**64, block.shape[1], dtype=np.uint64) | np.uint64(1)
    found = np.empty(len(block), np.uint64)
    for start in range(0, len(block), _HASHED_ROWS):  # eight bytes a number, twice: never of a whole block
        part = np.asarray(block[start : start + _HASHED_ROWS], dtype=np.float32) + 0.0  # + 0.0: -0 is 0
        bits = np.ascontiguousarray(part).view(np.uint32)
        found[start : start + len(part)] = (bits.astype(np.uint64) * factors).sum(1, dtype=np.uint64)
    return found


def _ratio(above: float, below: float) -> float:
    if below > 0:
        return above / below
    return float("inf") if above > 0 else 0.0
