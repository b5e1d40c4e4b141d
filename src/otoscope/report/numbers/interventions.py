"""What of splice.csv, erasure.csv and steering.csv a page shows first."""

from __future__ import annotations

import pandas as pd

_FIRST = ("loss", "kl", "moved")


def splice_measure(table: pd.DataFrame) -> str:
    """Return the measure that a figure of replacements draws: the loss, where the readout has one."""
    known = list(dict.fromkeys(table["measure"]))
    return next((name for name in _FIRST if name in known), known[0])
