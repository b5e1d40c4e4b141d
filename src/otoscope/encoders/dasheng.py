"""Dasheng: a vision transformer over whole columns of a mel spectrogram, four frames a token (Dinkel et al. 2024).

Levels more than 120 dB under the loudest of the spectrogram are raised to that. The original takes the loudest of the
whole batch, so that a clip depends on its neighbours; here it is the clip's own. In a ``preprocessor_config.json``
``"top_db": null`` leaves quiet levels as they are, and ``"floor_db": -83.5`` raises all to that level: 120 dB under the
loudest of the clips that the original was given together, it gives the original's numbers. What is longer than the
learnt positions, 10.08 s, is refused here and windowed by `otoscope.extract`; the original cuts it up inside the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.encoders import vit
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.mel import decibels, mel_filters, power_mel
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens, even_tokens
from otoscope.errors import ModelError

RATE = 16_000
_N_FFT, _HOP = 512, 160
_RANGE_DB = 120.0
SIZES = {
    "dasheng-base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "dasheng-0.6B": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
    "dasheng-1.2B": {"embed_dim": 1536, "depth": 40, "num_heads": 24},
}
"""What the ``name`` in a ``config.json`` means."""


def dasheng_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return sizes of a configuration, which names them, or holds them under ``encoder_kwargs``."""
    size: dict[str, Any] = {"n_mels": 64, "target_length": 1008, "patch_size": (64, 4), "mlp_ratio": 4.0}
    size |= SIZES.get(config.get("name", "dasheng-base"), SIZES["dasheng-base"])
    size |= {key: value for part in (config, config.get("encoder_kwargs", {})) for key, value in part.items()}
    if size["patch_size"][0] != size["n_mels"] or size.get("pooling", "mean") == "token":
        raise ModelError("this Dasheng has patches of part of a column, or a class token: it is not served")
    return size


class Dasheng(nn.Module):
    """Dasheng's encoder; `config` is its ``config.json``, or what its checkpoint says."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = dasheng_settings(config)
        width, (n_mels, n_frames) = size["embed_dim"], size["patch_size"]
        self.init_bn = nn.ModuleDict({"1": nn.BatchNorm2d(n_mels)})
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(1, width, (n_mels, n_frames), (n_mels, n_frames))}
        )
        self.time_pos_embed = nn.Parameter(torch.zeros(1, width, 1, size["target_length"] // n_frames))
        self.freq_pos_embed = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.blocks = vit.blocks(
            size["depth"], width=width, n_heads=size["num_heads"], hidden=int(width * size["mlp_ratio"])
        )
        self.norm = vit.last_norm(width)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return what the last norm gives [clips, tokens, width] for spectrograms [clips, frames, mels]."""
        normed = self.init_bn["1"](mel.transpose(1, 2)[:, :, None])  # each band by itself
        patches = self.patch_embed["proj"](normed.transpose(1, 2))
        x = patches + self.time_pos_embed[..., : patches.shape[-1]] + self.freq_pos_embed
        return self.norm(self.blocks(x.flatten(2).transpose(1, 2)))


def adapt_dasheng(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published weights without the ``encoder.`` that the hub's files put before them."""
    return {key.removeprefix("encoder."): value for key, value in weights.items()}


def fit_dasheng(model: Dasheng, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read a Dasheng."""
    size = dasheng_settings(config)
    n_mels, n_frames = size["patch_size"]
    range_db, floor_db = _floor(settings)
    mel = power_mel(
        window=torch.hann_window(_N_FFT),
        n_fft=_N_FFT,
        hop=_HOP,
        filters=mel_filters(n_fft=_N_FFT, n_mels=n_mels, sample_rate=RATE),
    )

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        level_db = decibels(mel(torch.from_numpy(np.array(waveform, np.float32))))
        if floor_db is not None:
            return level_db.clamp(min=floor_db)
        return level_db if range_db is None else level_db.clamp(min=level_db.max() - range_db)

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        count = (n_samples // _HOP + 1) // n_frames  # frame j is centred on sample j hop
        return even_tokens(count, first_s=(n_frames - 1) / 2 * _HOP / RATE, hop_s=n_frames * _HOP / RATE)

    most_tokens = size["target_length"] // n_frames
    return Fitting(
        module=model,
        sample_rate=RATE,
        taps=block_taps(list(model.blocks)),
        final=Tap(model.norm),
        widths=even_widths(size["embed_dim"], size["depth"]),
        frontend=frontend,
        grid=grid,
        min_samples=max((n_frames - 1) * _HOP, _N_FFT // 2 + 1),
        max_samples=((most_tokens + 1) * n_frames - 1) * _HOP - 1,
    )


def _floor(settings: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return how far under the loudest levels are raised, and the level that they are raised to instead."""
    for name in ("top_db", "floor_db"):
        asked = settings.get(name)
        if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int | float)):
            raise ModelError(
                f"preprocessor_config.json: {name} must be a number of dB or null; got {asked!r}"
            )
    if settings.get("floor_db") is not None and settings.get("top_db") is not None:
        raise ModelError("preprocessor_config.json gives both top_db and floor_db; leave one of them out")
    return settings.get("top_db", _RANGE_DB), settings.get("floor_db")
