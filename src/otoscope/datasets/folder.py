"""Any folder of recordings, described by a metadata table as in Hugging Face's AudioFolder.

``metadata.csv`` (or .tsv, .jsonl, .parquet) has a ``file_name`` column (paths relative to the table's own folder) and
any
other columns: labels, and the clips table's own: ``clip_id``, ``split`` (train, valid, test), ``group``, ``start_s``
and
``stop_s`` (seconds) where a row is a stretch of a longer file, ``channel`` (from 1). There may be a table in each of
several folders. Without one the name of each recording's folder is its ``label``. Folders called train, valid
(validation, dev) and test are the split.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from otoscope.audio import SUFFIXES as AUDIO
from otoscope.clips import SPLIT_NAMES, split_clips
from otoscope.datasets.dataset import DataSet
from otoscope.datasets.embedded import is_embedded, side_of, unpack
from otoscope.datasets.headers import with_durations
from otoscope.datasets.places import files_below, said_of
from otoscope.errors import InputError, nearest
from otoscope.tables import SUFFIXES, read_table

if TYPE_CHECKING:
    import pandas as pd

Files = tuple[list[Path], list[Path]]
"""Those that count, and those that are hidden."""
METADATA = "metadata"
"""Stem of a metadata table's name."""
FILE_NAMES = ("file_name", "path", "audio", "filename", "file")
"""What the column of file names may be called; the first that there is stands, among the others only one may."""


def load(
    *,
    root: str | Path,
    label: str | None = None,
    group: str | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return the clips of a folder.

    Parameters
    ----------
    root : str or Path
        The folder.
    label : str, optional
        Column that must be there. It has no say in the split: whatever is asked of a folder, its split is one.
    group : str, optional
        Column of what must not cross a split (speaker, singer, site). Default: the column ``group`` where there is one;
        else each file is its own group.
    split_seed : int
        Of the split, where neither a table nor folders say it.
    skip_unreadable : bool
        Leave out recordings that are missing, empty or unreadable, and list them in ``.attrs["left_out"]``,
        instead of stopping at the first.

    Returns
    -------
    DataFrame
        A clips table; the metadata's other columns follow as labels. ``.attrs["notes"]`` says what was decided.

    Raises
    ------
    InputError
        If there is no such folder, it holds no audio, its metadata cannot be used, or its folders are half a split.
    AudioError
        Naming the first recording that cannot be read.
    """
    root = Path(root)
    if not os.path.isdir(root):
        raise InputError(f"no such folder: '{root}'")
    tables, recordings = _tables(root)
    clips = _from_tables(root, tables, group) if tables else _from_subfolders(root, recordings)
    for option, column in (("group", group), ("label", label)):
        if column is not None and column not in clips:
            own = [name for name in clips.columns if name not in ("clip_id", "path")]
            what = ", ".join(map(str, tables)) or f"'{root}'"
            raise InputError(
                f"{option}: {what} has no column '{column}'{nearest(column, own)} "
                f"(columns: {', '.join(own) or 'none'})"
            )
    clips = with_durations(clips, skip_unreadable=skip_unreadable)
    clips["group"] = grouped(clips, group)
    return split_clips(clips, seed=split_seed)


def load_table(
    path: str | Path,
    *,
    label: str | None = None,
    group: str | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return the clips of one table on disk: a metadata table by any name, or a clips table that was written before.

    A clips table (``clip_id`` and ``path``) names recordings from where the command runs or from its own folder; any
    other table from its own folder. Parameters and errors are those of `load`.
    """
    path = Path(path)
    table = read_table(path, text=[*FILE_NAMES, *([group] if group else [])])
    if {"clip_id", "path"} <= set(table.columns):
        for column in ("clip_id", "path"):
            if table[column].isna().any():
                row = int(table[column].isna().argmax()) + 1
                raise InputError(
                    f"{path}: {column} is empty in {table[column].isna().sum()} rows, such as row {row}"
                )
        beside = [path.parent / name for name in table["path"]]
        table["path"] = [
            str(other) if not os.path.exists(name) and os.path.exists(other) else name
            for name, other in zip(table["path"], beside)
        ]
    else:
        table = _described(path.parent, path, group)
        notes = table.attrs["notes"] + _take_split(table, path.parent)
        table.attrs = {"notes": notes}
    for option, wanted in (("group", group), ("label", label)):
        if wanted is not None and wanted not in table:
            raise InputError(f"{option}: '{path}' has no column '{wanted}'{nearest(wanted, table.columns)}")
    if not {"start_s", "stop_s"} <= set(table) or not all(
        map(_is_numeric, (table["start_s"], table["stop_s"]))
    ):
        table = with_durations(table, skip_unreadable=skip_unreadable)
    table["group"] = grouped(table, group)
    if "split" in table:
        named = table["split"].astype(str).str.strip().str.lower().map(SPLIT_NAMES)
        table["split"] = named.where(named.notna(), table["split"])
        return table
    return split_clips(table, seed=split_seed)


def _is_numeric(values: pd.Series) -> bool:
    return values.dtype.kind in "if" and not values.isna().any()


def grouped(clips: pd.DataFrame, group: str | None) -> pd.Series:
    """Return each clip's group: of the column that is named, of ``group``, or the file itself; all text."""
    column = group or ("group" if "group" in clips else "path")
    if clips[column].isna().any():
        where = clips.clip_id[clips[column].isna()].iloc[0]
        raise InputError(
            f"group: '{column}' is empty for {clips[column].isna().sum()} clips, such as '{where}'"
        )
    return clips[column].astype(str)


def file_names(table: pd.DataFrame, where: str) -> str:
    """Return the name of the column that names the recordings.

    Raises
    ------
    InputError
        If there is none, or several may be meant.
    """
    found = [name for name in FILE_NAMES if name in table.columns]
    if "file_name" in found:
        return "file_name"
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{where}: which column names the recordings, {' or '.join(map(repr, found))}? Call it 'file_name'"
        )
    raise InputError(
        f"{where} has no 'file_name' column{nearest('file_name', table.columns)} "
        f"(columns: {', '.join(map(str, table.columns))}); it names each recording, relative to the folder"
    )


