"""A short name for each latent, made of tested evidence; where there is none, it says so.

A name is the condition, a label or a side of a factor's threshold, that tells best where the latent is strong. Only
what passed the corrected test is looked at, and only where it tells clips apart well (AUC of `CLEAR` or more). A second
condition is added where it tells them apart better still, and a group where nearly all activity is that group's, on
all clips, those for judging too. A name of one group rests on one person: its confidence is 0.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata, t

from otoscope.latents.evidence import FEWEST_CLIPS, FEWEST_OF_VALUE, GROUP
from otoscope.latents.ground import Ground
from otoscope.latents.rules import Condition, Rule, auc_in_groups, auc_of
from otoscope.wording import count, listing, signed

LEVEL = 0.05
"""A corrected p above this is no evidence."""
CLEAR = 0.7
"""AUC that a name needs."""
BETTER = 0.03
"""Of AUC, that a second condition must add."""
ONE_GROUPS_SHARE = 0.8
"""Of a latent's activity, and of the clips in which it fires: from here on it is one group's."""
FEWEST_GROUPS = 4
"""Groups that must be there before a latent is said to be one group's."""
_TRIED, _STARTS = 4, 3
"""Best labels and factors that are looked at, and how many of these with a second one."""
_CUTS = np.linspace(0.1, 0.9, 17)
"""Quantiles of a factor where a threshold may lie."""


def name_latents(
    ground: Ground,
    labels: pd.DataFrame,
    factors: pd.DataFrame,
    *,
    latents: np.ndarray,
    label: str | None = None,
    elsewhere: Any = None,
) -> pd.DataFrame:
    """Name latents by what was found of them.

    Parameters
    ----------
    ground : Ground
    labels, factors : DataFrame
        From `label_evidence` and `factor_evidence`, on the rows of `ground`.
    latents : int [tested]
        Those that were tested.
    label : str, optional
        The column that factors go beyond, for the sentences.
    elsewhere : sparse [other rows, latents], optional
        Values of rows of other groups: they can only refute that a latent is one group's.

    Returns
    -------
    DataFrame
        ``latent, name, rule, confidence, evidence, caveat, name_auc``, a row for each of `latents`. `confidence`, 0 to
        1, is 2 AUC - 1 at the lower end of the AUC's 95 % interval over groups; 0 for names of one group. `rule` is
        `Rule.to_json`.
    """
    labels = labels[(labels.p_corrected <= LEVEL) & (labels.auc > labels.null95)]
    factors = factors[factors.p_corrected <= LEVEL]
    of_labels = {int(key): own for key, own in labels.sort_values("auc", ascending=False).groupby("latent")}
    by_rho = factors.reindex(factors.rho.abs().sort_values(ascending=False).index)
    of_factors = {int(key): own for key, own in by_rho.groupby("latent")}
    columns = ground.values.tocsc()
    others = ground.values[:0].tocsc() if elsewhere is None else elsewhere.tocsc()
    rows = []
    for latent in latents:
        values, unheard = _column(columns, latent), _column(others, latent)
        found = _Search(ground, values, of_labels.get(latent), of_factors.get(latent), unheard)
        rows.append({"latent": latent} | _describe(found, label))
    return pd.DataFrame(
        rows, columns=["latent", "name", "rule", "confidence", "evidence", "caveat", "name_auc"]
    )


