"""Praat's TextGrids: the intervals of a tier, as stretches of long recordings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.annotations import Mark, load_marks
from otoscope.datasets.dataset import DataSet
from otoscope.errors import InputError, nearest
from otoscope.tables import decoded

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
    """Return one clip for each interval with a text in one tier of every Praat TextGrid below `root`.

    Long and short text files are read, UTF-8 or UTF-16. The recording is that of the TextGrid's own name.

    Parameters
    ----------
    tier : str, optional
        Name of the tier of intervals; may be left out where there is only one.
    root, label, group, audio, split_seed, skip_unreadable
        As in `otoscope.datasets.audacity.load`.

    Raises
    ------
    InputError
        If there is no TextGrid, it is damaged, the tier is missing, or which one is meant is not certain.
    """

    def marks(path: Path) -> list[Mark] | None:
        return _marks(path, tier)

    return load_marks(
        "textgrid", root, marks, (".textgrid",), "no TextGrid (.TextGrid, as Praat saves text files)",
        label=label, group=group, audio=audio, split_seed=split_seed, skip_unreadable=skip_unreadable,
    )  # fmt: skip


_VALUE = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.\[])-?\d+(?:\.\d+)?(?:[eE]-?\d+)?(?![\w\]])|<exists>')


def _marks(path: Path, tier: str | None) -> list[Mark] | None:
    text = decoded(path)
    # Both forms are the same list of values; the long one has words between them, and numbers in brackets.
    values = [m.group(1).replace('""', '"') if m.group(1) is not None else float(m.group()) if m.group() != "<exists>"
              else m.group() for m in _VALUE.finditer(text)]  # fmt: skip
    if values[:2] != ["ooTextFile", "TextGrid"]:
        raise InputError(f"textgrid: {path} is no TextGrid in a text form; save it from Praat as a text file")
    tiers: dict[str, list[Mark] | None] = {}
    try:
        at = 6  # file type, object class, start, end, <exists>, number of tiers
        for _ in range(int(values[5])):
            kind, name, n = str(values[at]), str(values[at + 1]), int(values[at + 4])
            at += 5
            if name in tiers:
                raise InputError(f"textgrid: {path} has two tiers called '{name}'; rename one")
            if kind == "IntervalTier":
                parts = [values[at + 3 * i : at + 3 * i + 3] for i in range(n)]
                tiers[name] = [(float(a), float(b), str(c).strip(), {}) for a, b, c in parts]
                at += 3 * n
            else:  # points have no length
                tiers[name] = None
                at += 2 * n
    except (IndexError, ValueError, TypeError) as error:
        raise InputError(f"textgrid: {path} is damaged: it ends before its tiers do ({error})") from error
    intervals = [name for name, marks in tiers.items() if marks is not None]
    if tier is None and len(intervals) != 1:
        raise InputError(
            f"textgrid: {path} has the tiers of intervals {', '.join(intervals) or '(none)'}: name "
            "one (tier=...)"
        )
    chosen = intervals[0] if tier is None else tier
    if tiers.get(chosen) is None:
        missing = f"is not there{nearest(chosen, intervals)}"
        what = "is a tier of points, which have no length" if chosen in tiers else missing
        raise InputError(
            f"textgrid: {path}: tier '{chosen}' {what} (intervals: {', '.join(intervals) or 'none'})"
        )
    return tiers[chosen]


DATASET = DataSet(load)
