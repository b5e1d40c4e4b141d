"""GTZAN: 1,000 excerpts of 30 s, ten genres (Tzanetakis and Cook 2002).

It has no groups: artists recur within a genre and nothing published with it says who they are, so the split is by
excerpt and every score on it flatters (Sturm 2014 counts repeats and wrong labels).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.audio import audio_info
from otoscope.clips import split_clips
from otoscope.datasets.dataset import DataSet, Published, Source
from otoscope.datasets.headers import finished
from otoscope.datasets.places import folder_with
from otoscope.errors import AudioError

if TYPE_CHECKING:
    import pandas as pd

GENRES = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock",
)  # fmt: skip

CORRUPT = "jazz.00054"
"""Unreadable in the copy that most people have; left out where it is."""


def load(root: str | Path, *, split_seed: int = 0, skip_unreadable: bool = False) -> pd.DataFrame:
    """Return the excerpts of GTZAN, split at random with genres in proportion.

    Parameters
    ----------
    root : path
        The folder of genres (``genres``, ``genres_original``), or one or two above.
    split_seed : int
        Of the split: 60 % train, 15 % validate, 25 % test.
    skip_unreadable : bool
        Leave out any recording that cannot be read (`CORRUPT` always is, where it cannot), and list it in
        ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table; column genre. ``group`` is the excerpt itself: artists are not known.

    Raises
    ------
    InputError
        If no folder of genres is found.
    """
    import pandas as pd

    folder = folder_with(
        root, "blues", "metal", dataset="gtzan", expected="one folder a genre, with blues/blues.00000.wav"
    )
    files = [
        file
        for genre in GENRES
        for file in sorted((folder / genre).glob(f"{genre}.*"))
        if file.suffix.lower() in (".wav", ".au")
    ]
    left_out = []
    for file in [file for file in files if file.stem == CORRUPT]:
        try:
            audio_info(file)
        except AudioError as error:
            files.remove(file)
            left_out.append(str(error))
    clips = pd.DataFrame({"clip_id": [file.stem for file in files], "path": [str(file) for file in files]})
    clips["genre"] = [file.parent.name for file in files]
    clips = split_clips(clips, seed=split_seed, label="genre")
    clips.attrs["left_out"] = left_out
    return finished(clips, skip_unreadable=skip_unreadable)


DATASET = DataSet(
    load,
    source=Source(
        page="https://huggingface.co/datasets/marsyas/gtzan (its first home, marsyas.info, is gone)",
        licence="none stated; for research",
        citation="Tzanetakis, Cook: Musical Genre Classification of Audio Signals. IEEE TSAP 10(5), 2002",
    ),
    published=Published("genre", n_classes=10),
)