class _Search:
    """The best rule for one latent."""

    def __init__(
        self,
        ground: Ground,
        values: np.ndarray,
        labels: pd.DataFrame | None,
        factors: pd.DataFrame | None,
        unheard: np.ndarray,
    ) -> None:
        self.ground, self.values = ground, values
        self.labels, self.factors = labels, factors
        self.best_labels, self.best_factors = _best(labels), _best(factors)
        self.strength = ground.strength(values)
        self.auc, self.holds = 0.5, np.zeros(len(values), bool)
        self.tables = (ground.labels, ground.factors)
        self.one_group = self._group_of_all(unheard)
        self.rule = self._find()

    def _find(self) -> Rule:
        everywhere = np.ones(len(self.values), bool)
        singles = sorted(self._options(everywhere), key=lambda one: -one[0])[:_STARTS]
        if not singles:
            return Rule()
        pairs = [
            (auc, (first, second), holds)
            for _, first, within in singles
            for auc, second, holds in self._options(within, beside=first)
        ]
        auc, condition, holds = singles[0]
        chosen: tuple[Condition, ...] = (condition,)
        if pairs:
            best = max(pairs, key=lambda one: one[0])
            if best[0] >= auc + BETTER:
                auc, chosen, holds = best
        if auc < CLEAR:
            return Rule()
        self.auc, self.holds = auc, holds
        group = [str(condition.value) for condition in chosen if condition.column == GROUP]
        others = [condition for condition in chosen if condition.column != GROUP]
        others.sort(key=lambda one: (one.side != "is", one.column))  # one name, however it was found
        return Rule(tuple(others), group[0] if group else "", moments=self.ground.moments)

    def _options(
        self, within: np.ndarray, *, beside: Condition | None = None
    ) -> list[tuple[float, Condition, np.ndarray]]:
        """Return AUC, condition and where both it and `within` hold, of all conditions that may be named."""
        found = []
        for condition in self._conditions(within):
            if beside is not None and condition.column == beside.column:
                continue
            known = condition.side == "is"  # thresholds are seldom met again
            met = self.ground.holds(condition) if known else condition.holds(*self.tables)
            holds = within & met
            if FEWEST_OF_VALUE <= holds.sum() <= len(holds) - FEWEST_OF_VALUE:
                groups = self.ground.groups[holds]
                if groups.min() < groups.max() or GROUP in (condition.column, beside and beside.column):
                    found.append((self.ground.auc(self.strength, holds), condition, holds))
        return found

    def _conditions(self, within: np.ndarray) -> list[Condition]:
        found = [Condition(column, value) for column, value in self.best_labels]
        for factor, rho in self.best_factors:
            if condition := self._cut(factor, rho, within):
                found.append(condition)
        if self.one_group:
            found.append(Condition(GROUP, self.one_group))
        return found

    def _cut(self, factor: str, rho: float, within: np.ndarray) -> Condition | None:
        """Return the threshold of a factor whose two sides differ most in rank."""
        assert self.ground.factors is not None
        numbers = self.ground.factors[factor].to_numpy(float)
        known = within & np.isfinite(numbers)
        if known.sum() < FEWEST_CLIPS:
            return None
        numbers, strength = numbers[known], self.strength[known]
        cuts = np.unique([_rounded(cut) for cut in np.quantile(numbers, _CUTS)])
        above = numbers[:, None] > cuts if rho > 0 else numbers[:, None] < cuts
        n = above.sum(0)
        ok = (n >= FEWEST_OF_VALUE) & (n <= len(numbers) - FEWEST_OF_VALUE)
        if not ok.any():
            return None
        scale = 1.0 if self.ground.moments else np.sqrt(np.maximum(n * (len(numbers) - n), 1))
        apart = np.where(ok, (strength - strength.mean()) @ above / scale, -np.inf)
        unit = self.ground.units.get(factor, "")
        return Condition(factor, float(cuts[apart.argmax()]), "above" if rho > 0 else "below", unit)

    def _group_of_all(self, unheard: np.ndarray) -> str:
        """Return the group whose activity, and clips, nearly all are; empty if there is none."""
        if self.ground.moments:
            return ""
        shares = []
        for heard, more in ((self.values, unheard), (self.values > 0, unheard > 0)):
            own = np.bincount(self.ground.groups, weights=heard)
            shares.append(own / max(own.sum() + more.sum(), 1e-12))
        least = np.minimum(*shares)
        if len(least) < FEWEST_GROUPS or least.max() < ONE_GROUPS_SHARE:
            return ""
        return str(self.ground.labels.group.iloc[int((self.ground.groups == least.argmax()).argmax())])


def _column(values: sparse.csc_matrix, number: int) -> np.ndarray:
    """Return one column, dense [rows]; indexing takes ten times as long."""
    own = slice(*values.indptr[number : number + 2])
    column = np.zeros(values.shape[0], values.dtype)
    column[values.indices[own]] = values.data[own]
    return column