def _tables(root: Path) -> tuple[list[Path], Files]:
    """Return the metadata tables: the folder's own, or else those of the folders below it; else the recordings."""
    known = [root / f"{METADATA}{suffix}" for suffix in SUFFIXES]
    found = [path for path in known if path.is_file()]
    recordings: Files = [], []
    if not found:
        names = {path.name for path in known}
        listed = files_below(root, *SUFFIXES, *AUDIO)  # once: a folder may hold a million
        files, hidden = ([path for path in part if path.name.lower().endswith(AUDIO)] for part in listed)
        recordings = files, hidden
        tables = [path for path in listed[0] if path.name.lower().endswith(tuple(SUFFIXES))]
        found = [path for path in tables if path.name in names]
        if not found:  # the parts that datasets writes
            return [path for path in tables if side_of(path)], recordings
    for folder in sorted({path.parent for path in found}):
        several = [path for path in found if path.parent == folder]
        if len(several) > 1:
            raise InputError(
                f"which one describes the recordings, '{several[0]}' or '{several[1]}'? Keep one"
            )
    return found, recordings


def _from_tables(root: Path, tables: list[Path], group: str | None) -> pd.DataFrame:
    import pandas as pd

    parts = [_described(root, path, group) for path in tables]
    clips = pd.concat(parts, ignore_index=True)
    notes = [note for part in parts for note in part.attrs["notes"]]
    homes = [path.parent for path in tables]
    if root not in homes and not any(map(side_of, tables)):
        bare = [file for file in files_below(root)[0] if not any(file.is_relative_to(home) for home in homes)]
        if bare:
            raise InputError(f"no table describes '{bare[0]}', as '{tables[0]}' does what lies beside it")
    notes += _take_split(clips, root)
    clips.attrs = {"notes": notes}
    return clips


def _described(root: Path, path: Path, group: str | None) -> pd.DataFrame:
    """Return the clips of one metadata table; their ids count from `root`."""
    table = read_table(path, text=[*FILE_NAMES, *([group] if group else [])])
    column = file_names(table, str(path))
    if table.empty:
        raise InputError(f"{path} lists no recordings")
    if is_embedded(table, column):
        return _unpacked(table, column, root, path)
    names = table.pop(column)
    if names.isna().any():
        raise InputError(f"{path}: {column} is empty in row {int(names.isna().argmax()) + 1}")
    notes = []
    if "path" in table:
        notes.append(f"{path}: '{column}' names the recordings; the column 'path' is left out")
        table = table.drop(columns="path")
    own = [name for name in ("clip_id", "group", "split", "start_s", "stop_s", "channel") if name in table]
    if group is not None and group != "group" and "group" in own:
        own.remove("group")
        notes.append(f"{path}: the groups are of '{group}'; the column 'group' is left out")
        table = table.drop(columns="group")
    if own:
        listed = ", ".join(f"'{name}'" for name in own)
        notes.append(
            f"{path}: {listed} {'is' if len(own) == 1 else 'are'} taken for what the clips table calls so"
        )
    home = path.parent.relative_to(root)
    outside = [Path(name) for name in names if Path(name).is_absolute() or ".." in Path(name).parts]
    notes += said_of(f"recordings of {path} lie outside its folder", outside, root)
    table.insert(0, "path", [str(path.parent / name) for name in names])
    if "clip_id" not in table:
        ids = [str(PurePosixPath(home / name)) for name in names]
        if "start_s" in table:
            ids = [f"{name}@{start}" for name, start in zip(ids, _written(table["start_s"]))]
        table.insert(0, "clip_id", ids)
    table.attrs = {"notes": notes}
    return table


