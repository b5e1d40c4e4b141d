"""VocalSet's tree, as unpacked, to a clips table."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from otoscope.clips import split_clips
from otoscope.datasets.headers import finished
from otoscope.datasets.vocalset.names import (
    ENDINGS,
    SINGERS,
    TECHNIQUES,
    TEST_SINGERS,
    ending,
    expected_count,
    quirk_of,
    sex,
)
from otoscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LAYOUTS = ("FULL", "data_by_singer")
"""The folder of singers in version 1.1 and in 1.2 (which holds the same audio twice more, by technique and vowel)."""


def load(
    root: str | Path,
    *,
    quirks: Literal["sound", "paper"] = "sound",
    valid_by: Literal["group", "clip"] = "group",
    valid: float = 0.2,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return VocalSet's clips: ten techniques, the publisher's test singers.

    Parameters
    ----------
    root : path
        The folder that holds ``FULL/`` (version 1.1) or ``data_by_singer/`` (1.2), that folder itself, or one above.
    quirks : {"sound", "paper"}
        "sound" repairs what `QUIRKS` lists; "paper" does as the published code does: files in folders spelled
        ``vibrado`` vanish. Singer and technique are read from the folders either way.
    valid_by : {"group", "clip"}
        What validates. "group": whole training singers. "clip", as published: `valid` of the training files of all
        techniques, drawn before any is left out; singers are then on both sides, and so that this is seen, the
        ``group`` of such a clip is "<singer> (valid)". The paper's files stood in the order of its file system; here
        they are sorted, so the draw follows its rule, not its outcome.
    valid : float
        Fraction of the training singers, or files, that validates.
    split_seed : int
        Of that draw (the paper: 42).
    skip_unreadable : bool
        Leave out recordings that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table. ``clip_id`` is the path below the folder of singers, ``group`` the singer; columns singer, sex,
        technique, context (arpeggios, scales, long_tones, excerpts) and vowel (the name's last part; "spoken" for
        speech). The published set has 1,617 clips, or 1,612 with ``quirks="paper"``; fewer bring a warning.

    Raises
    ------
    InputError
        If there is no VocalSet, an option is wrong, or the test or training singers are missing.
    """
    for name, value, known in (
        ("quirks", quirks, ("sound", "paper")),
        ("valid_by", valid_by, ("group", "clip")),
    ):
        if value not in known:
            raise InputError(f"vocalset: {name} must be '{known[0]}' or '{known[1]}'; got '{value}'")
    if not 0 < valid < 1:
        raise InputError(f"vocalset: valid is a fraction between 0 and 1; got {valid}")
    audio = audio_root(root)
    files = list_files(audio)
    clips = studied(audio, files, quirks=quirks)
    present = set(clips["singer"])
    if not present & set(TEST_SINGERS) or not present - set(TEST_SINGERS):
        raise InputError(
            f"'{audio}' lacks the {'training' if present & set(TEST_SINGERS) else 'test'} singers "
            f"(singers with recordings: {', '.join(sorted(present)) or 'none'}); "
            "unpack the whole of VocalSet, and see `otoscope validate vocalset`"
        )
    _warn_if_incomplete(audio, len(clips), quirks)
    clips["group"] = clips["singer"]
    clips["split"] = ["test" if singer in TEST_SINGERS else "train" for singer in clips["singer"]]
    if valid_by == "clip":
        validates = clips["clip_id"].isin(_drawn_files(files, valid, split_seed))
        clips.loc[validates, "split"] = "valid"
        clips.loc[validates, "group"] += " (valid)"
    else:
        clips = split_clips(clips, seed=split_seed, valid=valid, test=0.0)
    columns = ["singer", "sex", "technique", "context", "vowel"]
    return finished(clips[["clip_id", "path", "split", "group", *columns]], skip_unreadable=skip_unreadable)


def audio_root(root: str | Path) -> Path:
    """Return the folder of singers in `root`, in one of its layouts, or one level down.

    Raises
    ------
    InputError
        If there is none.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no such folder: '{root}'; `otoscope download vocalset '{root}'` fetches VocalSet")
    inside = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name != "__MACOSX"]
    for folder in [root, *inside]:
        for candidate in [folder, *(folder / layout for layout in LAYOUTS)]:
            if any((candidate / singer).is_dir() for singer in SINGERS):
                return candidate
    raise InputError(
        f"'{root}' holds no VocalSet: expected FULL/female1, ... (version 1.1) or data_by_singer/female1, ... (1.2); "
        f"it holds {', '.join(folder.name for folder in inside[:8]) or 'no folders'}. Point root at the unpacked "
        f"archive, or fetch it: otoscope download vocalset '{root}'"
    )


def list_files(audio: Path) -> list[str]:
    """Return the recordings below the folder of singers as ``singer/context/technique/name.wav``, sorted.

    Hidden files, resource forks among them, and folders that are no singer's are passed over.
    """
    files = []
    for singer in SINGERS:
        for path in (audio / singer).glob("*/*/*"):
            if path.suffix.lower() == ".wav" and not path.name.startswith("."):
                files.append(path.relative_to(audio).as_posix())
    return sorted(files)


def studied(audio: Path, files: list[str], *, quirks: str) -> pd.DataFrame:
    """Return what is kept of `files`: clip_id, path, singer, sex, technique, context, vowel."""
    import pandas as pd

    kept = [(path, technique) for path in files if (technique := _technique(path, quirks))]
    clips = pd.DataFrame(kept, columns=["clip_id", "technique"], dtype=str)
    parts = clips["clip_id"].str.split("/")
    clips["path"] = [str(audio / path) for path in clips["clip_id"]]
    clips["singer"] = parts.str[0]
    clips["sex"] = clips["singer"].map(sex)
    clips["context"] = parts.str[1]
    clips["vowel"] = clips["clip_id"].map(ending)
    return clips


def _technique(path: str, quirks: str) -> str | None:
    """Return a file's technique, or None if it is not studied or left out."""
    technique = path.split("/")[2]
    if quirks == "sound":
        quirk = quirk_of(path)
        if quirk is not None and quirk.repair != "keep":
            technique = quirk.repair  # "drop" is no technique
    return technique if technique in TECHNIQUES and ending(path) in ENDINGS else None


def _drawn_files(files: list[str], valid: float, seed: int) -> set[str]:
    """Return the training files that validate, drawn as the published code draws them."""
    train = [path for path in files if path.partition("/")[0] not in TEST_SINGERS]
    random.Random(seed).shuffle(train)
    return set(train[int(len(train) * (1 - valid)) :])


def _warn_if_incomplete(audio: Path, n_kept: int, quirks: str) -> None:
    whole = sum(expected_count(singer, technique) for singer in SINGERS for technique in TECHNIQUES)
    whole -= 5 if quirks == "paper" else 0
    if n_kept < whole:
        warnings.warn(
            f"VocalSet in '{audio}' is incomplete: {n_kept} of {whole} recordings; "
            f"`otoscope validate vocalset` says which are missing",
            stacklevel=3,
        )
