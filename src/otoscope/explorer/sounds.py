"""A clip as the page has it: a small MP3, and a mel spectrogram of 16 levels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np

from otoscope.audio import read_audio

N_BANDS = 64
HOP_S = 0.0125
WINDOW_S = 0.032
RANGE_DB = 70.0
"""What lies further below the clip's loudest cell is drawn as silence."""

_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000)
"""Rates that MP3 has, up to the one that is enough here; others, and higher ones, are resampled."""


@dataclass(frozen=True)
class Sound:
    """What is shown and played of a clip.

    Attributes
    ----------
    mp3 : bytes
        Mono, variable bit rate; empty where no audio was wanted.
    mel : str
        A hexadecimal digit a cell, ``N_BANDS`` rows of equal length, the lowest band first.
    duration_s : float
    top_hz : float
        Where the highest band ends.
    """

    mp3: bytes
    mel: str
    duration_s: float
    top_hz: float


def listen(
    path: str, start_s: float, stop_s: float | None, *, channel: int | None = None, audio: bool = True
) -> Sound:
    """Decode a clip, up to its file's end where `stop_s` is None.

    Raises
    ------
    AudioError
        If it cannot be read.
    """
    wave, rate = read_audio(path, start_s=start_s, stop_s=stop_s, channel=channel)
    if rate not in _MP3_RATES:
        import soxr

        wanted = min((known for known in _MP3_RATES if known >= rate), default=_MP3_RATES[-1])
        wave, rate = soxr.resample(wave, rate, wanted, quality="HQ"), wanted
    return Sound(as_mp3(wave, rate) if audio else b"", mel_digits(wave, rate), len(wave) / rate, rate / 2)


def as_mp3(wave: np.ndarray, rate: int) -> bytes:
    """Return a waveform [samples] as an MP3 file of 4 to 5.5 kB per second.

    Its bit rate varies: only then does the file say by how much an encoder delays, so that decoders take it off.
    """
    import soundfile

    file = io.BytesIO()
    soundfile.write(
        file,
        np.clip(wave, -1.0, 1.0),
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.5,
    )
    return file.getvalue()


def mel_digits(wave: np.ndarray, rate: int) -> str:
    """Return the mel spectrogram of a waveform [samples], a hexadecimal digit a cell, the lowest band first.

    Column i is of the window centred at (i + 0.5) * ``HOP_S`` seconds.
    """
    window, hop = round(WINDOW_S * rate), HOP_S * rate
    n_columns = max(1, round(len(wave) / hop))
    padded = np.pad(wave, (window, 2 * window))
    starts = np.round((np.arange(n_columns) + 0.5) * hop).astype(int) + window - window // 2
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1).astype(np.complex64)) ** 2 @ _filters(window, rate)
    level_db = 10 * np.log10(power + 1e-10)
    share = 1 + (level_db - np.quantile(level_db, 0.999)) / RANGE_DB
    digits = np.clip(np.round(15 * share), 0, 15).astype(np.uint8).T
    return np.frombuffer(b"0123456789abcdef", np.uint8)[digits].tobytes().decode()


@cache
def _filters(window: int, rate: int) -> np.ndarray:
    """Return triangles [window // 2 + 1, N_BANDS] that are equally wide in mel, each of them at least one bin wide."""
    bins_hz = np.fft.rfftfreq(window, 1 / rate)
    mel = np.linspace(_mel(40.0), _mel(rate / 2), N_BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bin_hz = bins_hz[1]
    rising = (bins_hz[:, None] - np.minimum(low, middle - bin_hz)) / np.maximum(middle - low, bin_hz)
    falling = (np.maximum(high, middle + bin_hz) - bins_hz[:, None]) / np.maximum(high - middle, bin_hz)
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return (triangles / triangles.sum(axis=0)).astype(np.float32)


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))
