"""Mel spectrograms over centred, reflected frames, as torchaudio makes them, for one clip at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
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

    `scale` is "htk" (triangles over Hz) or "kaldi" (triangles over mel).
    """
    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the lowest filters may be narrower than a bin
        filters = mel_filter_bank(
            num_frequency_bins=n_fft // 2 + 1,
            num_mel_filters=n_mels,
            min_frequency=0.0,
            max_frequency=top_hz if top_hz is not None else sample_rate / 2,
            sampling_rate=sample_rate,
            norm=None,
            mel_scale=scale,
            triangularize_in_mel_space=scale == "kaldi",
        )
    return torch.from_numpy(np.ascontiguousarray(filters, np.float32))


def decibels(power: torch.Tensor) -> torch.Tensor:
    """Return 10 log10 of a power, no lower than -100 dB."""
    return 10 * power.clamp(min=_DB_FLOOR).log10()
