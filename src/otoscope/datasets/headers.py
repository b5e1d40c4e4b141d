"""The last step of every data set on disk: how long its recordings are, and whether the table is right."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from otoscope.audio import AudioInfo, audio_info
from otoscope.clips import as_channels, channels, check_clips
from otoscope.compute import progress, thread_map
from otoscope.errors import AudioError, InputError
from otoscope.tables import seconds

if TYPE_CHECKING:
    import pandas as pd


def finished(clips: pd.DataFrame, *, skip_unreadable: bool = False) -> pd.DataFrame:
    """Return `clips` with durations and checked; recordings left out stay listed in ``.attrs["left_out"]``."""
    return check_clips(with_durations(clips, skip_unreadable=skip_unreadable))


def with_durations(clips: pd.DataFrame, *, skip_unreadable: bool = False) -> pd.DataFrame:
    """Return `clips` with ``start_s`` and ``stop_s`` filled from the headers of its files.

    Parameters
    ----------
    clips : DataFrame
        With ``path``; a ``start_s`` or ``stop_s`` that is there is kept, but never beyond the end of the file, and may
        be text (`otoscope.tables.seconds`). A ``channel`` must be there.
    skip_unreadable : bool
        Leave out recordings that are missing, empty or unreadable, and list them in ``.attrs["left_out"]`` (added to
        what stands there), instead of stopping at the first.

    Raises
    ------
    AudioError
        Naming the first recording that cannot be read.
    InputError
        If none can be read, or a time cannot be.
    """
    import pandas as pd

    paths = clips["path"].unique()
    if not len(paths):
        raise InputError("the table names no recordings; it has no rows")
    found: dict[str, AudioInfo] = {}
    left_out = []
    with progress("reading headers", len(paths), unit="files") as bar:
        for path, info in zip(paths, _headers(paths)):
            if isinstance(info, AudioError):
                if not skip_unreadable:
                    raise info
                left_out.append(str(info))
            else:
                found[path] = info
            bar.advance()
    if not found:
        raise InputError(f"none of the {len(paths)} recordings can be read; the first: {left_out[0]}")
    attrs = dict(clips.attrs)
    clips = clips[clips["path"].isin(found)].reset_index(drop=True)
    _check_channels(clips, found)
    end = clips["path"].map({path: info.duration_s for path, info in found.items()})
    starts, stops = (
        seconds(clips[name], of=f"'{name}'") if name in clips else pd.Series(np.nan, index=clips.index)
        for name in ("start_s", "stop_s")
    )
    clips["start_s"] = starts.fillna(0.0)
    clips["stop_s"] = stops.fillna(end).clip(upper=end)
    clips.attrs = attrs | {
        "left_out": [*attrs.get("left_out", []), *left_out],
        "notes": [*attrs.get("notes", []), *_uncounted(found)],
    }
    return clips


def _check_channels(clips: pd.DataFrame, found: dict[str, AudioInfo]) -> None:
    if "channel" not in clips:
        return
    clips["channel"] = as_channels(clips["channel"])
    for path, channel in zip(clips["path"], channels(clips)):
        if channel is not None and channel > found[path].n_channels:
            raise AudioError(
                path, f"has {found[path].n_channels} channels; the table asks for channel {channel}"
            )


def _uncounted(found: dict[str, AudioInfo]) -> list[str]:
    """Return a note on recordings whose length no header tells."""
    files = [path for path, info in found.items() if not info.is_counted]
    if not files:
        return []
    return [
        f"{len(files)} mp3 files hold no count of their frames, such as '{files[0]}': they are read to where they "
        "end, and "
        "whether they are whole cannot be known"
    ]


def _headers(paths: Sequence[str]) -> Iterator[AudioInfo | AudioError]:
    """Yield what each header says. Threads help where files are slow to open, such as on a network; else they cost.

    Opening a file that the system has at hand takes 50 us; threads that take turns at the interpreter take 140.
    """
    began = time.perf_counter()
    yield from (first := [_info_or_error(path) for path in paths[:_TRIAL]])
    slow = time.perf_counter() - began > len(first) * _SLOW_S
    yield from (thread_map if slow else map)(_info_or_error, paths[_TRIAL:])


_TRIAL = 64  # files
_SLOW_S = 1e-3  # per file


def _info_or_error(path: str) -> AudioInfo | AudioError:
    try:
        return audio_info(path)
    except AudioError as error:
        return error
