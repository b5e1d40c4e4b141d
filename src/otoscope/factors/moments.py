"""Physical attributes of moments, for rows that are frames: a few, of what changes within a word or a note."""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.audio import read_audio
from otoscope.clips import channels
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.compute import progress as progress_bar
from otoscope.errors import InputError
from otoscope.factors.descriptors import HOP, SAMPLE_RATE, frame_numbers
from otoscope.factors.tables import KEYS, Factors

MOMENTS: tuple[tuple[str, str, str], ...] = (
    ("level_dbfs", "dBFS", "loudness"),
    ("level_change_db", "dB in 64 ms", "loudness"),
    ("f0_hz", "Hz", "pitch"),
    ("voiced", "", "quality"),
    ("centroid_hz", "Hz", "spectral"),
    ("flatness_db", "dB", "spectral"),
    ("tilt_db_per_octave", "dB/octave", "spectral"),
)
"""Name, unit and family. Pitch is NaN where there is none; voiced is 1 or 0."""


def moment_factors(
    clips: pd.DataFrame, rows: pd.DataFrame, *, workers: int | None = None, progress: bool = True
) -> Factors:
    """Measure level, pitch and spectral shape at the moment of each row.

    Analysed in frames of 64 ms every 16 ms, as the set "descriptors"; a row has the numbers of the nearest frame.

    Parameters
    ----------
    clips : DataFrame
        A clips table.
    rows : DataFrame
        Of a store of frames, or some of them: ``clip_id, start_s, stop_s, time_s``.
    workers : int, optional
        Threads; default: as many as there are cores.
    progress : bool
        Show a bar where stderr is a terminal.

    Returns
    -------
    Factors
        A row for each different stretch of `rows`.

    Raises
    ------
    InputError
        If rows are no frames, or of clips that the table lacks.
    AudioError
        If a recording cannot be read.
    """
    if "time_s" not in rows:
        raise InputError(
            "rows have no time_s: factors of moments are for stores of frames (pool frames or tokens)"
        )
    rows = rows.drop_duplicates(list(KEYS))
    used = clips[clips.clip_id.isin(rows.clip_id.unique())].reset_index(drop=True)
    missing = set(rows.clip_id) - set(used.clip_id)
    if missing:
        raise InputError(
            f"{len(missing)} clips of the rows are not in the clips table, such as '{min(missing)}'"
        )
    items = list(zip(used.path, used.start_s, used.stop_s, channels(used)))
    by_clip = dict(list(rows.groupby("clip_id", sort=False)))
    parts = []
    with one_thread_each(), progress_bar("moments", len(items), unit="clips", show=progress) as bar:
        for clip_id, start_s, numbers in zip(
            used.clip_id, used.start_s, thread_map(_measure, items, workers=workers or cpu_count())
        ):
            own = by_clip[clip_id]
            frame = np.rint((own.time_s.to_numpy() - start_s) * SAMPLE_RATE / HOP).astype(int)
            values = numbers[frame.clip(0, len(numbers) - 1)]
            parts.append(
                own[list(KEYS)].assign(**{name: values[:, i] for i, (name, _, _) in enumerate(MOMENTS)})
            )
            bar.advance()
    return Factors(
        pd.concat(parts, ignore_index=True), pd.DataFrame(MOMENTS, columns=["name", "unit", "family"])
    )


def _measure(item: tuple[str, float, float, int | None]) -> np.ndarray:
    """Return [frames, moments] of a stretch of a recording."""
    path, start_s, stop_s, channel = item
    waveform, _ = read_audio(path, sample_rate=SAMPLE_RATE, start_s=start_s, stop_s=stop_s, channel=channel)
    level, f0_hz, voiced, centroid, flatness, tilt = frame_numbers(waveform)
    padded = np.pad(level, 2, mode="edge")
    change = padded[4:] - padded[:-4]
    pitch = np.where(voiced, f0_hz, np.nan)
    return np.stack([level, change, pitch, voiced.astype(float), centroid, flatness, tilt], axis=1)
