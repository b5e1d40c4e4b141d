"""The Audio Spectrogram Transformer: patches of a mel spectrogram of fixed length.

Its tokens are a class token, a distillation token, then patches, frequency-major: with F frequency and T time
patches, the patch (f, t) is token 2 + T f + t. What is shorter than the spectrogram is padded by the model's own
extractor; what is longer is refused here (the extractor would cut it), and windowed by `otoscope.extract`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from otoscope.encoders.fbank import FRAME_SAMPLES, HOP_SAMPLES, fbank_edges, kaldi_fbank
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens
from otoscope.errors import ModelError


def fit_ast(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read an AST: mel spectrogram in, patches as tokens, a last norm after the blocks."""
    rate = settings["sampling_rate"]
    for key, ours in (("num_mel_bins", config.num_mel_bins), ("max_length", config.max_length)):
        if settings.get(key, ours) != ours:
            raise ModelError(
                f"config.json says {key} = {ours}, the preprocessor {settings[key]}; mend one of them"
            )
    n_frames, patch, time_stride = config.max_length, config.patch_size, config.time_stride
    n_bands = (config.num_mel_bins - patch) // config.frequency_stride + 1
    n_moments = (n_frames - patch) // time_stride + 1
    fbank = kaldi_fbank(n_mels=config.num_mel_bins, sample_rate=rate, window="hann")
    mean, std = settings.get("mean", -4.2677393), settings.get("std", 4.5689974)
    normalise = settings.get("do_normalize", True)

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        features = fbank(waveform)[:n_frames]
        features = np.pad(features, ((0, n_frames - len(features)), (0, 0)))
        return torch.from_numpy((features - mean) / (std * 2) if normalise else features).float()

    # A patch spans `patch` frames: its centre is the middle of the first frame's start and the last one's end.
    first = ((patch - 1) * HOP_SAMPLES + FRAME_SAMPLES) / 2
    hop_s = time_stride * HOP_SAMPLES / rate
    moments = first / rate + hop_s * np.arange(n_moments)
    tokens = Tokens(
        time_s=np.concatenate([[np.nan, np.nan], np.tile(moments, n_bands)]),
        band=np.concatenate([[-1, -1], np.repeat(np.arange(n_bands), n_moments)]),
        hop_s=hop_s,
        bands_hz=fbank_edges(
            n_bands,
            patch=patch,
            stride=config.frequency_stride,
            n_mels=config.num_mel_bins,
            sample_rate=rate,
        ),
    )

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        return tokens

    return Fitting(
        module=model,
        sample_rate=rate,
        taps=block_taps(model.layers),
        final=Tap(model.layernorm),
        widths=even_widths(config.hidden_size, len(model.layers)),
        frontend=frontend,
        grid=grid,
        min_samples=math.floor(first) + 1,  # shorter, and no patch has its centre inside the clip
        # All samples that a spectrogram of n_frames frames can follow: 10.24 s and what the last frame reaches over.
        max_samples=n_frames * HOP_SAMPLES,
    )
