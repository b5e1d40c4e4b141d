"""EAT: a vision transformer over a filter bank whose norms follow attention and layers (Chen et al. 2024).

Its tokens are time-major, as AudioMAE's: after the class token the patch (t, f) is token 1 + 8 t + f. Clips are
padded to the 10.24 s that its authors recommend, and what is padding is told by its time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.encoders import vit
from otoscope.encoders.fbank import FRAME_SAMPLES, HOP_SAMPLES, fbank_edges, kaldi_fbank
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import block_taps
from otoscope.encoders.tokens import Layer, Tokens
from otoscope.errors import ModelError

RATE = 16_000
_MEAN, _STD = -4.268, 4.569

DEFAULTS = {
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "patch_size": 16,
    "stride": 16,
    "mel_bins": 128,
    "max_length": 768,
    "mlp_ratio": 4.0,
    "layer_norm_first": False,
    "fixed_positions": True,
    "norm_eps": 1e-6,
    "img_size": (1024, 128),
}


class Block(vit.Block):
    """The blocks of a vision transformer, but that each norm comes after the sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the state [clips, tokens, width] after the block."""
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


class Eat(nn.Module):
    """EAT's encoder; `config` is its ``config.json``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        usual = ("layer_norm_first", "fixed_positions", "norm_eps", "patch_size")
        odd = [key for key in usual if config[key] != DEFAULTS[key]]
        if odd or config["stride"] != config["patch_size"]:
            raise ModelError(
                f"this EAT is unlike those published ({', '.join(odd) or 'stride'}): it is not served"
            )
        width, patch = config["embed_dim"], config["patch_size"]
        n_patches = config["max_length"] * (config["mel_bins"] // patch)
        self.local_encoder = nn.ModuleDict({"proj": nn.Conv2d(1, width, patch, patch)})
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.fixed_positional_encoder = nn.Module()
        self.fixed_positional_encoder.register_parameter(
            "positions", nn.Parameter(torch.zeros(1, n_patches, width))
        )
        self.pre_norm = vit.last_norm(width)
        self.blocks = nn.Sequential(
            *(
                Block(width, config["num_heads"], int(width * config["mlp_ratio"]))
                for _ in range(config["depth"])
            )
        )

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        """Return the last state [clips, tokens, width] of filter banks [clips, frames, mels]."""
        x = self.local_encoder["proj"](fbank[:, None]).flatten(2).transpose(1, 2)
        positions: Any = self.fixed_positional_encoder.positions
        x = x + positions[:, : x.shape[1]]
        x = torch.cat([self.extra_tokens.expand(len(x), -1, -1), x], 1)
        return self.blocks(self.pre_norm(x))


def adapt_eat(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published weights without the ``model.`` before them."""
    return {key.removeprefix("model."): value for key, value in weights.items()}


def fit_eat(model: Eat, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read an EAT."""
    (n_frames, n_mels), patch = config["img_size"], config["patch_size"]
    n_moments, n_bands = n_frames // patch, n_mels // patch
    fbank = kaldi_fbank(n_mels=n_mels, sample_rate=RATE, window="hann")

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        features = fbank(waveform)[:n_frames]
        features = np.pad(features, ((0, n_frames - len(features)), (0, 0)))
        return torch.from_numpy((features - _MEAN) / (2 * _STD)).float()

    first = ((patch - 1) * HOP_SAMPLES + FRAME_SAMPLES) / 2
    moments = (first + patch * HOP_SAMPLES * np.arange(n_moments)) / RATE
    tokens = Tokens(
        time_s=np.concatenate([[np.nan], np.repeat(moments, n_bands)]),
        band=np.concatenate([[-1], np.tile(np.arange(n_bands), n_moments)]),
        hop_s=patch * HOP_SAMPLES / RATE,
        bands_hz=fbank_edges(n_bands, patch=patch, stride=patch, n_mels=n_mels, sample_rate=RATE),
    )

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        return tokens

    taps = block_taps(list(model.blocks))
    return Fitting(
        module=model,
        sample_rate=RATE,
        taps=taps,
        final=taps[-1],
        widths=even_widths(config["embed_dim"], config["depth"]),
        frontend=frontend,
        grid=grid,
        min_samples=math.floor(first) + 1,
        max_samples=n_frames * HOP_SAMPLES,
    )
