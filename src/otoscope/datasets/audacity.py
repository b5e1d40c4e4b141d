"""Audacity's label tracks: marked stretches of long recordings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.annotations import Mark, load_marks
from otoscope.datasets.dataset import DataSet
from otoscope.errors import InputError
from otoscope.tables import decoded

if TYPE_CHECKING:
    import pandas as pd


def load(
    root: str | Path,
    *,
    label: str | None = "label",
    group: str | None = None,
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each label of every Audacity label track (.txt) below `root`.

    A track is a tab-separated text of start, end and label, without a header; a line that begins with a backslash holds
    the band of the label above. The recording is that of the track's own name, beside it or below `audio`.

    Parameters
    ----------
    root, group, audio, split_seed, skip_unreadable
        As in `otoscope.datasets.raven.load`.
    label : str, optional
        "label", the text of each mark; marks without a text are left out, and counted. None keeps them.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is ``<track>#<number>``; columns recording, label, and low_hz and high_hz where
        given.

    Raises
    ------
    InputError
        If there is no track, a recording is missing or not certain, or no mark is left.
    """
    return load_marks(
        "audacity", root, _marks, (".txt",), "no label track: expected lines of start, end and label, tabs between",
        label=label, group=group, audio=audio, split_seed=split_seed, skip_unreadable=skip_unreadable,
    )  # fmt: skip


def _marks(path: Path) -> list[Mark] | None:
    try:
        lines = [line for line in decoded(path).splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None
    marks: list[Mark] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if cells[0] == "\\" and marks and len(cells) >= 3:
            marks[-1][3].update(low_hz=float(cells[1]), high_hz=float(cells[2]))
            continue
        if len(cells) < 2 or not all(_is_time(cell) for cell in cells[:2]):
            if not marks:
                return None  # some other text
            raise InputError(f"audacity: {path}: line {number} is no label: '{line[:60]}'")
        marks.append(
            (
                float(cells[0].replace(",", ".")),
                float(cells[1].replace(",", ".")),
                "\t".join(cells[2:]).strip(),
                {},
            )
        )
    return marks or None


def _is_time(cell: str) -> bool:
    return re.fullmatch(r"\d+([.,]\d+)?", cell.strip()) is not None


DATASET = DataSet(load)
