"""Wav2Vec2-BERT: a mel filter bank, normalised over the clip, two frames stacked into one token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from otoscope.encoders.fbank import FRAME_SAMPLES, HOP_SAMPLES, kaldi_fbank, n_fbank_frames
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import block_taps
from otoscope.encoders.tokens import Layer, Tokens, even_tokens
from otoscope.errors import ModelError


def fit_wav2vec2_bert(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read Wav2Vec2-BERT. An odd last frame, which the model's own extractor pads and masks, is left out."""
    rate, stride = settings["sampling_rate"], settings.get("stride", 2)
    n_mels = settings.get("num_mel_bins", settings.get("feature_size", 80))
    if n_mels * stride != config.feature_projection_input_dim:
        raise ModelError(
            f"the preprocessor makes {n_mels} x {stride} features, the model takes "
            f"{config.feature_projection_input_dim}; the two files are not one model's"
        )
    fbank = kaldi_fbank(n_mels=n_mels, sample_rate=rate, window="povey")

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        features = fbank(waveform * np.float32(2**15))  # Kaldi counts in 16 bit integers
        features = np.asfortranarray(
            features
        )  # numpy sums along contiguous memory in pairs, which rounds less
        features = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0, ddof=1) + 1e-7)
        whole = len(features) // stride * stride
        return torch.from_numpy(np.ascontiguousarray(features[:whole]).reshape(-1, n_mels * stride))

    first_s = (FRAME_SAMPLES + (stride - 1) * HOP_SAMPLES) / 2 / rate

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        count = n_fbank_frames(n_samples) // stride
        return even_tokens(count, first_s=first_s, hop_s=stride * HOP_SAMPLES / rate)

    taps = block_taps(model.encoder.layers)
    return Fitting(
        module=model,
        sample_rate=rate,
        taps=taps,
        final=taps[-1],
        widths=even_widths(config.hidden_size, len(model.encoder.layers)),
        frontend=frontend,
        grid=grid,
        min_samples=FRAME_SAMPLES + (stride - 1) * HOP_SAMPLES,
    )
