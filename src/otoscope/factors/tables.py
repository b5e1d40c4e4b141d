"""The factor table, the table that describes it, and the join to activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from otoscope.errors import InputError, nearest

KEYS = ("clip_id", "start_s", "stop_s")
INFO_COLUMNS = ("name", "unit", "family")
PROBLEM_COLUMNS = (*KEYS, "problem")

_PER_SECOND = 1000  # times agree if they agree to the millisecond


@dataclass(frozen=True)
class Factors:
    """Physical attributes of stretches of sound.

    Attributes
    ----------
    table : DataFrame
        ``clip_id, start_s, stop_s``, then a column of numbers per factor. NaN: not measurable in this
        stretch.
    info : DataFrame
        ``name, unit, family``: a row per factor, in the order of the columns.
    problems : DataFrame
        ``clip_id, start_s, stop_s, problem``: the stretches with NaN, and why.
    notes : tuple of str
        What else there is to know.
    """

    table: pd.DataFrame
    info: pd.DataFrame
    problems: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(PROBLEM_COLUMNS)))
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that keys, columns and description belong together."""
        missing = [key for key in KEYS if key not in self.table.columns]
        if missing:
            raise InputError(
                f"a factor table needs the columns {', '.join(KEYS)}; missing: {', '.join(missing)}"
            )
        missing = [column for column in INFO_COLUMNS if column not in self.info.columns]
        if missing:
            raise InputError(
                f"a factor description needs {', '.join(INFO_COLUMNS)}; missing: {', '.join(missing)}"
            )
        columns = [column for column in self.table.columns if column not in KEYS]
        if columns != list(self.info["name"]):
            odd = sorted(set(columns) ^ set(self.info["name"])) or ["(same names, another order)"]
            raise InputError(f"the description does not match the factor columns: {', '.join(odd[:5])}")
        for column in columns:
            if not pd.api.types.is_numeric_dtype(self.table[column]):
                raise InputError(f"factor '{column}' is not numeric (its type is {self.table[column].dtype})")
        twice = self.table.duplicated(list(KEYS))
        if twice.any():
            raise InputError(f"clip '{self.table.clip_id[twice].iloc[0]}' has two rows for the same stretch")

    @property
    def names(self) -> list[str]:
        """Names of the factors."""
        return list(self.info["name"])

    @property
    def families(self) -> dict[str, str]:
        """Family of each factor."""
        return dict(zip(self.info["name"], self.info["family"]))


def join_factors(
    rows: pd.DataFrame, factors: Factors, *, names: Sequence[str] | None = None, whole_clip: bool = False
) -> pd.DataFrame:
    """Return the factors of each row of an activation store, in the order of `rows`.

    Parameters
    ----------
    rows : DataFrame
        At least ``clip_id, start_s, stop_s``.
    factors : Factors
        What to join.
    names : sequence of str, optional
        Which factors; default: all.
    whole_clip : bool
        Join on the clip alone, so that a factor of the whole clip stands at all of its rows (crops, frames).
        Not done unless asked: a clip's mean pitch is not the pitch of each of its frames.

    Returns
    -------
    DataFrame [rows, factors]
        Index as in `rows`.

    Raises
    ------
    InputError
        If a row has no partner, a factor is unknown, or a clip has several factor rows to join all of its
        rows.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"clip_id": ["a", "b"], "start_s": 0.0, "stop_s": 1.0, "f0_hz": [110.0, 220.0]})
    >>> info = pd.DataFrame({"name": ["f0_hz"], "unit": ["Hz"], "family": ["pitch"]})
    >>> rows = pd.DataFrame({"clip_id": ["b", "a", "b"], "start_s": 0.0, "stop_s": 1.0})
    >>> join_factors(rows, Factors(table, info)).f0_hz.tolist()
    [220.0, 110.0, 220.0]
    """
    names = factors.names if names is None else list(names)
    for name in names:
        if name not in factors.table:
            raise InputError(f"no factor '{name}'{nearest(name, factors.names)}")
    by = ["clip_id"] if whole_clip else ["clip_id", "start_ms", "stop_ms"]
    right = _keyed(factors.table)[[*by, *names]]
    twice = right.duplicated(by)
    if twice.any():
        raise InputError(
            f"clip '{right.clip_id[twice].iloc[0]}' has several factor rows, so none stands for the whole clip; "
            "join by stretch (whole_clip=False)"
        )
    joined = _keyed(rows)[by].merge(right, on=by, how="left", validate="many_to_one", indicator="found_")
    lost = (joined["found_"] != "both").to_numpy()
    if lost.any():
        row = rows[lost].iloc[0]
        known = factors.table[factors.table.clip_id == row.clip_id]
        hint = (
            f"its factors cover {known.start_s.iloc[0]:g} to {known.stop_s.iloc[0]:g} s; join with whole_clip=True if "
            "a factor of the whole clip may stand for each of its rows"
            if len(known)
            else "this clip has no factors at all"
        )
        raise InputError(
            f"{lost.sum()} of {len(rows)} rows have no factors, such as '{row.clip_id}' "
            f"({row.start_s:g} to {row.stop_s:g} s): {hint}"
        )
    return joined[names].astype(np.float64).set_axis(rows.index, axis=0)


def report_problems(table: pd.DataFrame, known: dict[int, str]) -> pd.DataFrame:
    """Return the `problems` table: the reasons in `known` (by row), and every other row that holds a NaN."""
    values = table.drop(columns=list(KEYS))
    unusable = ~np.isfinite(values.to_numpy(dtype=np.float64))
    reasons = dict(known)
    for index in np.flatnonzero(unusable.any(axis=1)):
        names = values.columns[unusable[index]]
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        reasons.setdefault(int(index), f"not measurable here: {some}")
    order = sorted(reasons)
    problems = table.loc[table.index[order], list(KEYS)].reset_index(drop=True)
    return problems.assign(problem=pd.Series([reasons[index] for index in order], dtype=object))


def _keyed(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with times in whole milliseconds, which compare safely."""
    return table.assign(
        clip_id=table.clip_id.astype(str),
        start_ms=(table.start_s * _PER_SECOND).round().astype(np.int64),
        stop_ms=(table.stop_s * _PER_SECOND).round().astype(np.int64),
    )
