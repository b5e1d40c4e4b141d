"""Whisper's encoder: it takes exactly 30 s of log-mel spectrogram, so shorter clips are padded with silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers

from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens, even_tokens
from otoscope.errors import ModelError


def fit_whisper(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read Whisper's encoder: layer L is the last block's output, "final" what its last norm makes of it."""
    encoder = model.encoder
    known = {
        "feature_size",
        "sampling_rate",
        "hop_length",
        "chunk_length",
        "n_fft",
        "padding_value",
        "dither",
    }
    extractor = transformers.WhisperFeatureExtractor(**{k: v for k, v in settings.items() if k in known})
    stride = encoder.conv1.stride[0] * encoder.conv2.stride[0]
    n_tokens = config.max_source_positions
    if extractor.nb_max_frames != n_tokens * stride or extractor.feature_size != config.num_mel_bins:
        raise ModelError(
            f"the preprocessor makes {extractor.nb_max_frames} frames of {extractor.feature_size} bands, the model "
            f"takes {n_tokens * stride} of {config.num_mel_bins}; the two files are not one model's"
        )
    rate = extractor.sampling_rate

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        return extractor(waveform, sampling_rate=rate, return_tensors="pt").input_features[0]

    # Mel frame j is centred on sample j * hop, and the second convolution centres token i on frame 2 i.
    tokens = even_tokens(n_tokens, first_s=0.0, hop_s=stride * extractor.hop_length / rate)

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        return tokens

    return Fitting(
        module=encoder,
        sample_rate=rate,
        taps=block_taps(encoder.layers),
        final=Tap(encoder.layer_norm),
        widths=even_widths(config.d_model, len(encoder.layers)),
        frontend=frontend,
        grid=grid,
        min_samples=1,
        max_samples=extractor.n_samples,
    )
