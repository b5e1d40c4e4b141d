"""Kaldi's log-mel filter bank as transformers' extractors compute it, all frames at once instead of one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from otoscope.encoders.tokens import patch_edges

LOW_HZ = 20.0
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
_FFT_SAMPLES = 512
_PREEMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07  # float32's epsilon


def kaldi_fbank(*, n_mels: int, sample_rate: int, window: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function waveform [samples] -> log-mel energies [frames, n_mels], float32.

    Frames of 400 samples every 160, none of them padded; `window` is "hann" or "povey".
    """
    from transformers.audio_utils import mel_filter_bank, window_function

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AST asks for more filters than its low frequencies have bins
        filters = mel_filter_bank(
            num_frequency_bins=_FFT_SAMPLES // 2 + 1,
            num_mel_filters=n_mels,
            min_frequency=LOW_HZ,
            max_frequency=sample_rate // 2,
            sampling_rate=sample_rate,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    shape = window_function(FRAME_SAMPLES, window, periodic=False).astype(np.float64)

    def fbank(waveform: np.ndarray) -> np.ndarray:
        frames = sliding_window_view(waveform.astype(np.float64), FRAME_SAMPLES)[::HOP_SAMPLES]
        frames = frames - frames.mean(axis=1, keepdims=True)
        sharp = np.empty_like(frames)
        sharp[:, 1:] = frames[:, 1:] - _PREEMPHASIS * frames[:, :-1]
        sharp[:, 0] = frames[:, 0] * (1 - _PREEMPHASIS)
        spectrum = np.fft.rfft(sharp * shape, n=_FFT_SAMPLES).astype(np.complex64)
        power = np.abs(spectrum, dtype=np.float64) ** 2
        return np.log(np.maximum(power @ filters, _FLOOR)).astype(np.float32)

    return fbank


def fbank_edges(n_bands: int, *, patch: int, stride: int, n_mels: int, sample_rate: int) -> np.ndarray:
    """Return from where to where, in Hz, patches of `kaldi_fbank` look [bands, 2]; see `patch_edges`."""
    return patch_edges(
        n_bands,
        patch=patch,
        stride=stride,
        n_mels=n_mels,
        low_hz=LOW_HZ,
        high_hz=sample_rate // 2,
        scale="kaldi",
    )


def n_fbank_frames(n_samples: int) -> int:
    """Return how many frames `n_samples` samples give."""
    return max((n_samples - FRAME_SAMPLES) // HOP_SAMPLES + 1, 0)
