"""From outcomes in layers to one verdict, and the words around it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from otoscope import wording
from otoscope.claims.evidence import Difference, Place, Rules, headline, together
from otoscope.results import AS_PUBLISHED, IN_PART, NO, NOT_TESTED, SHORT_NULL_LABELS, YES


class Found(NamedTuple):
    """The numbers in a sentence, the verdict, and what it was tested on."""

    measured: str
    holds: str
    scope: str


def overall(outcomes: Collection[bool]) -> str:
    """Return "yes" if all of them hold, "no" if none, else "in part"."""
    if all(outcomes):
        return YES
    return IN_PART if any(outcomes) else NO


def as_fitted(found: Found, rules: Rules) -> Found:
    """Return the verdict as it stands if R2 was held out; in-sample numbers can only show what was published."""
    return found._replace(holds=AS_PUBLISHED) if found.holds == YES and not rules.held_out else found


def kept(
    found: Mapping[Place, Mapping[float, Difference]],
    shown: Mapping[tuple[Place, float], bool],
    *,
    margin: float,
    lead: str,
    unit: str,
    digits: int,
    where: str,
) -> Found:
    """Judge losses against a margin: kept where every interval is above minus `margin` (non-inferiority).

    Lost where a loss is `shown` (after correction) at a sparsity and its mean is larger than the margin; else the layer
    is open. Open everywhere, nothing can be said. The interval that is written is the one that decided: of the worst
    loss, or else the one that reaches lowest.
    """
    cases = {(place, sparsity): d for place, own in found.items() for sparsity, d in own.items()}
    lost = {key: d for key, d in cases.items() if shown[key] and d.mean < -margin}
    # each layer must be kept at every sparsity, so its largest p counts
    p_values = {place: max(d.p_above(-margin) for d in own.values()) for place, own in found.items()}
    held = together(p_values)
    outcomes: dict[Place, bool | None] = {}
    for place in found:
        outcomes[place] = False if any(key[0] == place for key in lost) else held[place] or None
    n = {state: sum(outcome is state for outcome in outcomes.values()) for state in (True, False, None)}
    if n[True] == len(outcomes):
        holds = YES
    elif n[True]:
        holds = IN_PART
    else:
        holds = NO if n[False] else NOT_TESTED
    place, sparsity = min(lost or cases, key=lambda key: lost[key].mean if lost else cases[key].low)
    worst = cases[place, sparsity]
    range_ = span([d.mean for d in cases.values()], digits, signed=True)
    measured = f"{lead} {range_}{unit}; kept in {of({p: o is True for p, o in outcomes.items()})}"
    measured += f", lost in {n[False]}" if n[False] else ""
    measured += f", open in {n[None]} (neither is shown)" if n[None] else ""
    measured += f"; worst {worst.mean:+.{digits}f} ({worst.low:+.{digits}f} to {worst.high:+.{digits}f}), "
    measured += f"{name(place)} at {percent(sparsity)}"
    return Found(measured, holds, where)


def span(values: Iterable[float], digits: int = 2, *, signed: bool = False) -> str:
    """Write the range of some numbers: ``0.94 to 1.00``."""
    numbers = [round(float(value), digits) + 0.0 for value in values]  # no "-0.00"
    low, high = (f"{value:{'+' if signed else ''}.{digits}f}" for value in (min(numbers), max(numbers)))
    return low if low == high else f"{low} to {high}"


def of(outcomes: Mapping[Any, bool], noun: str = "layer") -> str:
    """Write how many hold: ``7 of 8 layers``."""
    return f"{sum(outcomes.values())} of {len(outcomes)} {noun}{'s' if len(outcomes) > 1 else ''}"


def name(place: Place) -> str:
    """Write an encoder's layer."""
    return f"{place[0]} layer {place[1]}"


def percent(sparsity: float) -> str:
    """Write a sparsity."""
    return f"{100 * sparsity:g} %"


def levels(found: Sequence[Mapping[str, float]], digits: int) -> str:
    """Write the means over layers of several representations; one that was not measured is left out."""
    table = pd.DataFrame(found)
    means = {column: table[column].mean() for column in table if table[column].notna().any()}
    return ", ".join(f"{SHORT_NULL_LABELS.get(key, key)} {value:.{digits}f}" for key, value in means.items())


def scope(places: Collection[Place], *more: str) -> str:
    """Write what was tested: ``8 layers of 4 encoders, ...``."""
    encoders = len({encoder for encoder, _ in places})
    parts = [
        f"{len(places)} layer{'s' if len(places) > 1 else ''} of {encoders} encoder{'s' if encoders > 1 else ''}"
    ]
    return ", ".join([*parts, *(text for text in more if text)])


def headline_scope(table: pd.DataFrame) -> str:
    """Write which codes stand for all of them."""
    sparsities = np.unique(np.round(headline(table).sparsity, 6))
    return f"codes of {wording.listing([percent(s) for s in sparsities])} sparsity" if len(sparsities) else ""


def fit_scope(rules: Rules) -> str:
    """Write which R2 counts."""
    return "held-out R2" if rules.held_out else "in-sample R2, nothing held out"
