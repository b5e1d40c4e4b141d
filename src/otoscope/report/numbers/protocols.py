"""The numbers that a protocol is judged by, from the table of an ablation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from otoscope.errors import InputError
from otoscope.results import read_table


@dataclass(frozen=True)
class Headline:
    """A number that a protocol is judged by: its column, its names, and how it is written."""

    column: str
    name: str
    short: str
    metric: str
    small: float
    """A change below this is called small."""


HEADLINES = (
    Headline("best_layer_score", "best-layer score", "best-layer score", "accuracy", 0.01),
    Headline("r2_top10", "mean R² of the ten best factors", "mean R², ten best", "r2", 0.02),
    Headline("completeness_gain", "completeness, codes minus dense", "completeness gain", "r2", 0.02),
)


def read_switches(path: Path) -> pd.DataFrame:
    """Return the table of an ablation, its rows in the order of the list."""
    if not path.is_file():
        raise InputError(f"there is no {path}; 'otoscope ablate RECIPE --out {path.parent}' makes it")
    table = read_table(path)
    if table.empty:
        raise InputError(f"{path} lacks rows; make it anew with 'otoscope ablate'")
    return table.sort_values("number", kind="stable", ignore_index=True)


def over_encoders(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per switch: means over the encoders that could be measured."""
    # a table of an ablation that was broken off has no last row, the whole sound protocol
    numbers = [name for headline in HEADLINES for name in (headline.column, f"d_{headline.column}")]
    groups = table.groupby("number", sort=True)
    names = ["role", "switch", "published", "sound", "note"]
    return groups[names].first().join(groups[numbers].mean()).reset_index()
