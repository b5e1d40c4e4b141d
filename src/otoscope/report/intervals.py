"""Which intervals of a run's tables a page may show: those over groups enough to say something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otoscope.results import FEWEST_GROUPS

if TYPE_CHECKING:
    import pandas as pd

_ENDS = (
    ("score_low", "score_high"),
    ("gain_low", "gain_high"),
    ("difference_low", "difference_high"),
    ("low", "high"),
)
_DIFFERENCES = ("gain_low", "gain_high", "difference_low", "difference_high")


def only_meaningful(table: pd.DataFrame, *, bounded: bool) -> pd.DataFrame:
    """Return a table without the intervals that a t over its test groups cannot give.

    Of fewer than `FEWEST_GROUPS` groups an interval spans everything, or pinches to nothing where two happen to agree:
    neither says anything. Nor does one without any width, of however many groups. What is left of differences of
    `bounded` scores, those between 0 and 1, ends at -1 and 1.
    """
    if "n_groups" not in table:
        return table
    table = table.copy()
    for low, high in _ENDS:
        if low in table:
            idle = (table["n_groups"] < FEWEST_GROUPS) | (table[low] == table[high])
            table.loc[idle, [low, high]] = float("nan")
    if bounded:
        for name in _DIFFERENCES:
            if name in table:
                table[name] = table[name].clip(-1, 1)
    return table
