"""Whisper's encoder: it takes exactly 30 s of log-mel spectrogram, so shorter clips are padded with silence.

Every token attends to the padding too, so nothing of it can be left out without changing numbers. A short window, when
asked for, does change them: the model is given `window_s` seconds and the first positions only, as several published
works do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens, even_tokens
from otoscope.errors import ModelError


def fit_whisper(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read Whisper's encoder: layer L is the last block's output, "final" what its last norm makes of it.

    `settings` may hold a ``window_s``, to which the input and the positions are cut.
    """
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
    if "window_s" in settings:
        n_tokens = _cut(encoder, settings["window_s"] * rate / (stride * extractor.hop_length))
    n_samples = n_tokens * stride * extractor.hop_length

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        return extractor(
            waveform, sampling_rate=rate, max_length=n_samples, return_tensors="pt"
        ).input_features[0]

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
        max_samples=n_samples,
    )


def _cut(encoder: Any, wanted: float) -> int:
    """Leave an encoder its first positions only, and return how many."""
    n_tokens, most = round(wanted), encoder.embed_positions.num_embeddings
    if not 1 <= n_tokens <= most or abs(wanted - n_tokens) > 1e-6 * most:
        raise ModelError(
            f"window_s comes to {wanted:g} tokens; it must be a whole number of them (0.02 s each), from 1 to {most}"
        )
    encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:n_tokens].clone())
    encoder.config.max_source_positions = encoder.max_source_positions = n_tokens
    return n_tokens
