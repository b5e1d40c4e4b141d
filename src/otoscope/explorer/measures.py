"""What a run's tables say of a dictionary: its measures and its health, where the run has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.explorer.reading import Dictionary
from otoscope.results import main_codes, read_table

if TYPE_CHECKING:
    import pandas as pd

_WANTED = {
    "reconstruction": ("fvu", "l0", "dead_fraction"),
    "sae_probing": ("score", "metric"),
    "health": ("state", "verdict"),
}


def measures_of(run: Path | None, dictionary: Dictionary) -> dict[str, Any]:
    """Return fvu, l0, dead_fraction, score, metric, state and verdict; None for what is not known."""
    found: dict[str, Any] = dict.fromkeys(column for columns in _WANTED.values() for column in columns)
    for name, columns in _WANTED.items():
        path = None if run is None else run / "results" / f"{name}.csv"
        if path is None or not path.is_file():
            continue
        table = main_codes(read_table(path))
        own = rows_of(table, dictionary)
        for column in columns:
            values = table[column][own]
            if len(values):
                value = values.iloc[0]
                found[column] = None if value != value else value if isinstance(value, str) else float(value)
    found["verdict"] = found["verdict"] or _plain(dictionary.about.get("health"))
    return found


def rows_of(table: pd.DataFrame, dictionary: Dictionary) -> pd.Series:
    """Return which rows of a run's table are of a dictionary, [rows] of bool; none where its name says no seed."""
    config, _, seed = dictionary.name.split("/")[-1].partition("~")[0].rpartition("-seed")
    return (
        (table.encoder == dictionary.about.get("encoder"))
        & (table.layer.astype(str) == str(dictionary.about.get("layer")))
        & (table.sae == config)
        & (table.seed == (int(seed) if re.fullmatch(r"\d+", seed) else -1))
    )


def _plain(health: Any) -> str | None:
    if isinstance(health, dict):
        health = health.get("verdict") or health.get("state")
    return str(health) if health else None