def _unpacked(table: pd.DataFrame, column: str, root: Path, path: Path) -> pd.DataFrame:
    """Return the clips of a table that holds its recordings itself."""
    names, files = unpack(table, column, path)
    table = table.drop(columns=[name for name in {column, "path"} if name in table])
    side = side_of(path)
    if side is not None and "split" not in table:
        table["split"] = side
    table.insert(0, "path", files)
    if "clip_id" not in table:
        home = path.parent.relative_to(root) / (path.stem if side else "")
        table.insert(0, "clip_id", [str(PurePosixPath(home / name)) for name in names])
    table.attrs = {"notes": [f"the recordings of {path} lie unpacked in '{Path(files[0]).parent}'"]}
    return table


def _written(starts: pd.Series) -> list[str]:
    return [f"{start:g}" if isinstance(start, float | int) else str(start) for start in starts]


def _from_subfolders(root: Path, recordings: Files) -> pd.DataFrame:
    import pandas as pd

    files, hidden = recordings
    if not files:
        raise InputError(
            f"'{root}' holds no audio ({_audio_suffixes()}) and no {METADATA}.csv; "
            f"point root at the folder that holds the recordings"
        )
    clips = pd.DataFrame(
        {
            "clip_id": ["/".join(_relative(str(file), root)) for file in files],
            "path": [str(file) for file in files],
        }
    )
    notes = said_of("hidden files are passed over", hidden, root)
    notes += _take_split(clips, root)
    not_labels = {root} if "split" not in clips else {root, *_split_folders(files, root)}
    labels = [file.parent.name if file.parent not in not_labels else None for file in files]
    if any(labels):
        clips["label"] = labels
    clips.attrs = {"notes": notes}
    return clips


def _audio_suffixes() -> str:
    return ", ".join(AUDIO)


def _split_folders(files: list[Path], root: Path) -> set[Path]:
    """Return the folders that are sides of a split, and those above them."""
    depth = _common_depth([file.relative_to(root).parts for file in files])
    return {root.joinpath(*file.relative_to(root).parts[:n]) for file in files for n in range(depth + 2)}


def _take_split(clips: pd.DataFrame, root: Path) -> list[str]:
    """Set ``split`` from folders called train and test, where there is none; return a note."""
    if "split" in clips:
        return []
    where = [_relative(path, root) for path in clips["path"]]
    if any(not parts for parts in where):
        return []  # recordings elsewhere: no folders of a split
    depth = _common_depth(where)
    folders = [parts[depth] if len(parts) > depth + 1 else "" for parts in where]
    sides = [SPLIT_NAMES.get(folder.lower()) for folder in folders]
    if "train" not in sides or not {"valid", "test"} & set(sides):
        return []
    if None in sides:
        other = where[sides.index(None)]
        raise InputError(
            f"'{root}' holds folders of a split ({', '.join(sorted({f for f, s in zip(folders, sides) if s}))}), "
            "and beside "
            f"them '{'/'.join(other)}': move what is in no side away, rename the folders if they are classes, or "
            "say each "
            "recording's side in a column 'split' of a metadata.csv"
        )
    clips["split"] = sides
    return [f"the split is that of the folders {', '.join(sorted(set(folders)))}"]


def _relative(path: str, root: Path) -> tuple[str, ...]:
    """Return the folders and the name of a recording below `root`; none if it lies elsewhere."""
    below = f"{root}/"
    if path.startswith(below):  # as nearly all do, and Path is slow
        parts = tuple(path[len(below) :].split("/"))
        if not {"", ".", ".."} & set(parts):
            return parts
    try:
        parts = Path(path).relative_to(root).parts
    except ValueError:
        return ()
    return () if ".." in parts else parts


def _common_depth(where: list[tuple[str, ...]]) -> int:
    """Return how many folders all recordings lie in, such as ``data``; a side of a split is none of them."""
    depth = 0
    while all(len(parts) > depth + 1 for parts in where):
        names = {parts[depth] for parts in where}
        if len(names) > 1 or min(names).lower() in SPLIT_NAMES:
            break
        depth += 1
    return depth


DATASET = DataSet(load)
