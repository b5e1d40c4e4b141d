"""A user's own factors, from a CSV or parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from otoscope.errors import InputError, nearest
from otoscope.factors.tables import KEYS, Factors, join_factors, report_problems
from otoscope.tables import read_table, seconds


def build(
    clips: pd.DataFrame,
    *,
    path: str | Path,
    columns: Sequence[str] | None = None,
    families: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Factors:
    """Read factors from a table.

    Parameters
    ----------
    clips : DataFrame
        A clips table.
    path : str or Path
        ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` with a column ``clip_id``, maybe ``start_s`` and ``stop_s``
        (else a row is
        about the whole clip), and a numeric column per factor. An empty cell is NaN, and so are NA, nan and null.
    columns : sequence of str, optional
        Which columns are factors; default: all but the keys, and all must be numeric.
    families : str or Path, optional
        CSV with columns ``name, family`` and maybe ``unit``. Factors it does not name have the family
        "other".
    workers, progress
        Not used: nothing is computed.

    Raises
    ------
    InputError
        If a file is missing, a column is missing or not numeric, or no clip of the table occurs.
    """
    table = read_table(path, measured=True)
    if "clip_id" not in table:
        raise InputError(f"{path} has no column clip_id{nearest('clip_id', table.columns)}")
    names = [c for c in table.columns if c not in KEYS] if columns is None else list(columns)
    for name in names:
        if name not in table:
            raise InputError(f"{path} has no column '{name}'{nearest(name, table.columns)}")
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(
                f"{path}: column '{name}' is not numeric ({_example(table[name])}); name the factor columns with "
                "'columns', or drop it"
            )
    if not names:
        raise InputError(f"{path} has no factor column beside {', '.join(c for c in table.columns)}")
    if table.clip_id.isna().any():
        raise InputError(f"{path}: clip_id is empty in row {int(table.clip_id.isna().argmax()) + 1}")
    by_stretch = {"start_s", "stop_s"} <= set(table.columns)
    for time in ("start_s", "stop_s"):
        if time in table:
            table[time] = seconds(table[time], of=f"{path}: '{time}'", needed=by_stretch)
    info = _describe(names, families)
    if not by_stretch:
        table = table.drop(columns=["start_s", "stop_s"], errors="ignore").assign(start_s=0.0, stop_s=0.0)
    given = Factors(table[[*KEYS, *names]].reset_index(drop=True), info)
    present = clips[clips.clip_id.isin(given.table.clip_id)]
    matched = _matched(clips, given.table, path)
    if present.empty:
        raise InputError(matched)
    joined = join_factors(present, given, whole_clip=not by_stretch).reindex(clips.index)
    full = pd.concat([clips[list(KEYS)], joined], axis=1).reset_index(drop=True)
    absent = np.flatnonzero(~clips.clip_id.isin(given.table.clip_id))
    notes = (matched,) if len(absent) > len(clips) / 2 else ()
    return Factors(full, info, report_problems(full, {int(i): f"no row in {path}" for i in absent}), notes)


def _example(values: pd.Series) -> str:
    known = values.dropna()
    return f"such as '{known.iloc[0]}'" if len(known) else "it is empty"


def _matched(clips: pd.DataFrame, table: pd.DataFrame, path: str | Path) -> str:
    """Say how many clips the table knows, with an id of each side that the other has not."""
    known = clips.clip_id.isin(table.clip_id)
    unknown = table.clip_id[~table.clip_id.isin(clips.clip_id)]
    text = (
        f"{path}: {known.sum()} of {len(clips)} clips have a row in it"
        if known.any()
        else (f"{path}: none of its clip ids is in the clips table")
    )
    if not known.all():
        text += f"; '{clips.clip_id[~known].iloc[0]}' is a clip without one"
    return text + (f", '{unknown.iloc[0]}' a row without a clip" if len(unknown) else "")


def _describe(names: list[str], families: str | Path | None) -> pd.DataFrame:
    info = pd.DataFrame({"name": names, "unit": "", "family": "other"})
    if families is None:
        return info
    table = read_table(families, text="all")
    missing = [column for column in ("name", "family") if column not in table]
    if missing:
        raise InputError(
            f"{families} lacks the column {', '.join(missing)}; expected name, family and maybe unit"
        )
    described = table.drop_duplicates("name").set_index("name").reindex(names)
    info["family"] = described["family"].fillna("other").to_numpy()
    if "unit" in described:
        info["unit"] = described["unit"].fillna("").astype(str).to_numpy()
    return info
