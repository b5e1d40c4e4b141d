"""The last step of every data set on disk: how long its recordings are, and whether the table is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otoscope.audio import audio_info
from otoscope.clips import check_clips
from otoscope.compute import progress, thread_map
from otoscope.errors import AudioError, InputError

if TYPE_CHECKING:
    import pandas as pd


def finished(clips: pd.DataFrame, *, skip_unreadable: bool = False) -> pd.DataFrame:
    """Return `clips` with durations and checked; recordings left out stay listed in ``.attrs["left_out"]``."""
    clips = with_durations(clips, skip_unreadable=skip_unreadable)
    left_out = clips.attrs["left_out"]
    clips = check_clips(clips)
    clips.attrs["left_out"] = left_out
    return clips


def with_durations(clips: pd.DataFrame, *, skip_unreadable: bool = False) -> pd.DataFrame:
    """Return `clips` with ``start_s`` and ``stop_s`` filled from the headers of its files.

    Parameters
    ----------
    clips : DataFrame
        With ``path``; a ``start_s`` or ``stop_s`` that is there is kept, but never beyond the end of the file.
    skip_unreadable : bool
        Leave out recordings that are missing, empty or unreadable, and list them in ``.attrs["left_out"]`` (added to
        what stands there), instead of stopping at the first.

    Raises
    ------
    AudioError
        Naming the first recording that cannot be read.
    InputError
        If none can be read.
    """
    paths = clips["path"].unique()
    end_s: dict[str, float] = {}
    left_out = []
    with progress("reading headers", len(paths), unit="files") as bar:
        for path, found in zip(paths, thread_map(_duration_or_error, paths)):
            if isinstance(found, AudioError):
                if not skip_unreadable:
                    raise found
                left_out.append(str(found))
            else:
                end_s[path] = found
            bar.advance()
    if not end_s:
        raise InputError(f"none of the {len(paths)} recordings can be read; the first: {left_out[0]}")
    before = list(clips.attrs.get("left_out", []))
    clips = clips[clips["path"].isin(end_s)].reset_index(drop=True)
    end = clips["path"].map(end_s)
    clips["start_s"] = clips["start_s"].fillna(0.0).astype(float) if "start_s" in clips else 0.0
    clips["stop_s"] = clips["stop_s"].astype(float).fillna(end).clip(upper=end) if "stop_s" in clips else end
    clips.attrs["left_out"] = before + left_out
    return clips


def _duration_or_error(path: str) -> float | AudioError:
    try:
        return audio_info(path).duration_s
    except AudioError as error:
        return error
