"""Speech Commands v0.02: 105,829 spoken words of up to 1 s, 35 words (Warden 2018; CC BY 4.0)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.dataset import DataSet, Published, Source
from otoscope.datasets.headers import finished
from otoscope.datasets.places import folder_with
from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def load(
    root: str | Path, *, words: Sequence[str] | None = None, skip_unreadable: bool = False
) -> pd.DataFrame:
    """Return the recordings of Speech Commands, split by its own lists (which keep speakers apart).

    Parameters
    ----------
    root : path
        The folder that holds ``validation_list.txt`` and one folder a word, or one above.
    words : sequence of str, optional
        Only these, such as ["yes", "no"]; all by default. ``_background_noise_`` is no word.
    skip_unreadable : bool
        Leave out recordings that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is ``word/file``, ``group`` the speaker (the hash before ``_nohash_``); column word.

    Raises
    ------
    InputError
        If this is not Speech Commands, a list is missing or names a file that is not there, or a word is unknown.
    """
    import pandas as pd

    folder = folder_with(
        root, *LISTS.values(), dataset="speech-commands", expected="validation_list.txt, testing_list.txt and yes/*.wav"
    )  # fmt: skip
    known = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    for word in words or []:
        if word not in known:
            raise InputError(f"speech-commands: no folder of the word '{word}'{nearest(word, known)}")
    ids = sorted(
        f"{word}/{path.name}"
        for word in (words or known)
        for path in (folder / word).glob("*.wav")
        if not path.name.startswith(".")
    )
    clips = pd.DataFrame({"clip_id": ids, "split": "train"}, dtype=str)
    here = set(ids)
    left_out: list[str] = []
    for split, name in LISTS.items():
        if not (folder / name).is_file():
            raise InputError(
                f"speech-commands: '{folder}' has no {name}, which says who is in the {split} split; unpack the whole "
                "archive (speech_commands_v0.02.tar.gz; the separate test set archive has no lists)"
            )
        listed = [
            line for line in (folder / name).read_text().split() if line.split("/")[0] in (words or known)
        ]
        absent = [line for line in listed if line not in here]
        if absent and not skip_unreadable:
            raise InputError(
                f"speech-commands: {len(absent)} recordings of {name} are not there, such as '{absent[0]}'; "
                "unpack the archive again"
            )
        left_out += [f"{folder / line}: no such file" for line in absent]
        clips.loc[clips["clip_id"].isin(listed), "split"] = split
    clips["path"] = [str(folder / clip_id) for clip_id in clips["clip_id"]]
    clips["word"] = clips["clip_id"].str.partition("/")[0]
    clips["group"] = clips["clip_id"].str.partition("/")[2].str.partition("_nohash_")[0]
    clips.attrs["left_out"] = left_out
    return finished(clips, skip_unreadable=skip_unreadable)


DATASET = DataSet(
    load,
    source=Source(
        page="https://arxiv.org/abs/1804.03209",
        licence="CC BY 4.0",
        citation="Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition. arXiv:1804.03209, 2018",
        url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        checksum="sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        size_bytes=2_428_923_189,
        unpacked_bytes=3_600_000_000,
    ),
    published=Published("word", n_clips=105_829, n_classes=35),  # version 0.02: Warden (2018)
)
