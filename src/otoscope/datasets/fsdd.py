"""Free Spoken Digit Dataset: 3,000 spoken digits, six speakers, 8 kHz (Jackson and contributors; CC BY-SA 4.0)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from otoscope.clips import split_clips
from otoscope.datasets.dataset import DataSet, Published, Source
from otoscope.datasets.headers import finished
from otoscope.datasets.places import folder_with
from otoscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_NAME = re.compile(r"(\d)_([A-Za-z]+)_(\d+)")


def load(
    root: str | Path,
    *,
    split_by: Literal["index", "speaker"] = "index",
    takes: int | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return the recordings, ``<digit>_<speaker>_<index>.wav``.

    Parameters
    ----------
    root : path
        The folder of recordings, or one above (``recordings/``).
    split_by : {"index", "speaker"}
        "index": the set's own convention, indices 0 to 4 test; every speaker is then on all sides, ``group`` is the
        recording itself, and scores say nothing of new speakers. "speaker": whole speakers test and validate.
    takes : int, optional
        Only the first so many of a speaker's takes of a digit: indices below it. Default: all, 50.
    split_seed : int
        Of what is drawn: the speakers, or the recordings that validate.
    skip_unreadable : bool
        Leave out recordings that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table; columns digit, speaker, take (the index in the name).

    Raises
    ------
    InputError
        If there are no such recordings, or `split_by` or `takes` is wrong.
    """
    import pandas as pd

    if split_by not in ("index", "speaker"):
        raise InputError(f"fsdd: split_by must be 'index' or 'speaker'; got '{split_by}'")
    if takes is not None and takes < 1:
        raise InputError(f"fsdd: takes must be 1 or more; got {takes}")
    expected = "recordings named <digit>_<speaker>_<index>.wav, such as 7_jackson_32.wav"
    folder = folder_with(
        root, *(f"{digit}_jackson_0.wav" for digit in range(10)), dataset="fsdd", expected=expected
    )
    found = [(path, match) for path in sorted(folder.glob("*.wav")) if (match := _NAME.fullmatch(path.stem))]
    if takes is not None:
        found = [(path, match) for path, match in found if int(match[3]) < takes]
    clips = pd.DataFrame(
        {
            "clip_id": [path.stem for path, _ in found],
            "path": [str(path) for path, _ in found],
            "digit": [int(match[1]) for _, match in found],
            "speaker": [match[2] for _, match in found],
            "take": [int(match[3]) for _, match in found],
        }
    )
    if split_by == "speaker":
        clips["group"] = clips["speaker"]
    else:
        clips["split"] = ["test" if take < 5 else "train" for take in clips["take"]]
    clips = split_clips(clips, seed=split_seed, label="digit")
    return finished(clips, skip_unreadable=skip_unreadable)


DATASET = DataSet(
    load,
    source=Source(
        page="https://github.com/Jakobovski/free-spoken-digit-dataset",
        licence="CC BY-SA 4.0",
        citation="Jackson and contributors: Free Spoken Digit Dataset. doi:10.5281/zenodo.1342401",
    ),
    published=Published(
        "digit", n_clips=3000, n_classes=10, per_class=300
    ),  # its own description, version 1.0.10
)
