"""What the tables of a run say for or against a claim: which rows count, and differences with intervals.

Both sides of a comparison are the same factors. Each factor is averaged over seeds first: a mean over the dictionaries
that were trained, not over factors times seeds. The interval of a mean over factors is Student's t over them.
Factors are not groups: it says how much the mean hangs on which factors there are, and is called descriptive.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from otoscope import multiple_testing
from otoscope.results import at_nearest_sparsity, r2_column, trained_codes

FEWEST_FACTORS = 3
"""A mean over fewer factors is compared with nothing."""

LEVEL = 0.05
MARGIN = 0.05
"""Loss of accuracy or of R2 up to which it still counts as kept (non-inferiority)."""

Place = tuple[str, Any]
"""An encoder and one of its layers."""
Tables = Mapping[str, pd.DataFrame]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Rules:
    """What counts in this run; see `otoscope.claims.claims`."""

    score: str
    """The column of the R2 that counts."""
    entropy_column: str
    top: int
    chance: float | None
    n_permutations: int
    seed: int

    @property
    def held_out(self) -> bool:
        """Whether that R2 is of groups that were not fitted."""
        return self.score == r2_column("held_out")


class Untestable(Exception):
    """A claim that these tables cannot answer; says why."""


class Difference(NamedTuple):
    """A mean difference, its standard error, and the degrees of freedom that this is known with."""

    mean: float
    se: float
    df: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.mean - self._half

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.mean + self._half

    @property
    def _half(self) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.df, 0.975) * self.se)

    def p_above(self, null: float = 0.0) -> float:
        """One-sided p of the difference being no more than `null`; below .025 where `low` is above it."""
        from scipy.special import stdtr

        distance = self.mean - null
        if self.se <= 1e-12:  # all differ alike
            return 0.0 if distance > 1e-12 else 1.0
        return float(stdtr(self.df, -distance / self.se))

    def p_below(self, null: float = 0.0) -> float:
        """One-sided p of the difference being no less than `null`."""
        return self._replace(mean=-self.mean).p_above(-null)


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


def standing(
    tables: Tables, table: pd.DataFrame, relied_on: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[list[tuple[Place, pd.DataFrame]], str]:
    """Return the layers whose dictionaries stand, with their rows, and the others in words.

    A layer is left out where any dictionary of a sparsity among the rows `relied_on` has collapsed, of any seed:
    what is said of such codes is said of the few latents that are left. Raises `Untestable` where none stands.
    """
    fallen: dict[tuple[str, str], set[float]] = {}
    health = tables.get("health")
    if health is not None:
        for row in health[health.state == "collapsed"].itertuples():
            fallen.setdefault((str(row.encoder), str(row.layer)), set()).add(round(float(row.sparsity), 6))
    left, gone = [], []
    for place, own in by_place(table):
        used = {round(float(s), 6) for s in relied_on(own).sparsity.dropna().unique()}
        collapsed = used & fallen.get((place[0], str(place[1])), set())
        if collapsed:
            at = ", ".join(f"{100 * s:g} %" for s in sorted(collapsed))
            gone.append(f"{place[0]} layer {place[1]} at {at}")
        else:
            left.append((place, own))
    words = f"the dictionary has collapsed ({'; '.join(gone)})" if gone else ""
    if gone and not left:
        raise Untestable(words)
    return left, f"not tested: {words}" if words else ""


def lasso_rows(tables: Tables, rules: Rules, *columns: str) -> pd.DataFrame:
    """Return the Lasso's rows of disentanglement.csv."""
    scores = ("r2_cv", "r2_beyond", "label_owned") if rules.held_out else ()
    columns = (
        "encoder",
        "layer",
        "representation",
        "sparsity",
        "seed",
        "factor",
        rules.score,
        *scores,
        *columns,
    )
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


def up_to(rows: pd.DataFrame, sparsity: float) -> pd.DataFrame:
    """Return the rows of trained codes up to a sparsity."""
    codes = trained_codes(rows)
    return codes[codes.sparsity <= sparsity + 1e-6]


