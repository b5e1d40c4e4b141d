"""MERT v2: convolutions over a mel spectrogram at 24 kHz, then a conformer at 25 Hz.

There is no paper: this follows the published configuration and weights. The filter bank, its window, and each band's
mean and spread come from the checkpoint. The convolutions' response norm looks at the whole clip, so a clip must
neither be padded nor share a batch with one of another length. The model's own list of hidden states begins with the
first block's output; here layer 0 is what enters it, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.mel import decibels, power_mel
from otoscope.encoders.taps import block_taps
from otoscope.encoders.tokens import Layer, Tokens, even_tokens

RATE = 24_000
_STRIDES = (1, 2, 2)
_NEAR = 7  # width of the convolutions over time
_LEAST_STD = 1e-5


DEFAULTS = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_mel_bins": 128,
    "n_fft": 2048,
    "win_length": 2048,
    "hop_length": 240,
    "subsampling_channels": (128, 512, 1024),
    "subsampling_depths": (3, 4, 5),
    "conv_depthwise_kernel_size": 31,
    "rotary_embedding_base": 10_000,
    "layer_norm_eps": 1e-5,
    "subsampling_layer_norm_eps": 1e-6,
}


class ResponseNorm(nn.Module):
    """Scale each channel by how strong it is over the whole clip, compared with the others (ConvNeXt V2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [clips, frames, width]."""
        strength = x.norm(dim=1, keepdim=True)
        relative = strength / (strength.mean(-1, keepdim=True) + 1e-6)
        return self.weight * (x * relative) + self.bias + x


class Near(nn.Module):
    """A ConvNeXt block: each channel over a few frames, then each frame over its channels."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        over_time = nn.Conv1d(width, width, _NEAR, padding=_NEAR // 2, groups=width)
        self.depthwise_block = nn.ModuleDict({"1": over_time})
        self.pointwise_block = nn.Sequential(
            nn.LayerNorm(width, eps=eps),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            ResponseNorm(4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [clips, frames, width]."""
        return x + self.pointwise_block(_over_time(self.depthwise_block["1"], x))


class Stage(nn.Module):
    """Fewer and wider frames, then ConvNeXt blocks."""

    def __init__(self, n_in: int, n_out: int, *, stride: int, depth: int, eps: float) -> None:
        super().__init__()
        self.resampling_layer = None
        if n_in != n_out or stride > 1:
            fewer = nn.Conv1d(n_in, n_out, 2, stride=stride)
            self.resampling_layer = nn.ModuleDict({"0": nn.LayerNorm(n_in, eps=eps), "2": fewer})
        self.convnext_layers = nn.Sequential(*(Near(n_out, eps) for _ in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [clips, frames / stride, n_out]."""
        if self.resampling_layer is not None:
            x = _over_time(self.resampling_layer["2"], self.resampling_layer["0"](x))
        return self.convnext_layers(x)


class Attention(nn.Module):
    """Self-attention whose queries and keys are turned by their position (rotary, halves paired)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, self.n_heads = config["hidden_size"], config["num_attention_heads"]
        self.query_proj, self.key_proj, self.value_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """Mix the tokens of [clips, tokens, width]; `turn` [2, tokens, head width]: cosines and sines."""
        n_clips, n_tokens, width = x.shape
        query, key, value = (
            project(x).view(n_clips, n_tokens, self.n_heads, -1).transpose(1, 2)
            for project in (self.query_proj, self.key_proj, self.value_proj)
        )
        query, key = (_turned(one, turn).to(value.dtype) for one in (query, key))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).reshape(n_clips, n_tokens, width))


class FeedForward(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, hidden = config["hidden_size"], config["intermediate_size"]
        self.w_1, self.w_2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [clips, tokens, width]."""
        return self.w_2(functional.gelu(self.w_1(x)))


class Convolution(nn.Module):
    """The conformer's convolution: gated, each channel over some 31 tokens, normed, mixed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, reach = config["hidden_size"], config["conv_depthwise_kernel_size"]
        self.layer_norm = nn.LayerNorm(width, eps=config["layer_norm_eps"])
        over_time = nn.Conv1d(width, width, reach, padding=reach // 2, groups=width, bias=False)
        self.conv_block = nn.ModuleDict(
            {
                "1": nn.Conv1d(width, 2 * width, 1, bias=False),
                "3": over_time,
                "4": nn.ModuleDict({"1": nn.LayerNorm(width, eps=config["layer_norm_eps"])}),
                "6": nn.Conv1d(width, width, 1, bias=False),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [clips, tokens, width]."""
        steps: Any = self.conv_block
        gated = functional.glu(_over_time(steps["1"], self.layer_norm(x)), dim=-1)
        normed = steps["4"]["1"](_over_time(steps["3"], gated))
        return _over_time(steps["6"], functional.gelu(normed))


class Block(nn.Module):
    """A conformer block: half a feed-forward, attention, convolution, the other half, and a norm."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.ffn1, self.ffn2 = FeedForward(config), FeedForward(config)
        self.attn, self.conv_module = Attention(config), Convolution(config)
        self.ffn1_layer_norm, self.attn_layer_norm, self.ffn2_layer_norm, self.final_layer_norm = (
            nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"]) for _ in range(4)
        )

    def forward(self, x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """Return the state [clips, tokens, width] after the block."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.attn(self.attn_layer_norm(x), turn)
        x = x + self.conv_module(x)
        return self.final_layer_norm(x + 0.5 * self.ffn2(self.ffn2_layer_norm(x)))


class MertV2(nn.Module):
    """MERT v2; `config` is its ``config.json``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        n_mels, eps = config["num_mel_bins"], config["subsampling_layer_norm_eps"]
        self.feature_extractor = nn.Module()
        for name, shape in (
            ("mel_mean", (n_mels,)),
            ("mel_std", (n_mels,)),
            ("spectrogram.window", (config["win_length"],)),
            ("mel_scale.fb", (config["n_fft"] // 2 + 1, n_mels)),
        ):
            part, _, own = name.rpartition(".")
            if part:
                self.feature_extractor.add_module(part, nn.Module())
            self.feature_extractor.get_submodule(part).register_buffer(own, torch.zeros(shape))
        widths = [n_mels, *config["subsampling_channels"]]
        self.subsampling_module = nn.Sequential(
            *(
                Stage(n_in, n_out, stride=stride, depth=depth, eps=eps)
                for (n_in, n_out), stride, depth in zip(
                    pairwise(widths), _STRIDES, config["subsampling_depths"], strict=True
                )
            )
        )
        self.layers = nn.ModuleList(Block(config) for _ in range(config["num_hidden_layers"]))
        self.head_width = config["hidden_size"] // config["num_attention_heads"]
        self.base = config["rotary_embedding_base"]

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the last state [clips, tokens, width] of spectrograms [clips, frames, mels]."""
        x = self.subsampling_module(mel)
        speed = self.base ** (-torch.arange(0, self.head_width, 2, device=x.device) / self.head_width)
        angle = (torch.arange(x.shape[1], device=x.device)[:, None] * speed).repeat(1, 2)
        turn = torch.stack([angle.cos(), angle.sin()])
        for layer in self.layers:
            x = layer(x, turn)
        return x


def _over_time(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return conv(x.transpose(1, 2)).transpose(1, 2)


def _turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat([-second, first], -1) * turn[1]


def fit_mert_v2(model: MertV2, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read a MERT v2."""
    tables: Any = model.feature_extractor
    n_fft, hop = config["n_fft"], config["hop_length"]
    window, filters = tables.spectrogram.window.clone(), tables.mel_scale.fb.clone()
    mel = power_mel(window=window, n_fft=n_fft, hop=hop, filters=filters)
    mean, std = tables.mel_mean.clone(), tables.mel_std.clamp(min=_LEAST_STD)

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.array(waveform, np.float32))
        return (decibels(mel(samples))[:-1] - mean) / std

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        # Twice, two frames become one: token i is centred on frame 4 i + 1.5.
        return even_tokens(n_samples // hop // 4, first_s=1.5 * hop / RATE, hop_s=4 * hop / RATE)

    taps = block_taps(list(model.layers))
    return Fitting(
        module=model,
        sample_rate=RATE,
        taps=taps,
        final=taps[-1],
        widths=even_widths(config["hidden_size"], config["num_hidden_layers"]),
        frontend=frontend,
        grid=grid,
        min_samples=n_fft // 2 + 1,
    )
