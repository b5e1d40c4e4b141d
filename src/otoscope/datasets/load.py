"""Data sets by name, and one function for all that can be listened to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.audio import SUFFIXES
from otoscope.clips import check_clips, split_clips
from otoscope.errors import InputError, nearest
from otoscope.registry import Registry
from otoscope.tables import SUFFIXES as TABLES

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.datasets.dataset import DataSet

DATASETS = Registry("data set", "otoscope.datasets")
"""Objects of `otoscope.datasets.dataset.DataSet`."""
for _name, (_module, _summary) in {
    "synthsing": ("synthsing.about", "synthesised singing, ten techniques, true factors known (built in)"),
    "vocalset": (
        "vocalset.about",
        "20 professional singers, ten techniques (otoscope download vocalset DIR)",
    ),
    "folder": (
        "folder",
        "any folder of recordings; labels from its metadata.csv, or from one subfolder a class",
    ),
    "esc50": ("esc50", "2,000 environmental sounds, 50 classes, five folds"),
    "gtzan": ("gtzan", "1,000 excerpts of music, ten genres (no artists known: scores flatter)"),
    "speech-commands": ("speech_commands", "105,829 spoken words, 35 words, the official lists"),
    "fsdd": ("fsdd", "3,000 spoken digits, six speakers, 8 kHz"),
    "nsynth": ("nsynth", "305,979 musical notes, by instrument family, source and pitch"),
    "raven": ("raven", "Raven selection tables: marked stretches of long recordings"),
    "audacity": ("audacity", "Audacity's label tracks: marked stretches of long recordings"),
    "textgrid": ("textgrid", "Praat TextGrids: the intervals of a tier"),
    "elan": ("elan", "ELAN's tab-delimited exports: annotations of long recordings"),
}.items():
    DATASETS.add(_name, f"otoscope.datasets.{_module}:DATASET", _summary)


def load_clips(source: str | Path, *, root: str | Path | None = None, **options) -> pd.DataFrame:
    """Return a clips table of a data set, a folder, a table on disk, or one recording.

    Parameters
    ----------
    source : str or Path
        A registered name (``otoscope list datasets``), alone or with its folder (``"vocalset:/data/VocalSet"``); a
        folder of recordings; a table of clips (.csv, .tsv, .jsonl, .parquet); or a recording.
    root : str or Path, optional
        Where a data set lies, or shall lie; each says what it does without one.
    **options
        The data set's own options, such as ``group="speaker"`` for a folder or a table, or ``seed=1`` for synthsing.

    Returns
    -------
    DataFrame
        Columns clip_id, path, start_s, stop_s (seconds), split, group, then the labels. ``.attrs["left_out"]`` lists
        recordings that could not be read and were left out, where the caller allowed that; ``.attrs["notes"]`` says
        what else there is to know.

    Raises
    ------
    InputError
        If there is no such data set, folder or file, it has no such option, or it cannot be used as it is.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"clip_id": ["a", "b"], "path": ["a.wav", "b.wav"], "start_s": 0.0, "stop_s": 1.0})
    >>> table.assign(split=["train", "test"], group=["ann", "bob"]).to_csv("clips.csv", index=False)
    >>> load_clips("clips.csv")[["clip_id", "split", "group"]]
      clip_id  split group
    0       a  train   ann
    1       b   test   bob
    """
    name, colon, place = str(source).partition(":")
    if colon and name in DATASETS:
        if root is not None:
            raise InputError(f"'{source}' says where the data lie; leave root out")
        root = place
    else:
        name = str(source)
    path = Path(name)
    if name in DATASETS:
        clips = _load(name, options if root is None else {"root": root, **options})
    elif os.path.exists(path) and root is not None:
        raise InputError(f"'{name}' says where the data lie; leave root out")
    elif os.path.isdir(path):
        clips = _load("folder", {"root": name, **options})
    elif path.suffix.lower() in TABLES:
        from otoscope.datasets.folder import load_table

        clips = load_table(path, **options)
    elif os.path.isfile(path) and path.suffix.lower() in SUFFIXES:
        clips = _recording(path)
    else:
        raise InputError(
            f"no data set, folder, table or recording is called '{name}'{nearest(name, DATASETS.names())} "
            f"(data sets: {', '.join(DATASETS.names())})"
        )
    return check_clips(clips)


def _load(name: str, options: dict[str, Any]) -> pd.DataFrame:
    """Call a data set's loader, after a look at what it takes."""
    dataset: DataSet = DATASETS.get(name)
    known = dataset.options
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
    return dataset.load(**options)


def _recording(path: Path) -> pd.DataFrame:
    import pandas as pd

    from otoscope.datasets.headers import with_durations

    return split_clips(with_durations(pd.DataFrame({"clip_id": [path.name], "path": [str(path)]})))
