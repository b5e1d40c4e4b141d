"""Render synthsing once into a folder of wav files, and return its clips."""

import os
from pathlib import Path

import pandas as pd

from otoscope.audio import write_audio
from otoscope.clips import check_clips
from otoscope.compute import progress, thread_map
from otoscope.datasets.dataset import Findings
from otoscope.datasets.synthsing.plan import SINGERS, TECHNIQUES, VOWELS, plan_clips, voice_of
from otoscope.datasets.synthsing.voice import SAMPLE_RATE, render
from otoscope.errors import InputError
from otoscope.files import whole_file

VERSION = "1"
"""Changes whenever the same seed would sound different."""

LICENCE = "CC0-1.0"

DESCRIPTION = (
    "Synthetic singing: 20 singers x 10 techniques x 5 vowels, 16 kHz mono, 1.6 to 2.4 s each, "
    "with the parameters that made every clip."
)


def load(
    root: str | Path | None = None,
    *,
    seed: int = 0,
    n_singers: int = 20,
    takes: int = 1,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Render the data set under `root`, unless it is there already, and return its clips.

    Each file appears whole or not at all, so a rendering that was stopped goes on where it was.

    Parameters
    ----------
    root : path, optional
        Folder for the files; by default ``otoscope`` in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``).
    seed : int
        Another seed gives other singers under the same names.
    n_singers : int
        3 to 20; the first three already fill the three sides of the split.
    takes : int
        Clips of each singer, technique and vowel: the data set has n_singers x 50 x takes clips.
    show_progress : bool
        False draws no bar.

    Returns
    -------
    DataFrame
        A clips table (``group`` is the singer) with the labels ``technique``, ``vowel`` and ``sex``. Twelve singers
        train, three validate, five test: female2, female8, male3, male5, male10.

    Raises
    ------
    InputError
        If there are fewer than three singers, or the folder cannot be written.
    """
    if n_singers < 3:
        raise InputError(
            f"n_singers must be 3 to {len(SINGERS)} to fill train, valid and test; got {n_singers}"
        )
    plan = plan_clips(seed=seed, n_singers=n_singers, takes=takes)
    folder = (Path(root) if root is not None else _cache()) / f"synthsing-v{VERSION}" / f"seed{seed}"
    names = zip(plan["singer"].astype(str), plan["clip_id"].astype(str), strict=True)
    plan["path"] = [str(folder / singer / f"{name}.wav") for singer, name in names]
    missing = plan[[not _is_whole(path, s) for path, s in zip(plan["path"], plan["duration_s"], strict=True)]]
    try:
        _render_all(missing, show_progress)
    except OSError as error:
        raise InputError(f"cannot write synthsing under {folder}: {error}; give another root") from error
    clips = plan[["clip_id", "path"]].assign(
        start_s=0.0, stop_s=plan["duration_s"], split=plan["singer"].map(dict(SINGERS)), group=plan["singer"],
        technique=plan["technique"], vowel=plan["vowel"], sex=plan["sex"],
    )  # fmt: skip
    return check_clips(clips)


def check(root: str | Path, *, decode: bool = True) -> Findings:
    """Look at what was rendered under `root`, and write nothing."""
    from otoscope.datasets.checks import listen

    found = Findings("synthsing", Path(root))
    recordings = sorted((Path(root) / f"synthsing-v{VERSION}").glob("seed*/*/*.wav"))
    if not recordings:
        found.problems.append(
            f"no clip of synthsing lies under '{root}'; what reads the data set renders it there"
        )
    found.n_clips = len(recordings)
    for folder in sorted({path.parent for path in recordings}):
        n_files = len(list(folder.glob("*.wav")))
        a_take = len(TECHNIQUES) * len(VOWELS)
        if n_files % a_take:
            found.problems.append(
                f"{folder}: {n_files} clips; a whole singer has {a_take}, or so many of each take"
            )
    unreadable, found.notes = listen([str(path) for path in recordings], decode=decode)
    found.problems += unreadable.values()
    return found


def _render_all(plan: pd.DataFrame, show_progress: bool) -> None:
    if plan.empty:
        return
    for folder in {Path(path).parent for path in plan["path"]}:
        folder.mkdir(parents=True, exist_ok=True)
    with progress("rendering synthsing", len(plan), unit="clips", show=show_progress) as bar:
        for _ in thread_map(_render_one, (row for _, row in plan.iterrows())):
            bar.advance()


def _render_one(row: pd.Series) -> None:
    path = Path(row["path"])
    with whole_file(path) as draft:
        write_audio(draft, render(voice_of(row)), SAMPLE_RATE)


def _is_whole(path: str, duration_s: float) -> bool:
    """Tell whether a file has its 16-bit samples and a header (a copy cut short has not)."""
    return os.path.isfile(path) and os.path.getsize(path) >= 2 * round(duration_s * SAMPLE_RATE) + 44


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otoscope"
