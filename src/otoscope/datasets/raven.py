"""Raven selection tables: marked stretches of long recordings (the tab-separated files of Raven Pro and Lite)."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from otoscope.audio import SUFFIXES
from otoscope.clips import check_clips, split_clips
from otoscope.datasets.dataset import DataSet
from otoscope.datasets.headers import with_durations
from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

BEGIN, END, OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
RENAMED = {"Low Freq (Hz)": "low_hz", "High Freq (Hz)": "high_hz"}


def load(
    root: str | Path,
    *,
    label: str | None = None,
    group: str = "recording",
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each selection of every table below `root`.

    The sound of a selection is named by its ``Begin Path`` or ``Begin File``, or else by the table's own name up to
    ``.Table`` or ``.selections``; it is looked for at that path, beside the table, and anywhere below `audio` or
    `root`. Where the table has ``File Offset (s)``, times count from there: with several files open, Raven's begin
    times count from the first of them. A selection listed once for each view counts once.

    Parameters
    ----------
    root : path
        A table (.txt), or a folder of them.
    label : str, optional
        The column of annotations, such as "Species"; selections where it is empty are left out, and counted in
        ``.attrs["left_out"]``. All other columns of the tables are kept as well.
    group : str
        What must not cross a split: "recording", or a column such as "Site".
    audio : path, optional
        The folder of recordings, or the one recording of all selections, where the tables do not say.
    split_seed : int
        Of the split by groups, where the tables have no ``split`` column.
    skip_unreadable : bool
        Leave out recordings that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is ``<table>#<selection>``; columns recording, low_hz, high_hz and the tables' own.

    Raises
    ------
    InputError
        If there is no table, a column or recording is missing, or no selection is left.
    """
    import pandas as pd

    root = Path(root)
    if not root.exists():
        raise InputError(f"raven: no such folder or table: '{root}'")
    home = root if root.is_dir() else root.parent
    tables = {path: _read(path) for path in (sorted(root.rglob("*.txt")) if root.is_dir() else [root])}
    tables = {path: table for path, table in tables.items() if table is not None}
    if not tables:
        raise InputError(
            f"raven: '{root}' holds no selection table: expected tab-separated .txt files with the columns "
            f"'{BEGIN}' and '{END}'"
        )
    find = _Finder(home, None if audio is None else Path(audio))
    parts = [_selections(path, table, home, find) for path, table in tables.items()]
    clips = pd.concat(parts, ignore_index=True)
    for option, column in (("label", label), ("group", group)):
        if column is not None and column not in clips:
            own = [name for name in clips.columns if name not in ("clip_id", "path", "start_s", "stop_s")]
            raise InputError(
                f"raven: {option}: no column '{column}'{nearest(column, own)} (columns: {', '.join(own)})"
            )
    left_out = []
    if label is not None:
        empty = clips[label].isna() | (clips[label].astype(str).str.strip() == "")
        if empty.any():
            left_out.append(
                f"{empty.sum()} selections without '{label}', such as {clips.clip_id[empty].iloc[0]}"
            )
        clips = clips[~empty].reset_index(drop=True)
        if clips.empty:
            raise InputError(f"raven: no selection has an annotation in '{label}'")
    if clips[group].isna().any():
        where = clips.clip_id[clips[group].isna()].iloc[0]
        raise InputError(
            f"raven: '{group}' is empty for {clips[group].isna().sum()} selections, such as {where}"
        )
    clips["group"] = clips[group].astype(str)
    clips = split_clips(clips, seed=split_seed, label=label)
    clips.attrs["left_out"] = left_out
    clips = with_durations(clips, skip_unreadable=skip_unreadable)
    _check_stretches(clips)
    left_out = clips.attrs["left_out"]
    clips = check_clips(clips)
    clips.attrs["left_out"] = left_out
    return clips


