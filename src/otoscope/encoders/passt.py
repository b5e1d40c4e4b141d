"""PaSST: a vision transformer over overlapping patches of a mel spectrogram at 32 kHz (Koutini et al. 2022).

Its tokens are a class token, a distillation token, then patches, frequency-major: with F frequency and T time patches,
the patch (f, t) is token 2 + T f + t. A short clip has fewer time patches, not padded ones. Time has as many learnt
positions as the model was trained on (99 for 10 s), so what is longer is refused here and windowed by
`otoscope.extract`. The edges of the mel bands, which training draws at random, are the fixed ones of evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.encoders import vit
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.mel import mel_filters, power_mel
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens, patch_edges
from otoscope.errors import ModelError

RATE = 32_000
_N_FFT, _WINDOW_SAMPLES = 1024, 800
_TOP_HZ = 15_000.0
_PREEMPHASIS = 0.97
_HEAD_WIDTH = 64


class Passt(nn.Module):
    """PaSST's encoder; `config` is what `passt_config` makes of a checkpoint."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, patch = config["embed_dim"], config["patch_size"]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, patch, config["stride"])})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, config["n_bands"], 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, config["n_moments"]))
        self.blocks = vit.blocks(
            config["depth"], width=width, n_heads=config["num_heads"], hidden=config["mlp_dim"]
        )
        self.norm = vit.last_norm(width)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return what the last norm gives [clips, tokens, width] for spectrograms [clips, frames, mels]."""
        patches = self.patch_embed["proj"](mel.transpose(1, 2)[:, None])
        patches = patches + self.time_new_pos_embed[..., : patches.shape[-1]] + self.freq_new_pos_embed
        special = torch.cat([self.cls_token, self.dist_token], 1) + self.new_pos_embed
        x = torch.cat([special.expand(len(mel), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        return self.norm(self.blocks(x))


def fit_passt(model: Passt, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read a PaSST."""
    hop, patch, stride = config["hop_samples"], config["patch_size"], config["stride"]
    n_mels = config["num_mel_bins"]
    filters = mel_filters(n_fft=_N_FFT, n_mels=n_mels, sample_rate=RATE, scale="kaldi", top_hz=_TOP_HZ)
    mel = power_mel(
        window=torch.hann_window(_WINDOW_SAMPLES, periodic=False), n_fft=_N_FFT, hop=hop, filters=filters
    )

    bands_hz = patch_edges(
        config["n_bands"],
        patch=patch,
        stride=stride,
        n_mels=n_mels,
        low_hz=0.0,
        high_hz=_TOP_HZ,
        scale="kaldi",
    )

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.array(waveform, np.float32))
        sharp = samples[1:] - _PREEMPHASIS * samples[:-1]
        return ((mel(sharp) + 1e-5).log() + 4.5) / 5

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        n_frames = (n_samples - 1) // hop + 1
        n_moments, n_bands = (n_frames - patch) // stride + 1, config["n_bands"]
        # The patch spans `patch` frames, frame j centred on sample j hop, and the pre-emphasis looks half a sample on.
        moments = ((patch - 1) / 2 + stride * np.arange(n_moments)) * hop / RATE + 0.5 / RATE
        return Tokens(
            time_s=np.concatenate([[np.nan, np.nan], np.tile(moments, n_bands)]),
            band=np.concatenate([[-1, -1], np.repeat(np.arange(n_bands), n_moments)]),
            hop_s=stride * hop / RATE,
            bands_hz=bands_hz,
        )

    most_frames = (config["n_moments"] - 1) * stride + patch + stride - 1
    return Fitting(
        module=model,
        sample_rate=RATE,
        taps=block_taps(list(model.blocks)),
        final=Tap(model.norm),
        widths=even_widths(config["embed_dim"], config["depth"]),
        frontend=frontend,
        grid=grid,
        min_samples=max((patch - 1) * hop + 2, _N_FFT // 2 + 2),
        max_samples=most_frames * hop,
    )


def passt_config(weights: Mapping[str, torch.Tensor], *, hop_samples: int = 320) -> dict[str, Any]:
    """Return the configuration that a published state dict means; none is published with it.

    The stride over frequency follows from how many bands there are, that over time is taken to be the same.
    `hop_samples` is the spectrogram's, which leaves no trace in the weights: 320, but 100 or 160 in the ``stfthop``
    variants.

    Raises
    ------
    ModelError
        If the weights are not those of a PaSST with class and distillation tokens.
    """
    try:
        width, _, patch, _ = weights["patch_embed.proj.weight"].shape
        n_bands, n_moments = weights["freq_new_pos_embed"].shape[2], weights["time_new_pos_embed"].shape[3]
        hidden = weights["blocks.0.mlp.fc1.weight"].shape[0]
        n_mels, depth = 128, 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
    except (KeyError, ValueError) as error:
        raise ModelError(f"these weights are not PaSST's: {error} is missing") from error
    strides = [s for s in range(1, patch + 1) if (n_mels - patch) // s + 1 == n_bands == n_mels // s]
    if not strides or width % _HEAD_WIDTH:
        raise ModelError(
            f"a PaSST of {n_bands} frequency bands and width {width} is not among the published kinds"
        )
    return {
        "model_type": "passt",
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // _HEAD_WIDTH,
        "mlp_dim": hidden,
        "num_mel_bins": n_mels,
        "patch_size": patch,
        "stride": strides[0],
        "n_bands": n_bands,
        "n_moments": n_moments,
        "hop_samples": hop_samples,
        "sampling_rate": RATE,
    }
