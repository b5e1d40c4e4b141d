"""MuQ and MusicFM: two residual convolutions over a mel spectrogram at 24 kHz, then a conformer at 25 Hz.

One body serves both (Won et al. 2024; Zhu et al. 2025); the conformer is transformers' own, without the convolution for
positions, whose weights lie in the checkpoints but which the models do not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.mel import decibels, mel_filters, power_mel
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens, even_tokens
from otoscope.errors import ModelError

RATE = 24_000
_N_FFT = 2048
_TIME_STRIDES = {25: (2, 2), 50: (2, 1)}

CONFORMER = {
    "hidden_act": "swish",
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "position_embeddings_type": "rotary",
    "rotary_embedding_base": 10_000,
    "conv_depthwise_kernel_size": 31,
    "layer_norm_eps": 1e-5,
}
"""What MusicFM takes from the configuration of another model, and MuQ's own configuration says."""


DEFAULTS = {
    "label_rate": 25,
    "hop_length": 240,
    "n_mels": 128,
    "conv_dim": 512,
    "encoder_dim": 1024,
    "encoder_depth": 12,
    "w2v2_config": CONFORMER,
}


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a third beside them; all halve the bands, and time by `stride`."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, stride=(2, stride))
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.conv3 = nn.Conv2d(n_in, n_out, 3, padding=1, stride=(2, stride))
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(n_out) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [clips, n_out, bands / 2, frames / stride]."""
        deep = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(self.bn3(self.conv3(x)) + deep)


class Stem(nn.Module):
    """The two residual convolutions and a projection."""

    def __init__(self, config: Mapping[str, Any], strides: tuple[int, int]) -> None:
        super().__init__()
        width = config["conv_dim"]
        self.conv = nn.Sequential(Residual(1, width, strides[0]), Residual(width, width, strides[1]))
        self.linear = nn.Linear(width * (config["n_mels"] // 4), config["encoder_dim"])

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return [clips, tokens, width] of spectrograms [clips, frames, mels]."""
        x = self.conv(mel.transpose(1, 2)[:, None])
        return self.linear(x.permute(0, 3, 1, 2).flatten(2))


class Muq(nn.Module):
    """The encoder of MuQ and MusicFM; `config` is MuQ's ``config.json``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import Wav2Vec2ConformerConfig
        from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer

        if config["label_rate"] not in _TIME_STRIDES:
            raise ModelError(f"a MuQ of {config['label_rate']} Hz is not known; 25 and 50 Hz are")
        self.conv = Stem(config, _TIME_STRIDES[config["label_rate"]])
        body = dict(config["w2v2_config"])
        body |= {"hidden_size": config["encoder_dim"], "num_hidden_layers": config["encoder_depth"]}
        self.conformer = modeling_wav2vec2_conformer.Wav2Vec2ConformerEncoder(Wav2Vec2ConformerConfig(**body))
        del self.conformer.pos_conv_embed

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return what the last norm gives [clips, tokens, width] for spectrograms [clips, frames, mels]."""
        return self.conformer(self.conv(mel)).last_hidden_state


def adapt_muq(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published weights without the ``model.`` that their training put before them."""
    return {key.removeprefix("model."): value for key, value in weights.items()}


def fit_muq(model: Muq, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read a MuQ or MusicFM."""
    hop, n_mels = config["hop_length"], config["n_mels"]
    mean, std = (config["stat"][f"melspec_{_N_FFT}_{what}"] for what in ("mean", "std"))
    mel = power_mel(
        window=torch.hann_window(_N_FFT),
        n_fft=_N_FFT,
        hop=hop,
        filters=mel_filters(n_fft=_N_FFT, n_mels=n_mels, sample_rate=RATE),
    )
    strides = _TIME_STRIDES[config["label_rate"]]

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.array(waveform, np.float32))
        return (decibels(mel(samples))[:-1] - mean) / std  # the last frame is half reflection

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        count, step = n_samples // hop, hop
        for stride in strides:  # a 3-wide kernel is centred on every stride-th frame, the first included
            count, step = -(-count // stride), step * stride
        return even_tokens(count, first_s=0.0, hop_s=step / RATE)

    return Fitting(
        module=model,
        sample_rate=RATE,
        taps=block_taps(list(model.conformer.layers)),
        final=Tap(model.conformer.layer_norm),
        widths=even_widths(config["encoder_dim"], config["encoder_depth"]),
        frontend=frontend,
        grid=grid,
        min_samples=_N_FFT // 2 + 1,
    )
