"""CLAP's audio tower, HTS-AT: stages of windowed attention over a spectrogram folded into a square.

A layer is what a stage hands on: layer 0 what enters the first, layer i what leaves the i-th, after it has merged two
by two tokens into one, as all but the last do. Widths and numbers of tokens differ from layer to layer. The square is
made of four stretches of time, one under the other, each with all its bands. What is shorter than 10 s is repeated and
padded by the model's own extractor; what is longer, of which it would draw pieces at random, is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from otoscope.encoders.fitting import Fitting
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens, patch_edges
from otoscope.errors import ModelError


class Tower(nn.Module):
    """The tower, told that no clip is longer than its window."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, mel: torch.Tensor) -> Any:
        """Run on spectrograms [clips, 1 or 4, frames, bands]."""
        return self.encoder(mel, is_longer=torch.zeros(len(mel), 1, dtype=torch.bool, device=mel.device))


def fit_clap(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read CLAP's audio tower."""
    encoder, audio = model.audio_model.audio_encoder, config.audio_config
    own = {key: value for key, value in settings.items() if not key.endswith(("_type", "_class"))}
    extractor = transformers.ClapFeatureExtractor(**own)
    if extractor.feature_size != audio.num_mel_bins:
        raise ModelError(
            f"the preprocessor makes {extractor.feature_size} bands, the model takes {audio.num_mel_bins}; the two "
            "files are not one model's"
        )
    rate, n_samples = extractor.sampling_rate, int(extractor.nb_max_samples)
    n_stages, n_pieces = len(audio.depths), audio.spec_size // audio.num_mel_bins
    n_frames, n_columns = n_samples // extractor.hop_length + 1, audio.spec_size * n_pieces
    stride = audio.patch_stride[0]

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        return extractor(waveform, sampling_rate=rate, return_tensors="pt").input_features[0].float()

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        merged = 2 ** min(n_stages if layer == "final" else int(layer), n_stages - 1)
        side, span = audio.spec_size // stride // merged, stride * merged
        rows, columns = np.divmod(np.arange(side * side), side)
        n_bands = side // n_pieces
        # The frames are stretched to the columns, first on first and last on last.
        column = rows // n_bands * audio.spec_size + span * columns + (span - 1) / 2
        frame_s = (n_frames - 1) / (n_columns - 1) * extractor.hop_length / rate
        return Tokens(column * frame_s, rows % n_bands, span * frame_s, edges_hz(n_bands, span))

    def edges_hz(n_bands: int, span: int) -> np.ndarray:
        return patch_edges(
            n_bands,
            patch=span,
            stride=span,
            n_mels=audio.num_mel_bins,
            low_hz=extractor.frequency_min,
            high_hz=extractor.frequency_max,
            scale="htk" if extractor.truncation == "fusion" else "slaney",
        )

    widths: dict[Layer, int] = {
        layer: audio.patch_embeds_hidden_size * 2 ** min(layer, n_stages - 1) for layer in range(n_stages + 1)
    }
    return Fitting(
        module=Tower(encoder),
        sample_rate=rate,
        taps=block_taps(encoder.layers),
        final=Tap(encoder.norm),
        widths={**widths, "final": widths[n_stages]},
        frontend=frontend,
        grid=grid,
        min_samples=int(2 * stride * n_frames / n_columns * extractor.hop_length),
        max_samples=n_samples,
    )
