"""Vision transformers of timm over a filter bank, AudioMAE first of all (Huang et al. 2022).

Its tokens are time-major: after the class token, with 8 frequency patches, the patch (t, f) is token 1 + 8 t + f. The
spectrogram, which timm's ``config.json`` does not tell of, is AudioMAE's: Kaldi's filter bank, padded to the length of
the positions and normalised by AudioSet's mean and spread; a ``preprocessor_config.json`` may give others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.encoders import vit
from otoscope.encoders.fbank import FRAME_SAMPLES, HOP_SAMPLES, fbank_edges, kaldi_fbank
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens
from otoscope.errors import ModelError

RATE = 16_000
_MEAN, _STD = -4.2677393, 4.5689974
_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, blocks and heads of timm's names."""
_KNOWN = {
    "img_size", "in_chans", "embed_dim", "depth", "num_heads", "mlp_ratio", "class_token", "num_classes", "global_pool",
    "patch_size",
}  # fmt: skip


def vit_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes that timm's ``config.json`` means.

    Raises
    ------
    ModelError
        If it is no plain vision transformer over one channel.
    """
    named = re.fullmatch(r"vit_(\w+?)_patch(\d+)_\w+", config["architecture"])
    asked = config.get("model_args", {})
    unknown = sorted(set(asked) - _KNOWN)
    if named is None or named[1] not in _SIZES or unknown:
        raise ModelError(
            f"timm's {config['architecture']}{f' with {unknown[0]}' if unknown else ''} is not served: a plain vision "
            f"transformer ({', '.join(_SIZES)}) is"
        )
    size: dict[str, Any] = dict(zip(("embed_dim", "depth", "num_heads"), _SIZES[named[1]]))
    size |= {
        "patch_size": int(named[2]),
        "mlp_ratio": 4.0,
        "class_token": True,
        "global_pool": "token",
        "in_chans": 3,
    }
    size |= {"global_pool": config["global_pool"]} if "global_pool" in config else {}
    size |= asked
    if size["in_chans"] != 1 or "img_size" not in size:
        raise ModelError(
            "this vision transformer is one for pictures; one for sound has one channel and says its img_size, "
            "frames by bands"
        )
    return size


class TimmVit(nn.Module):
    """timm's vision transformer, up to its last norm; `config` is timm's ``config.json``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = vit_settings(config)
        width, patch = size["embed_dim"], size["patch_size"]
        n_patches = math.prod(side // patch for side in size["img_size"])
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if size["class_token"] else None
        self.pos_embed = nn.Parameter(torch.zeros(1, n_patches + size["class_token"], width))
        self.blocks = vit.blocks(
            size["depth"], width=width, n_heads=size["num_heads"], hidden=int(width * size["mlp_ratio"])
        )
        # Where timm pools by the mean, its last norm follows the pooling, and is no layer.
        self.norm = nn.Identity() if size["global_pool"] == "avg" else vit.last_norm(width)

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        """Return what the last norm gives [clips, tokens, width] for filter banks [clips, frames, mels]."""
        x = self.patch_embed["proj"](fbank[:, None]).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        return self.norm(self.blocks(x + self.pos_embed))


def fit_timm_vit(model: TimmVit, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read a vision transformer of timm over a filter bank."""
    size = vit_settings(config)
    (n_frames, n_mels), patch = size["img_size"], size["patch_size"]
    n_moments, n_bands = n_frames // patch, n_mels // patch
    fbank = kaldi_fbank(n_mels=n_mels, sample_rate=RATE, window="hann")
    mean, std = settings.get("mean", _MEAN), settings.get("std", _STD)

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        features = fbank(waveform)[:n_frames]
        features = np.pad(features, ((0, n_frames - len(features)), (0, 0)))
        return torch.from_numpy((features - mean) / (2 * std)).float()

    first = ((patch - 1) * HOP_SAMPLES + FRAME_SAMPLES) / 2
    moments = (first + patch * HOP_SAMPLES * np.arange(n_moments)) / RATE
    n_class = int(size["class_token"])
    tokens = Tokens(
        time_s=np.concatenate([[np.nan] * n_class, np.repeat(moments, n_bands)]),
        band=np.concatenate([[-1] * n_class, np.tile(np.arange(n_bands), n_moments)]),
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
        final=taps[-1] if isinstance(model.norm, nn.Identity) else Tap(model.norm),
        widths=even_widths(size["embed_dim"], size["depth"]),
        frontend=frontend,
        grid=grid,
        min_samples=math.floor(first) + 1,  # shorter, and no patch has its centre inside the clip
        max_samples=n_frames * HOP_SAMPLES,
    )
