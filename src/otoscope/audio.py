"""Decoding: a file on disk to a mono waveform at the sample rate a model wants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otoscope.containers import check_ogg, with_count
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
    is_counted: bool = True
    """Whether the file says how long it is; else it was read to where it ends."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def audio_info(path: str | Path) -> AudioInfo:
    """Read a file's header.

    Raises
    ------
    AudioError
        If the file is missing, is no audio libsndfile can read, is cut short, or holds no samples.
    """
    with _opened(path) as (file, is_counted):
        if file.frames <= 0:
            raise AudioError(path, "holds no samples; remove it from the table or replace the file")
        return AudioInfo(Path(path), file.samplerate, file.channels, file.frames, is_counted)


def read_audio(
    path: str | Path,
    *,
    sample_rate: int | None = None,
    start_s: float = 0.0,
    stop_s: float | None = None,
    channel: int | None = None,
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
    channel : int, optional
        Which channel, from 1; default: the mean of all.

    Returns
    -------
    waveform : np.ndarray [samples], float32
    sample_rate : int
        Its rate in Hz.

    Raises
    ------
    AudioError
        If the file is missing, unreadable or truncated (an mp3 without a count of its frames cannot tell), has no
        such channel, holds no samples in the stretch, or has NaN or infinite samples.
    """
    if start_s < 0 or (stop_s is not None and stop_s <= start_s):
        raise InputError(f"{path}: the stretch {start_s} s to {stop_s} s is empty or negative")
    with _opened(path) as (file, is_counted):
        own_rate = file.samplerate
        start = round(start_s * own_rate)
        stop = file.frames if stop_s is None else min(round(stop_s * own_rate), file.frames)
        if start >= stop:
            raise AudioError(
                path,
                f"holds no samples between {start_s:g} s and {'its end' if stop_s is None else f'{stop_s:g} s'} "
                f"(it is {file.frames / own_rate:g} s long)",
            )
        if channel is not None and not 1 <= channel <= file.channels:
            raise AudioError(path, f"has {file.channels} channels, and none has the number {channel}")
        samples = _samples(file, start, stop)
    if len(samples) < stop - start and is_counted:
        raise AudioError(path, f"is truncated: {stop - start} samples promised, {len(samples)} found")
    if channel is not None:
        waveform = samples[:, channel - 1]
    else:
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


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, bool]]:
    """Open a recording, and say whether it tells how long it is; AudioError where it cannot be read or is not whole."""
    import soundfile

    try:
        if "\0" in str(path):  # it would be read as the name that ends there
            raise AudioError(path, "no such file")
        with soundfile.SoundFile(str(path)) as file:
            counted = with_count(Path(path)) if file.format in ("MP3", "MPEG") else None
            if counted is None:
                _check_whole(path, file)
                _check_possible(path, file)
                yield file, True
                return
        with soundfile.SoundFile(counted) as file:
            yield file, False
    except MemoryError as error:
        raise AudioError(path, "is longer than memory holds; cut it into parts") from error
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, TypeError) as error:
        if isinstance(error, AudioError):
            raise
        raise _unreadable(path, error) from error


def _samples(file: Any, start: int, stop: int) -> np.ndarray:
    """Return samples [start, stop) of all channels; what cannot be wound forward (GSM 6.10, G.721) is read through."""
    if file.seekable():
        lead = min(start, _MP3_LEAD if file.format in ("MP3", "MPEG") else 0)
        file.seek(start - lead)
        return _read(file, stop - start + lead)[lead:]
    return _read(file, stop)[start:]


def _read(file: Any, n_samples: int) -> np.ndarray:
    """Read up to `n_samples` of all channels; memory is taken for what is there, not for what a header promises."""
    parts = []
    while n_samples > 0:
        wanted = min(n_samples, _BLOCK)
        parts.append(file.read(wanted, dtype="float32", always_2d=True))
        if len(parts[-1]) < wanted:  # what follows a hole is not what belongs there
            break
        n_samples -= wanted
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


_BLOCK = 1 << 26  # samples: 25 minutes at 44.1 kHz


_MP3_LEAD = (
    12 * 1152
)  # a frame may be stored in part in the frames before it; decoding from the middle errs until then
_PROMISED = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
"""What libsndfile notes of a wav, aiff, au, W64 or RF64 whose header promises more bytes, or less, than there are."""
_FORGIVEN = 1024  # some programs count the header in
_UNKNOWN = (0x7FFF, 0xFFFF)  # upper half of what programs promise that write to a pipe and cannot know


def _check_whole(path: str | Path, file: Any) -> None:
    """Raise AudioError where a file, as soundfile found it, ends before its header says: half a copy, a full disk.

    libsndfile reads such files up to where they end, as if they were whole.
    """
    for promised, found in _PROMISED.findall(file.extra_info):
        if int(found) + _FORGIVEN < int(promised) and int(promised) >> 16 not in _UNKNOWN:
            raise AudioError(
                path, f"is truncated: its header promises {int(promised):,} bytes, {int(found):,} are there"
            )
    if file.format == "OGG":
        check_ogg(Path(path), file.frames, file.samplerate)


def _check_possible(path: str | Path, file: Any) -> None:
    """Raise AudioError where a header promises more samples than any coding can hold in that many bytes."""
    n_bytes = os.path.getsize(path)
    if file.frames > _SAMPLES_PER_BYTE * n_bytes:
        raise AudioError(
            path,
            f"is damaged: its header promises {file.frames:,} samples, and {n_bytes:,} bytes cannot hold them",
        )


_SAMPLES_PER_BYTE = 65_535 // 12  # a FLAC block of silence is as long, and as short, as that


def _unreadable(path: str | Path, error: Exception) -> AudioError:
    if os.path.isdir(path):
        return AudioError(path, "is a folder, not a recording")
    if not os.path.exists(path):
        return AudioError(path, "no such file")
    if os.path.getsize(path) == 0:
        return AudioError(path, "is an empty file (0 bytes)")
    if Path(path).suffix.lower() in (".m4a", ".mp4", ".aac"):
        return AudioError(
            path,
            "is AAC, which libsndfile does not read; make a copy that it does, such as: ffmpeg -i "
            f"'{Path(path).name}' '{Path(path).stem}.flac'",
        )
    return AudioError(path, f"cannot be decoded as audio ({str(error).strip().rstrip('.')})")