def _read(path: Path) -> pd.DataFrame | None:
    """Return a selection table, or None where the file is some other text."""
    import pandas as pd

    with path.open(encoding="utf-8-sig", errors="replace") as file:
        columns = file.readline().rstrip("\r\n").split("\t")
    if BEGIN not in columns or END not in columns:
        return None
    table = pd.read_csv(path, sep="\t", encoding="utf-8-sig", encoding_errors="replace")
    if "View" in table and "Selection" in table:  # the same selection in the waveform and in the spectrogram
        table = table.sort_values("View", kind="stable", key=lambda view: ~view.str.startswith("Spectrogram"))
        table = table.drop_duplicates("Selection").sort_index()
    return table.reset_index(drop=True)


def _selections(path: Path, table: pd.DataFrame, home: Path, find: _Finder) -> pd.DataFrame:
    """Return a table's selections as clips."""
    import pandas as pd

    name = path.relative_to(home).as_posix().removesuffix(".txt")
    for column in (BEGIN, END):
        bad = pd.to_numeric(table[column], errors="coerce").isna()
        if bad.any():
            raise InputError(f"raven: {path}: '{column}' is no number in row {int(bad.idxmax()) + 2}")
    numbers = table["Selection"] if "Selection" in table else pd.Series(range(1, len(table) + 1))
    clips = pd.DataFrame({"clip_id": [f"{name}#{number}" for number in numbers]})
    files = [find(path, row) for row in table.to_dict("records")]
    clips["path"] = [str(file) for file in files]
    start_s = table[OFFSET] if OFFSET in table else table[BEGIN]
    clips["start_s"] = start_s.astype(float)
    clips["stop_s"] = clips["start_s"] + (table[END] - table[BEGIN]).astype(float)
    clips["recording"] = [file.name for file in files]
    taken = {BEGIN, END, OFFSET, "Selection", "View", "Channel", *clips.columns}
    own = table[[column for column in table.columns if column not in taken]].rename(columns=RENAMED)
    return pd.concat([clips, own], axis=1)


def _check_stretches(clips: pd.DataFrame) -> None:
    """Refuse selections that hold nothing, or begin beyond the end of their recording."""
    empty = clips[clips["stop_s"] <= clips["start_s"]]
    if len(empty):
        row = empty.iloc[0]
        raise InputError(
            f"raven: selection {row.clip_id} is a point, or begins beyond the end of {row.path} ({row.start_s:g} s to "
            f"{row.stop_s:g} s; {len(empty)} such). Where several files were open in Raven, save the table with the "
            f"measurement '{OFFSET}'"
        )


class _Finder:
    """Finds the recording of a selection; every folder is searched once."""

    def __init__(self, home: Path, audio: Path | None) -> None:
        if audio is not None and not audio.exists():
            raise InputError(f"raven: no such recording or folder: '{audio}'")
        self.only = audio if audio is not None and audio.is_file() else None
        self.below = audio if audio is not None and audio.is_dir() else home
        files = self.below.rglob("*") if self.only is None else []
        self.by_name = {file.name: file for file in sorted(files) if file.suffix.lower() in SUFFIXES}
        self.by_stem = {file.stem: file for file in self.by_name.values()}

    def __call__(self, table: Path, row: dict) -> Path:
        if self.only is not None:
            return self.only
        named = [
            str(row[column]) for column in ("Begin Path", "Begin File") if isinstance(row.get(column), str)
        ]
        for name in named:
            base = PureWindowsPath(name).name  # takes / and \\ for separators
            for candidate in (Path(name), table.parent / base, self.by_name.get(base)):
                if candidate is not None and candidate.is_file():
                    return candidate
        stem = table.name
        for mark in (".Table.", ".selections", ".txt"):
            stem = stem.partition(mark)[0]
        if not named and stem in self.by_stem:
            return self.by_stem[stem]
        what = f"'{named[-1]}'" if named else f"of '{stem}'"
        raise InputError(
            f"raven: {table}: the recording {what} is not below '{self.below}'; name the folder of recordings, or the "
            "one recording, with audio=..."
        )


DATASET = DataSet(load)
