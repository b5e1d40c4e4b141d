"""What tables of a page are made of: their form, and how a value and its interval are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from otoscope import wording
from otoscope.results import METRIC_LABELS, NULL_LABELS, NULLS

LONG = 16
"""A table of more rows is folded, so that a page stays short."""


@dataclass(frozen=True)
class Table:
    """A titled table of strings; `marked` rows are set in bold.

    `folded`: only its title shows until it is opened. `wraps`: cells hold sentences, which may break.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: tuple[int, ...] = ()
    folded: bool = False
    wraps: bool = False


Column = tuple[str, Callable[[Any], str]]
"""A heading, and how a row's cell is written."""

ENCODER: Column = ("encoder", lambda row: str(row.encoder))
LAYER: Column = ("layer", lambda row: str(row.layer))
SPARSITY: Column = (
    "sparsity",
    lambda row: wording.sparsity(row.sparsity) if row.sparsity == row.sparsity else "",
)
GROUPS: Column = ("test groups", lambda row: whole(row.groups))
"""Stands beside every interval, which is a t over them."""
UNTRUSTED = "†"
UNTRUSTED_NOTE = (
    f" {UNTRUSTED}: interval not to be trusted: the score is too near its ceiling or 0 for so few groups."
)
CLIPS_NOTE = f" {UNTRUSTED}: interval for these groups' clips alone, as if each were of a group of its own."
OF: Column = ("of", lambda row: representation_name(str(row.representation), row.sparsity))


def laid_out(
    title: str,
    columns: Sequence[Column],
    rows: Iterable[Any],
    *,
    note: str = "",
    marked: Callable[[Any], bool] = lambda row: False,
    folded: bool = False,
    wraps: bool = False,
) -> Table:
    """Return a table: each of `rows` written by each of `columns`; rows that are `marked` are set in bold."""
    rows = list(rows)
    cells = [[write(row) for _, write in columns] for row in rows]
    bold = tuple(i for i, row in enumerate(rows) if marked(row))
    return Table(title, [heading for heading, _ in columns], cells, note, bold, folded, wraps)


def where(condition: object, *columns: Column) -> tuple[Column, ...]:
    """Return the columns, none of them where the condition does not hold."""
    return columns if condition else ()


def representation_name(name: str, sparsity: float) -> str:
    """``topk``, 0.95 -> ``topk codes, 95 %``; nulls by their names."""
    if name in NULLS:
        return NULL_LABELS[name]
    return name if sparsity != sparsity else f"{name} codes, {wording.sparsity(sparsity)}"


def with_interval(value: float, low: float, high: float, metric: str, *, trusted: bool = True) -> str:
    """``64.2 % [58.1, 69.9]``; no brackets where there is no interval, a mark where it is not to be trusted."""
    text = wording.score(value, metric)
    if low != low or high != high:
        return text
    scale, digits = (100, 1) if metric == "accuracy" else (1, 2)
    mark = "" if trusted else UNTRUSTED
    return f"{text} [{wording.number(scale * low, digits)}, {wording.number(scale * high, digits)}]{mark}"


def ranged(value: float, low: float, high: float, digits: int = 2) -> str:
    """``31.2 (29.8 to 33.0)``: a mean and its range over seeds; no brackets where all are written the same."""
    text, ends = wording.number(value, digits), [wording.number(end, digits) for end in (low, high)]
    return text if low != low or ends[0] == ends[1] else f"{text} ({' to '.join(ends)})"


def change(value: float, low: float, high: float, metric: str) -> str:
    text = wording.difference(value, metric)
    if low != low or high != high:
        return text
    scale, digits = (100, 1) if metric == "accuracy" else (1, 2)
    return f"{text} [{wording.signed(scale * low, digits)}, {wording.signed(scale * high, digits)}]"


def seeds_note(seeds: Iterable[int]) -> str:
    """Say over how many seeds means are; nothing where there is but one."""
    counts = sorted({int(n) for n in seeds if n == n})
    if not counts or counts == [1]:
        return ""
    return f" Means over {wording.listing([str(n) for n in counts])} seeds."


def whole(value: float) -> str:
    """A mean of counts: whole where it is whole or large."""
    if value != value:
        return "n/a"
    return wording.number(value, 0 if value >= 20 or round(value, 1) == round(value) else 1)


def short_metric(metric: str) -> str:
    return METRIC_LABELS.get(metric, metric)
