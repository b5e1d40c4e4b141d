"""Codes against the dense layer and against each null, over one set of factors."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from otoscope import wording
from otoscope.claims import evidence, verdicts
from otoscope.claims.evidence import LEVEL, MARGIN, Place, Rules, enough, headline, paired
from otoscope.results import DENSE, SHORT_NULL_LABELS

NOT_CODES = ("label", "shuffled")
"""Nulls that have no dimensions of their own: a label alone, factors of other clips."""
TO_BEAT = {null: label for null, label in SHORT_NULL_LABELS.items() if null not in NOT_CODES}
"""The nulls that codes must beat where a run has them."""
AT_LEAST = ("untrained", "random")
"""Those that a run must have."""


class Duel(NamedTuple):
    """Codes against another representation at one layer."""

    level: float
    """The other's mean of what is compared; NaN where it holds too few of the factors."""
    p: float | None
    """One-sided, of codes being no better; None where it cannot be told."""
    holds_less: bool
    """Whether the other's mean R2 of the factors is lower than the codes' by more than the margin."""


def duel(own: pd.DataFrame, name: str, sides: pd.DataFrame, rules: Rules, *columns: str) -> Duel:
    """Compare codes with `name` in each of `columns`, over the factors of `sides`; the largest p counts.

    Completeness is better above, dimensions below. A null that ranks none of the factors is beaten: nothing is there.
    """
    other = own[own.representation == name]
    pair = paired(headline(own), other, rules)
    pair = pair.loc[pair.index.intersection(sides.index, sort=False)]
    if pair.empty:
        return Duel(float("nan"), None, holds_less=False)
    holds_less = pair.score_b.mean() < pair.score_a.mean() - MARGIN
    pair = pair[pair.ranked_b]
    level = pair[f"{columns[0]}_b"].mean()
    if pair.empty:
        return Duel(level, 0.0, holds_less=True)
    if not enough(pair):
        return Duel(level, None, holds_less)
    differences = [evidence.over_factors(pair, column) for column in columns]
    better = [d.p_above() if columns[0] == "completeness" else d.p_below() for d in differences]
    return Duel(level, max(better), holds_less)


def judged(
    duels: dict[Place, dict[str, Duel]], *, required: tuple[str, ...] = AT_LEAST
) -> tuple[dict[Place, bool], str, str]:
    """Return where codes win every duel, in how many layers each, and who could not be compared.

    Where a required null is missing, a layer can be lost, not won.
    """
    told = {place: {n: d.p for n, d in own.items() if d.p is not None} for place, own in duels.items()}
    won = evidence.together({place: max(own.values(), default=1.0) for place, own in told.items()})
    passed = {
        place: won[place]
        for place, own in told.items()
        if set(required) <= set(own) or max(own.values(), default=0.0) > LEVEL / 2
    }
    called = {DENSE: "dense"} | TO_BEAT
    wins = {n: {place: own[n] <= LEVEL / 2 for place, own in told.items() if n in own} for n in called}
    said = wording.listing([f"{called[n]} in {verdicts.of(own)}" for n, own in wins.items() if own])
    untold = wording.listing([called[n] for n, own in wins.items() if not own and n in required])
    return passed, said, untold
