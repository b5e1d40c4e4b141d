"""Data sets: functions that return a clips table.

``load_clips("synthsing")``, or any folder of recordings: ``load_clips("path/to/folder")``.
Third-party packages add data sets through the entry point group ``otoscope.datasets``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    "vocalset",
    "otoscope.datasets.vocalset:load",
    "20 professional singers, ten techniques (otoscope download vocalset DIR)",
)
DATASETS.add(
    "folder",
    "otoscope.datasets.folder:load",
    "any folder of recordings; labels from its metadata.csv, or from one subfolder a class",
)
for _name, _summary in {
    "esc50": "2,000 environmental sounds, 50 classes, five folds",
    "gtzan": "1,000 excerpts of music, ten genres (no artists known: scores flatter)",
    "speech-commands": "105,829 spoken words, 35 words, the official lists",
    "fsdd": "3,000 spoken digits, six speakers, 8 kHz",
    "nsynth": "305,979 musical notes, by instrument family, source and pitch",
    "raven": "Raven selection tables: marked stretches of long recordings",
}.items():
    DATASETS.add(_name, f"otoscope.datasets.{_name.replace('-', '_')}:load", _summary)

for _name, _summary in {
    "audacity": "Audacity's label tracks: marked stretches of long recordings",
    "textgrid": "Praat TextGrids: the intervals of a tier",
    "elan": "ELAN's tab-delimited exports: annotations of long recordings",
}.items():
    DATASETS.add(_name, f"otoscope.datasets.labels:load_{_name}", _summary)

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
        recordings that could not be read and were left out, where the caller allowed that; ``.attrs["notes"]`` says
        what else there is to know.

    Raises
    ------
    InputError
        If there is no such data set or folder, it has no such option, or it cannot be used as it is.
    """
    name = str(name_or_folder)
    if name in DATASETS:
        clips = _load(name, options if root is None else {"root": root, **options})
    elif Path(name).is_dir():
        if root is not None:
            raise InputError(f"'{name}' is a folder already; leave root out")
        clips = _load("folder", {"root": name, **options})
    else:
        raise InputError(
            f"no data set and no folder is called '{name}'{nearest(name, DATASETS.names())} "
            f"(data sets: {', '.join(DATASETS.names())})"
        )
    return check_clips(clips)


def _load(name: str, options: dict[str, Any]) -> pd.DataFrame:
    """Call a data set's loader, after a look at what it takes."""
    loader = DATASETS.get(name)
    known = inspect.signature(loader).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        for option in options:
            if option not in known:
                raise InputError(
                    f"data set '{name}' has no option '{option}'{nearest(option, known)} (options: {', '.join(known)})"
                )
    root = known.get("root")
    if root is not None and root.default is root.empty and options.get("root") is None:
        raise InputError(
            f"data set '{name}' lies on disk; say where: load_clips('{name}', root='/data/{name}'), "
            f"--set dataset.root=/data/{name} of a run, {name}:/data/{name} of any other command"
        )
    return loader(**options)