def paired(a: pd.DataFrame, b: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Return a row per factor that has a score on both sides: ``score_a, score_b, ranked_a, ...``.

    Numbers are means over seeds; a factor is ranked on a side where at least half of its seeds rank it. One that is the
    label's on one side is counted beyond the label on both, and ranked on both or none, as it is there.
    """
    sides = _over_seeds(a, rules).add_suffix("_a").join(_over_seeds(b, rules).add_suffix("_b"), how="inner")
    for side, other in ("ab", "ba"):
        if rules.held_out:
            owned = sides[f"label_owned_{other}"] & ~sides[f"label_owned_{side}"]
            sides.loc[owned, f"score_{side}"] = sides.loc[owned, f"r2_beyond_{side}"]
            sides.loc[owned, f"ranked_{side}"] = sides.loc[owned, f"ranked_{other}"]
    return sides.dropna(subset=["score_a", "score_b"])


def _over_seeds(rows: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Return the means of each factor over seeds."""
    means = ["completeness", "effective_dims", "effective_dims_matched", "r2_beyond"]
    own = rows.groupby("factor", sort=False)
    table = own[[name for name in means if name in rows]].mean()
    table["score"] = own[rules.score].mean()
    table["ranked"] = own["ranked"].mean() >= 0.5
    if rules.held_out:
        table["label_owned"] = own["label_owned"].any()
        # where seeds disagree on whose the factor is, their scores are of two kinds: beyond the label, then
        mixed = table.label_owned & ~own["label_owned"].all()
        table.loc[mixed, "score"] = table.loc[mixed, "r2_beyond"]
        ranked_so = rows[rows.label_owned].groupby("factor")["ranked"].mean().reindex(table.index) >= 0.5
        table.loc[mixed, "ranked"] = ranked_so[mixed]
    return table


def best(sides: pd.DataFrame, rules: Rules, *, ranked: str) -> pd.DataFrame:
    """Return the best-predicted factors of `paired` sides, ranked on "both", or on "either".

    They are the best by the sum of both scores, and what is tested is a difference: luck in the sum is, errors being
    alike on both sides, none in the difference. By the score of one side they would favour that side.
    """
    flags = sides.ranked_a & sides.ranked_b if ranked == "both" else sides.ranked_a | sides.ranked_b
    kept = sides[flags]
    order = (kept.score_a + kept.score_b).sort_values(ascending=False, kind="stable").index
    return kept.loc[order[: rules.top]]


def enough(sides: pd.DataFrame) -> bool:
    """Return whether there are factors enough for a mean to be compared."""
    return len(sides) >= FEWEST_FACTORS


def over_factors(sides: pd.DataFrame, column: str) -> Difference:
    """Return the mean over factors of ``column_a - column_b``, with Student's t over them."""
    values = (sides[f"{column}_a"] - sides[f"{column}_b"]).dropna().to_numpy(dtype=float)
    if len(values) < 2:
        nothing = float("nan")
        return Difference(float(values.mean()) if len(values) else nothing, nothing, nothing)
    return Difference(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), len(values) - 1)


def over_seeds(rows: pd.DataFrame) -> Difference:
    """Return the mean over seeds of the differences in comparisons.csv.

    Its standard error is the mean of theirs. Seeds share test clips and the dense side, so their errors hang together,
    nobody knows how much: whatever the correlation, a mean's standard error is at most the mean standard error. The
    fewest degrees of freedom count. It is of these dictionaries, over new groups.
    """
    return Difference(
        float(rows.difference.mean()), float(rows.difference_se.mean()), float(rows.difference_df.min())
    )


def p_above_chance(row: Any, chance: float) -> float:
    """Return the one-sided p of a row of layer_probing.csv being no better than `chance`.

    Its interval is Student's t in log odds, from which the standard error is read back.
    """
    from scipy.special import logit, stdtr, stdtrit

    inside = 0 < row.score_low < row.score < 1 and row.n_groups > 1
    if not inside:
        return 0.0 if row.score_low > chance else 1.0
    df = float(row.n_groups) - 1
    se = (logit(row.score) - logit(row.score_low)) / stdtrit(df, 0.975)
    return float(stdtr(df, -(logit(row.score) - logit(chance)) / se))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation of x and y [factors], ties averaged; 0 where one side is constant."""
    a, b = (pd.Series(np.asarray(v, dtype=float)).rank().to_numpy() for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float(a @ b / norm) if norm > 0 else 0.0


def rising(values: np.ndarray, *, n_permutations: int, seed: list[int]) -> tuple[float, float]:
    """Return Spearman's correlation of the mean of `values` [seeds, steps] with the step, and its one-sided p.

    The p is of the mean of the seeds' correlations; by chance, any order of the steps within a seed is as likely.
    """
    steps = np.arange(values.shape[1])
    rho = spearman(steps, values.mean(axis=0))
    ranks = np.array([pd.Series(own).rank().to_numpy() for own in values])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((ranks**2).sum(axis=1))
    ranks = np.divide(ranks, norms[:, None], out=np.zeros_like(ranks), where=norms[:, None] > 0)
    rng, centred = np.random.default_rng(seed), steps - steps.mean()
    found = (ranks @ centred).mean()
    draws = (rng.permuted(np.tile(ranks, (n_permutations, 1, 1)), axis=2) @ centred).mean(axis=1)
    return rho, float((1 + (draws >= found - 1e-12).sum()) / (1 + n_permutations))


def negative_rank_correlation(
    x: np.ndarray, y: np.ndarray, *, n_permutations: int, seed: list[int]
) -> tuple[float, float]:
    """Return Spearman's correlation of x and y [factors], and how often permuted pairs are as low (one-sided p)."""
    rho = spearman(x, y)
    a, b = (pd.Series(np.asarray(v, dtype=float)).rank().to_numpy() for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    if norm == 0:
        return 0.0, 1.0
    draws = np.random.default_rng(seed).permuted(np.tile(b, (n_permutations, 1)), axis=1) @ a / norm
    return rho, float((1 + (draws <= rho + 1e-12).sum()) / (1 + n_permutations))


def holm(p_values: Mapping[Key, float], *, level: float) -> dict[Key, bool]:
    """Return which of several tests are significant together (Holm 1979); NaN is not, and does not count."""
    corrected = multiple_testing.holm(list(p_values.values()))
    return {key: bool(p <= level) for key, p in zip(p_values, corrected)}


def together(p_values: Mapping[Key, float], *, level: float = 0.025) -> dict[Key, bool]:
    """Return where a claim holds: everywhere if each p is below `level`, else where Holm's correction leaves it.

    "Everywhere" needs no correction (each must be shown); "in some" does, as there were several to choose from.
    """
    if all(p <= level for p in p_values.values()):
        return dict.fromkeys(p_values, True)
    return holm(p_values, level=level)
