"""How numbers and names are written: one place, so that pages, figures, sentences and verdicts agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

NBSP = "\u00a0"
"""Keeps a number and its unit on one line."""


def percent(fraction: float, digits: int = 1) -> str:
    """``0.6423`` -> ``64.2 %``; no-break space, so that number and sign stay together."""
    return "n/a" if _missing(fraction) else f"{_signless(100 * fraction, digits)}\u00a0%"


def sparsity(fraction: float) -> str:
    """``0.95`` -> ``95 %``, ``0.995`` -> ``99.5 %``."""
    return f"{round(100 * fraction, 2):g}\u00a0%"


def number(value: float, digits: int = 2) -> str:
    """Fixed decimals with a true minus sign."""
    return "n/a" if _missing(value) else _signless(value, digits)


def signed(value: float, digits: int = 2) -> str:
    """As `number`, with a plus sign where it applies; what rounds to zero carries no sign."""
    if _missing(value):
        return "n/a"
    text = _signless(value, digits)
    return f"+{text}" if round(value, digits) > 0 else text


def score(value: float, metric: str) -> str:
    """A probe's score: accuracies in percent, R2 and average precision with two decimals."""
    return percent(value) if metric == "accuracy" else number(value)


def difference(value: float, metric: str) -> str:
    """A difference of two scores: accuracies in percentage points."""
    if _missing(value):
        return "n/a"
    return f"{signed(100 * value, 1)}\u00a0points" if metric == "accuracy" else signed(value)


def difference_range(low: float, high: float, metric: str) -> str:
    """``−1.7 to −0.5 points``; one number if both are written the same."""
    first, last = difference(low, metric), difference(high, metric)
    return last if first == last else f"{first.removesuffix(NBSP + 'points')} to {last}"


def score_interval(low: float, high: float, metric: str, *, groups: float, trusted: bool = True) -> str:
    """``95 % interval 58.1 to 69.9 %, t over 5 test groups``; empty where there is no interval."""
    if _missing(low) or _missing(high):
        return ""
    ends = (
        f"{_signless(100 * low, 1)} to {percent(high)}"
        if metric == "accuracy"
        else f"{number(low)} to {number(high)}"
    )
    return f"95\u00a0% interval {ends}{_over(groups)}{'' if trusted else ', not to be trusted'}"


def difference_interval(low: float, high: float, metric: str, *, groups: float) -> str:
    """As `score_interval`, signed, for a difference."""
    if _missing(low) or _missing(high):
        return ""
    scale, digits = (100, 1) if metric == "accuracy" else (1, 2)
    return (
        f"95\u00a0% interval {signed(scale * low, digits)} to {signed(scale * high, digits)}{_over(groups)}"
    )


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``1 clip``, ``2,000 clips``."""
    return f"{int(n):,}\u00a0{noun if int(n) == 1 else plural or noun + 's'}"


def with_article(noun: str) -> str:
    """``a random projection``, ``an untrained SAE``, ``an SAE with a random decoder``, ``PCA``."""
    if noun.isupper():  # a method's name
        return noun
    return f"{'an' if noun[0] in 'aeiou' or noun.startswith('SAE') else 'a'} {noun}"


def listing(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def duration(seconds: float) -> str:
    """``0.4 s``, ``75 s``, ``12 min``, ``3.4 h``."""
    if _missing(seconds):
        return "n/a"
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    if seconds < 120:
        return f"{seconds:.0f}\u00a0s"
    return f"{seconds / 60:.0f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"


def place(encoder: str, layer: int | str, *, encoders: int) -> str:
    """``layer 3``, or ``layer 3 of hubert`` where there are several encoders."""
    name = "the final output" if layer == "final" else f"layer {layer}"
    return name if encoders == 1 else f"{name} of {encoder}"


def sentence_case(text: str) -> str:
    """``layer 3`` -> ``Layer 3``."""
    return text[:1].upper() + text[1:]


def _over(groups: float) -> str:
    """What an interval is made of; nothing where it is not known."""
    return "" if _missing(groups) or groups < 1 else f", t over {count(int(groups), 'test group')}"


def _signless(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
