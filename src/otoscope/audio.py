"""Decoding: a file on disk to a mono waveform at the sample rate a model wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoscope.errors import AudioError, InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus", ".m4a")
"""What counts as a recording when a folder is searched. libsndfile decides what can be read."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    path: Path
    sample_rate: int
    n_channels: int
    n_samples: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def audio_info(path: str | Path) -> AudioInfo:
    """Read a file's header.

    Raises
    ------
    AudioError
        If the file is missing, is no audio libsndfile can read, or holds no samples.
    """
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise _unreadable(path, error) from error
    if info.frames <= 0:
        raise AudioError(path, "holds no samples; remove it from the table or replace the file")
    return AudioInfo(Path(path), info.samplerate, info.channels, info.frames)


def read_audio(
    path: str | Path, *, sample_rate: int | None = None, start_s: float = 0.0, stop_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Decode a stretch of a file to mono, resampled if asked.

    Parameters
    ----------
    path : str or Path
        wav, flac, ogg, mp3: whatever libsndfile reads.
    sample_rate : int, optional
        Resample (soxr, high quality) to this rate in Hz. Default: the file's own.
    start_s, stop_s : float
        The stretch, in seconds from the start of the file; `stop_s` None or beyond the end means to the end.

    Returns
    -------
    waveform : np.ndarray [samples], float32
        Mean of the channels.
    sample_rate : int
        Its rate in Hz.

    Raises
    ------
    AudioError
        If the file is missing, unreadable or truncated, holds no samples in the stretch, or has NaN or
        infinite samples.
    """
    import soundfile

    if start_s < 0 or (stop_s is not None and stop_s <= start_s):
        raise InputError(f"{path}: the stretch {start_s} s to {stop_s} s is empty or negative")
    try:
        with soundfile.SoundFile(str(path)) as file:
            own_rate = file.samplerate
            start = round(start_s * own_rate)
            stop = file.frames if stop_s is None else min(round(stop_s * own_rate), file.frames)
            if start >= stop:
                raise AudioError(
                    path,
                    f"holds no samples between {start_s:g} s and {'its end' if stop_s is None else f'{stop_s:g} s'} "
                    f"(it is {file.frames / own_rate:g} s long)",
                )
            file.seek(start)
            samples = file.read(stop - start, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise _unreadable(path, error) from error
    if len(samples) < stop - start:
        raise AudioError(path, f"is truncated: {stop - start} samples promised, {len(samples)} found")
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise AudioError(path, "has NaN or infinite samples")
    if sample_rate is not None and sample_rate != own_rate:
        import soxr

        waveform = soxr.resample(waveform, own_rate, sample_rate, quality="HQ")
        own_rate = sample_rate
    return np.ascontiguousarray(waveform, dtype=np.float32), own_rate


def write_audio(path: str | Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a mono waveform [samples] in -1..1 as 16 bit; the suffix (.wav, .flac) says the format."""
    import soundfile

    soundfile.write(str(path), np.clip(waveform, -1.0, 1.0), sample_rate, subtype="PCM_16")


def _unreadable(path: str | Path, error: Exception) -> AudioError:
    if not Path(path).exists():
        return AudioError(path, "no such file")
    if Path(path).stat().st_size == 0:
        return AudioError(path, "is an empty file (0 bytes)")
    return AudioError(path, f"cannot be decoded as audio ({str(error).strip().rstrip('.')})")
