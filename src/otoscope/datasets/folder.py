"""Any folder of recordings, described by a metadata.csv as in Hugging Face's AudioFolder.

``metadata.csv`` has a ``file_name`` column (paths relative to the folder) and any other columns: labels, a
``split`` (train, valid, test), ``start_s`` and ``stop_s`` (seconds) where a row is a stretch of a longer file.
Without a metadata.csv the name of each recording's subfolder is its ``label``; one beside the
subfolders has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.audio import SUFFIXES
from otoscope.clips import read_table, split_clips
from otoscope.datasets.dataset import DataSet
from otoscope.datasets.headers import with_durations
from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

METADATA = "metadata.csv"


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
        Column whose classes keep their shares where clips are split one by one; ``label`` where there is such a
        column, so that commands that name it and commands that do not draw the same split.
    group : str, optional
        Column of what must not cross a split (speaker, singer, site). Without one each file is its own group.
    split_seed : int
        Of the split, where the table has none.
    skip_unreadable : bool
        Leave out recordings that are missing, empty or unreadable, and list them in ``.attrs["left_out"]``,
        instead of stopping at the first.

    Returns
    -------
    DataFrame
        A clips table; the metadata's other columns follow as labels.

    Raises
    ------
    InputError
        If there is no such folder, it holds no audio, or its metadata.csv cannot be used.
    AudioError
        Naming the first recording that cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no such folder: '{root}'")
    clips = _from_metadata(root) if (root / METADATA).exists() else _from_subfolders(root)
    for option, column in (("group", group), ("label", label)):
        if column is not None and column not in clips:
            own = [name for name in clips.columns if name not in ("clip_id", "path")]
            raise InputError(
                f"{option}: {_table_of(root)} has no column '{column}'{nearest(column, own)} "
                f"(columns: {', '.join(own) or 'none'})"
            )
    clips = with_durations(clips, skip_unreadable=skip_unreadable)
    left_out = clips.attrs["left_out"]
    clips["group"] = clips[group].astype(str) if group else clips["path"]
    clips = split_clips(clips, seed=split_seed, label=label or "label")
    clips.attrs["left_out"] = left_out
    return clips


def _from_metadata(root: Path) -> pd.DataFrame:
    table = read_table(root / METADATA)
    if "file_name" not in table.columns:
        raise InputError(
            f"{root / METADATA} has no 'file_name' column{nearest('file_name', table.columns)} "
            f"(columns: {', '.join(map(str, table.columns))}); it names each recording, relative to the folder"
        )
    if table.empty:
        raise InputError(f"{root / METADATA} lists no recordings")
    if table["file_name"].isna().any():
        raise InputError(
            f"{root / METADATA}: file_name is empty in row {int(table['file_name'].isna().argmax()) + 1}"
        )
    names = table.pop("file_name")
    table.insert(0, "path", [str(root / name) for name in names])
    if "clip_id" not in table:
        ids = names
        if "start_s" in table:
            ids = names + "@" + table["start_s"].map("{:g}".format)
        table.insert(0, "clip_id", ids)
    return table


def _from_subfolders(root: Path) -> pd.DataFrame:
    import pandas as pd

    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(
            f"'{root}' holds no audio ({', '.join(SUFFIXES)}) and no {METADATA}; "
            f"point root at the folder that holds the recordings"
        )
    clips = pd.DataFrame(
        {
            "clip_id": [file.relative_to(root).as_posix() for file in files],
            "path": [str(file) for file in files],
        }
    )
    if any(file.parent != root for file in files):
        clips["label"] = [file.parent.name if file.parent != root else None for file in files]
    return clips


def _table_of(root: Path) -> str:
    return str(root / METADATA) if (root / METADATA).exists() else f"'{root}'"


DATASET = DataSet(load)
