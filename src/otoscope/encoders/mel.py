"""Mel spectrograms over centred, reflected frames, as torchaudio makes them, for one clip at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Mel = Callable[[torch.Tensor], torch.Tensor]
"""waveform [samples] -> power [frames, bands], float32; frame j is centred on sample j x hop."""

_DB_FLOOR = 1e-10


def power_mel(*, window: torch.Tensor, n_fft: int, hop: int, filters: torch.Tensor) -> Mel:
    """Return the function that sums the power spectrum of windowed frames into bands.

    Parameters
    ----------
    window : Tensor [window samples]
        Centred in the frame where it is shorter.
    n_fft, hop : int
        Length of a frame and from one frame to the next, in samples. Half a frame is reflected at both ends, so a clip
        must be longer than that.
    filters : Tensor [n_fft / 2 + 1, bands]
    """

    def mel(waveform: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            waveform, n_fft, hop, window=window, win_length=len(window), center=True, return_complex=True
        )
        return (spectrum.abs().square().T @ filters).contiguous()

    return mel


def mel_filters(
    *, n_fft: int, n_mels: int, sample_rate: int, scale: str = "htk", top_hz: float | None = None
) -> torch.Tensor:
    """Return triangular filters [n_fft / 2 + 1, n_mels] from 0 Hz to `top_hz`, by default half the rate.

    `scale` is "htk" (triangles over Hz) or "kaldi" (triangles over mel). All is float32, in torchaudio's order: models
    were trained on its rounding, which is worth 1e-5 of a filter.
    """
    top_hz = top_hz if top_hz is not None else sample_rate / 2
    if scale == "htk":
        edges = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + top_hz / 700), n_mels + 2) / 2595) - 1)
        at = torch.linspace(0, sample_rate // 2, n_fft // 2 + 1)[:, None]
        widths = edges.diff()
        rising, falling = -(edges[:-2] - at) / widths[:-1], (edges[2:] - at) / widths[1:]
        return torch.minimum(rising, falling).clamp(min=0)
    step = 1127 * math.log(1 + top_hz / 700) / (n_mels + 1)
    left, centre, right = (step * (torch.arange(n_mels) + i) for i in range(3))
    at = 1127 * (1 + sample_rate / n_fft * torch.arange(n_fft // 2) / 700).log()[:, None]
    filters = torch.minimum((at - left) / (centre - left), (right - at) / (right - centre)).clamp(min=0)
    return torch.nn.functional.pad(filters, (0, 0, 0, 1))  # the bin at half the rate belongs to none


def decibels(power: torch.Tensor) -> torch.Tensor:
    """Return 10 log10 of a power, no lower than -100 dB."""
    return 10 * power.clamp(min=_DB_FLOOR).log10()
