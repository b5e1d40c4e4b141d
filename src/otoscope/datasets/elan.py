"""ELAN's tab-delimited exports: annotations of long recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.annotations import Mark, load_marks
from otoscope.datasets.dataset import DataSet
from otoscope.errors import InputError, nearest
from otoscope.tables import decoded, seconds

if TYPE_CHECKING:
    import pandas as pd


def load(
    root: str | Path,
    *,
    tier: str | None = None,
    label: str | None = "label",
    group: str | None = None,
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each annotation of every ELAN export (tab-delimited text, .txt or .tsv) below `root`.

    Times are taken as ``hh:mm:ss.sss`` or ``ss.sss``; an export in whole milliseconds is refused unless its columns say
    so. With column headers the begin, the end, the tier and the text are told by them.

    Parameters
    ----------
    tier : str, optional
        Only annotations of this tier; default: all, the tier in a column.
    root, label, group, audio, split_seed, skip_unreadable
        As in `otoscope.datasets.audacity.load`.

    Raises
    ------
    InputError
        If there is no export, its columns cannot be told, or a recording is missing or not certain.
    """

    def marks(path: Path) -> list[Mark] | None:
        return _marks(path, tier)

    return load_marks(
        "elan", root, marks, (".txt", ".tsv"),
        "no export of ELAN: expected tab-delimited text with a line of columns, 'Begin Time - hh:mm:ss.ms' among them",
        label=label, group=group, audio=audio, split_seed=split_seed, skip_unreadable=skip_unreadable,
    )  # fmt: skip


def _marks(path: Path, tier: str | None) -> list[Mark] | None:
    import pandas as pd

    try:
        lines = [line.split("\t") for line in decoded(path).splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None
    header = [cell.strip() for cell in lines[0]] if lines else []
    begin, end = (_time_column(header, word) for word in ("begin", "end"))
    if begin is None or end is None:
        return None
    text = next((i for i, name in enumerate(header) if name.lower() in ("annotation", "value", "text")), None)
    place = next((i for i, name in enumerate(header) if name.lower() == "tier"), None)
    others = [
        i
        for i in range(len(header))
        if i not in (begin, end, text, place) and "time" not in header[i].lower()
    ]
    others = [i for i in others if header[i] and "duration" not in header[i].lower()]
    if text is None:
        if len(others) != 1:
            tiers = ", ".join(header[i] for i in others)
            raise InputError(
                f"elan: {path}: which column holds the annotations ({tiers})? Export one with 'Annotation'"
            )
        text, others = others[0], []
    rows = [row + [""] * (len(header) - len(row)) for row in lines[1:]]
    factor = [0.001 if header[i].lower().endswith("- msec") else 1.0 for i in (begin, end)]
    starts, stops = (
        seconds(
            pd.Series([row[i] for row in rows], dtype=object), of=f"elan: {path}: '{header[i]}'", needed=True
        )
        * f
        for i, f in zip((begin, end), factor)
    )
    if tier is not None:
        known = {row[place] for row in rows} if place is not None else {header[text]}
        if tier not in known:
            listed = ", ".join(sorted(known))
            raise InputError(f"elan: {path} has no tier '{tier}'{nearest(tier, known)} (tiers: {listed})")
    marks: list[Mark] = []
    for row, start_s, stop_s in zip(rows, starts, stops):
        if tier is None or place is None or row[place] == tier:
            more: dict[str, object] = {header[i]: row[i] or None for i in others}
            if place is not None:
                more["tier"] = row[place]
            marks.append((start_s, stop_s, row[text].strip(), more))
    return marks


def _time_column(header: list[str], word: str) -> int | None:
    """Return the best of the columns of a time: hours and seconds, else seconds, else milliseconds."""
    found = [i for i, name in enumerate(header) if name.lower().startswith(f"{word} time")]
    order = ("hh:mm:ss", "ss.msec", "msec")
    usable = [i for i in found if any(mark in header[i].lower() for mark in order) or len(found) == 1]
    return min(
        usable,
        key=lambda i: next((n for n, m in enumerate(order) if m in header[i].lower()), 9),
        default=None,
    )


DATASET = DataSet(load)
