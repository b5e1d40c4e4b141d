"""Data sets: functions that return a clips table.

``load_clips("synthsing")``, or any folder of recordings: ``load_clips("path/to/folder")``.
Third-party packages add data sets through the entry point group ``otoscope.datasets``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.clips import check_clips
from otoscope.errors import InputError, nearest
from otoscope.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATASETS", "GROUND_TRUTHS", "load_clips"]

DATASETS = Registry("data set", "otoscope.datasets")
DATASETS.add(
    "synthsing",
    "otoscope.datasets.synthsing:load",
    "synthesised singing, ten techniques, true factors known (built in)",
)
DATASETS.add(
    "folder",
    "otoscope.datasets.folder:load",
    "any folder of recordings with a metadata.csv, or with one subfolder a class",
)

GROUND_TRUTHS = Registry("data set with true factors", "otoscope.ground_truths")
"""Functions ``clips -> (table, info)``: the factors that made each clip, and their unit and family."""
GROUND_TRUTHS.add("synthsing", "otoscope.datasets.synthsing:true_factors")


def load_clips(name_or_folder: str | Path, *, root: str | Path | None = None, **options) -> pd.DataFrame:
    """Return the clips table of a data set.

    Parameters
    ----------
    name_or_folder : str or Path
        A registered name (``otoscope list datasets``), or the path of a folder of recordings.
    root : str or Path, optional
        Where the data lie, or shall lie; each data set says what it does without one.
    **options
        The data set's own options, such as ``group="speaker"`` for a folder or ``seed=1`` for synthsing.

    Returns
    -------
    DataFrame
        Columns clip_id, path, start_s, stop_s (seconds), split, group, then the labels. ``.attrs["left_out"]`` lists
        recordings that could not be read and were left out, where the caller allowed that.

    Raises
    ------
    InputError
        If there is no such data set or folder, or it cannot be used as it is.
    """
    name = str(name_or_folder)
    if name in DATASETS:
        clips = DATASETS.get(name)(**({} if root is None else {"root": root}), **options)
    elif Path(name).is_dir():
        if root is not None:
            raise InputError(f"'{name}' is a folder already; leave root out")
        clips = DATASETS.get("folder")(root=name, **options)
    else:
        raise InputError(
            f"no data set and no folder is called '{name}'{nearest(name, DATASETS.names())} "
            f"(data sets: {', '.join(DATASETS.names())})"
        )
    left_out = clips.attrs.get("left_out", [])
    clips = check_clips(clips)
    clips.attrs["left_out"] = left_out
    return clips