def _best(table: pd.DataFrame | None) -> list[tuple]:
    """Return the first labels (column, value) or factors (factor, rho) of a table in order; groups are left out."""
    if table is None:
        return []
    names = ["factor", "rho"] if "rho" in table else ["column", "value"]
    rows = zip(*(table[name].tolist() for name in names))
    return list(islice((row for row in rows if row[0] != GROUP), _TRIED))


def _describe(found: _Search, label: str | None) -> dict:
    """Return a row of the table of names."""
    rule = found.rule
    sentences, caveats = [], []
    low, confidence = float("nan"), 0.0
    if rule:
        auc = found.auc
        seen, asked = found.values, found.holds
        if found.ground.moments:  # the rule is what tells, firing what is told
            seen, asked = found.holds.astype(float), found.values > 0
        low, where = _lower_end(seen, asked, found.ground.groups, auc, alone=bool(rule.group))
        confidence = 0.0 if rule.group else float(np.clip(2 * low - 1, 0, 1))
        sentences.append(f"AUC {auc:.2f} for {rule}{where}")
        if rule.group:
            caveats.append(f"nearly only {rule.group}: it may be the person, and nobody else can show it")
    else:
        auc = float("nan")
    if found.labels is not None and len(found.labels):
        best = found.labels.iloc[0]
        told = f"{best['column']} {best['value']}" if best["column"] != GROUP else str(best["value"])
        sentences.append(
            f"best label: {told}, AUC {best.auc:.2f} (chance up to {best.null95:.2f}; p {best.p_corrected:.3f})"
        )
        named = {str(condition.value) for condition in rule.conditions}
        rivals = [
            f"{row.column} {row.value}"
            for row in found.labels.head(3).itertuples()
            if rule and row.auc > auc - BETTER and row.value not in named and row.column != GROUP
        ]
        if rivals:
            caveats.append(f"goes with {listing(rivals)} about as well")
    if found.factors is not None and len(found.factors):
        best = found.factors.iloc[0]
        beyond = " within a clip" if found.ground.moments else f" beyond {label}" if label else ""
        sentences.append(f"{best.factor}: rho {signed(best.rho)}{beyond} (p {best.p_corrected:.3f})")
    if not sentences:
        sentences.append("no label, group or factor goes with it beyond chance")
    elif not rule:
        sentences.append("too weak to name it by")
    return {
        "name": str(rule),
        "rule": rule.to_json(),
        "confidence": confidence,
        "evidence": "; ".join(sentences),
        "caveat": "; ".join(caveats),
        "name_auc": auc,
    }


def _lower_end(
    values: np.ndarray, holds: np.ndarray, groups: np.ndarray, auc: float, *, alone: bool
) -> tuple[float, str]:
    """Return the lower end of the AUC's 95 % interval over groups, and a phrase on them.

    Where a rule holds in some clips of a group and not in others, AUCs of groups are averaged (t interval), with one
    more of 0.5, so that a few perfect groups are not certainty. Else groups are the rows, each by its mean, with the
    error of Hanley & McNeil (1982).
    """
    if not alone:
        own = auc_in_groups(values, holds, groups)
        if len(own) >= 3:
            careful = np.append(own, 0.5)
            error = careful.std(ddof=1) / np.sqrt(len(careful))
            low = careful.mean() - t.ppf(0.975, len(own)) * error
            return float(low), f" (above 0.5 in {(own > 0.5).sum()} of {count(len(own), 'group')})"
        means = pd.DataFrame({"value": values, "holds": holds.astype(float)}).groupby(groups).mean()
        values, holds = means.value.to_numpy(), means.holds.to_numpy() > 0.5
        auc = auc_of(rankdata(values), holds)
    n_with, n_without = int(holds.sum()), int((~holds).sum())
    if min(n_with, n_without) < 2 or not np.isfinite(auc):
        return 0.5, ""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_with - 1) * (q1 - auc**2) + (n_without - 1) * (q2 - auc**2)
    floor = 1 / (n_with + n_without)  # a perfect separation of few is not without error
    error = np.sqrt(max(spread, floor) / (n_with * n_without))
    where = "" if alone else f" ({count(n_with, 'group')} against {n_without})"
    return float(auc - 1.96 * error), where


def _rounded(value: float) -> float:
    """Return a threshold as a name writes it: three digits."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))
