"""Raven selection tables: marked stretches of long recordings (the tab-separated files of Raven Pro and Lite)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.annotations import Finder, load_marked
from otoscope.datasets.dataset import DataSet
from otoscope.tables import column, read_tab_separated, seconds

if TYPE_CHECKING:
    import pandas as pd

BEGIN, END, OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
RENAMED = {"Low Freq (Hz)": "low_hz", "High Freq (Hz)": "high_hz", "Channel": "channel"}


def load(
    root: str | Path,
    *,
    label: str | None = None,
    group: str | None = None,
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each selection of every table below `root`.

    The sound of a selection is named by its ``Begin Path`` or ``Begin File``, or else by the table's own name up to
    ``.Table`` or ``.selections``; it is looked for beside the table, at that path, and anywhere below `audio` or
    `root`, and must be one recording. Its ``Channel`` is heard alone. Where the table has ``File Offset (s)``, times
    count from there: with several files open, Raven's begin times count from the first of them. A selection listed once
    for each view counts once.

    Parameters
    ----------
    root : path
        A table (.txt), or a folder of them.
    label : str, optional
        The column of annotations, such as "Species"; selections where it is empty are left out, and counted in
        ``.attrs["left_out"]``. All other columns of the tables are kept as well.
    group : str, optional
        What must not cross a split: "recording", or a column such as "Site". Default: a column ``group`` where the
        tables have one, else "recording".
    audio : path, optional
        The folder of recordings, or the one recording of all selections, where the tables do not say.
    split_seed : int
        Of the split by groups, where the tables have no ``split`` column.
    skip_unreadable : bool
        Leave out recordings that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is ``<table>#<selection>``; columns recording, channel, low_hz, high_hz and the
        tables' own.

    Raises
    ------
    InputError
        If there is no table, a column or recording is missing or not certain, or no selection is left.
    """
    return load_marked(
        "raven",
        root,
        _selections,
        suffixes=(".txt",),
        expected=f"no selection table: expected tab-separated .txt files with the columns '{BEGIN}' and '{END}'",
        label=label,
        group=group,
        audio=audio,
        split_seed=split_seed,
        skip_unreadable=skip_unreadable,
        advice=f". Where several files were open in Raven, save the table with the measurement '{OFFSET}'",
    )


def _selections(path: Path, name: str, find: Finder) -> pd.DataFrame | None:
    """Return a table's selections as clips, or None where the file is some other text."""
    import pandas as pd

    cells = read_tab_separated(path, like=(BEGIN, END))
    if cells is None:
        return None
    table = pd.DataFrame({header: pd.Series(values, dtype=object) for header, values in cells.items()})
    if "View" in table and "Selection" in table:  # the same selection in the waveform and in the spectrogram
        first = (
            table["View"]
            .fillna("")
            .sort_values(kind="stable", key=lambda view: ~view.str.startswith("Spectrogram"))
        )
        table = table.loc[first.index].drop_duplicates("Selection").sort_index().reset_index(drop=True)
    times = {
        header: seconds(table[header], of=f"raven: {path}: '{header}'", needed=True)
        for header in (BEGIN, END, OFFSET)
        if header in table
    }
    numbers = table["Selection"] if "Selection" in table else range(1, len(table) + 1)
    clips = pd.DataFrame({"clip_id": [f"{name}#{number}" for number in numbers]})
    files = [_recording(path, row, find) for row in table.to_dict("records")]
    clips["path"] = [str(file) for file in files]
    clips["start_s"] = times.get(OFFSET, times[BEGIN])
    clips["stop_s"] = clips["start_s"] + (times[END] - times[BEGIN])
    clips["recording"] = [file.name for file in files]
    taken = {BEGIN, END, OFFSET, "Selection", "View", *clips.columns}
    own = {header: column(cells) for header, cells in table.items() if header not in taken}
    return pd.concat([clips, pd.DataFrame(own).rename(columns=RENAMED)], axis=1)


def _recording(path: Path, row: dict, find: Finder) -> Path:
    names = [row[header] for header in ("Begin Path", "Begin File") if row.get(header)]
    if names:
        return find.named(path, names)
    stem = path.name
    for mark in (".Table.", ".selections", ".txt"):
        stem = stem.partition(mark)[0]
    return find.of_stem(path, stem)


DATASET = DataSet(load)
