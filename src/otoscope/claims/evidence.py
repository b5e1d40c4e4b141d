"""What the tables of a run say for or against a claim: which rows count, and differences with intervals.

A difference of means over factors has an interval by bootstrap over factors, a factor drawn alike on both sides: errors
clip by clip, which a bootstrap over singers would need, are not among the tables of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from otoscope.results import at_nearest_sparsity, r2_column, trained_codes

FEWEST_FACTORS = 3
"""A mean over fewer factors is compared with nothing."""

Place = tuple[str, Any]
"""An encoder and one of its layers."""
Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Rules:
    """What counts in this run; see `otoscope.claims.claims`."""

    score: str
    """The column of the R2 that counts."""
    entropy_column: str
    top: int
    chance: float | None
    n_bootstrap: int
    n_permutations: int
    seed: int

    @property
    def held_out(self) -> bool:
        """Whether that R2 is of groups that were not fitted."""
        return self.score == r2_column("held_out")


class Untestable(Exception):
    """A claim that these tables cannot answer; says why."""


class Difference(NamedTuple):
    """A mean difference and its 95 % interval."""

    mean: float
    low: float
    high: float


def needed(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """Return a table that has these columns and rows, or raise `Untestable`."""
    table = tables.get(name)
    if table is None or table.empty:
        raise Untestable(f"the run has no table {name}.csv")
    missing = [column for column in columns if column not in table]
    if missing:
        raise Untestable(f"{name}.csv has no column {', '.join(missing)}")
    return table


def by_place(table: pd.DataFrame) -> Iterator[tuple[Place, pd.DataFrame]]:
    """Yield each encoder's layers with their rows, as they come."""
    for (encoder, layer), own in table.groupby(["encoder", "layer"], sort=False):
        yield (str(encoder), layer), own


def lasso_rows(tables: Tables, rules: Rules, *columns: str) -> pd.DataFrame:
    """Return the Lasso's rows of disentanglement.csv."""
    columns = ("encoder", "layer", "representation", "sparsity", "seed", "factor", rules.score, *columns)
    table = needed(
        tables, "disentanglement", *columns, "importance", "ranked", "completeness", "effective_dims"
    )
    table = table[table.importance == "lasso"]
    if table[rules.score].isna().all():
        raise Untestable(f"disentanglement.csv has no {rules.score}")
    return table


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the codes that are compared with nulls and between layers, as in the paper's figures."""
    return at_nearest_sparsity(trained_codes(rows))


def best(
    rows: pd.DataFrame, rules: Rules, *, n: int | None = None, ranked: bool = True, by: str | None = None
) -> pd.DataFrame:
    """Return the `n` best-predicted factors of each seed; only ranked ones unless `ranked` is False."""
    by = by or rules.score
    kept = (rows[rows.ranked] if ranked else rows).dropna(subset=[by])
    return (
        kept.sort_values(by, ascending=False, kind="stable")
        .groupby("seed", sort=False, dropna=False)
        .head(n or rules.top)
    )


def enough(*sides: pd.DataFrame) -> bool:
    """Return whether all sides have factors enough for a mean to be compared."""
    return all(side.factor.nunique() >= FEWEST_FACTORS for side in sides)


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str, rules: Rules) -> Difference:
    """Return the mean of `column` over the factors of `a` minus that of `b`, with its interval."""
    from otoscope.probing.intervals import group_bootstrap

    a, b = a.dropna(subset=[column]), b.dropna(subset=[column])
    if a.empty or b.empty:
        return Difference(float("nan"), float("nan"), float("nan"))
    left, right = a[column].to_numpy(dtype=float), b[column].to_numpy(dtype=float)

    def score(n: np.ndarray) -> np.ndarray:
        return _mean(n[:, : len(left)], left) - _mean(n[:, len(left) :], right)

    factors = np.concatenate([a.factor.astype(str), b.factor.astype(str)])
    low, high = group_bootstrap(score, factors, seed=rules.seed, n_bootstrap=rules.n_bootstrap)
    return Difference(float(left.mean() - right.mean()), low, high)


def above(codes: pd.DataFrame, other: pd.DataFrame, rules: Rules) -> bool | None:
    """Return whether the best factors' completeness is above another representation's; None if it cannot be told.

    A null that holds no factor well enough to be ranked is beaten: nothing is there to be complete.
    """
    if not other[rules.score].notna().any():
        return None
    theirs = best(other, rules)
    if theirs.empty:
        return True
    if not enough(theirs):
        return None
    return difference(codes, theirs, "completeness", rules).low > 0


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation, ties averaged; 0 where one side is constant."""
    a, b = (pd.Series(np.asarray(v, dtype=float)).rank().to_numpy() for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float(a @ b / norm) if norm > 0 else 0.0


def negative_rank_correlation(
    x: np.ndarray, y: np.ndarray, *, n_permutations: int, seed: list[int]
) -> tuple[float, float]:
    """Return Spearman's correlation and how often permuted pairs are as far below 0 (one-sided p)."""
    rho = spearman(x, y)
    a, b = (pd.Series(np.asarray(v, dtype=float)).rank().to_numpy() for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    if norm == 0:
        return 0.0, 1.0
    draws = np.random.default_rng(seed).permuted(np.tile(b, (n_permutations, 1)), axis=1) @ a / norm
    return rho, float((1 + (draws <= rho + 1e-12).sum()) / (1 + n_permutations))


def holm(p_values: dict[Place, float], *, level: float) -> dict[Place, bool]:
    """Return which of several tests are significant together (Holm 1979)."""
    significant = dict.fromkeys(p_values, False)
    for rank, place in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[place] > level / (len(p_values) - rank):
            break
        significant[place] = True
    return significant


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weighted mean of each draw; NaN for a draw without any of the values."""
    total = weights.sum(axis=1)
    return np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total > 0)
