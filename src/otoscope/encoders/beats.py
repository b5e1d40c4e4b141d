"""BEATs: a transformer over square patches of Kaldi's filter bank (Chen et al. 2022).

Its tokens are time-major: with 8 frequency patches, the patch (t, f) is token 8 t + f (AST's are frequency-major). A
convolution over the row of tokens and WavLM's gated relative bias say where a token is, so a clip may have any length;
what is left at its end of less than a patch, 0.16 s, is not looked at, as in the original.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from otoscope.encoders.fbank import FRAME_SAMPLES, HOP_SAMPLES, fbank_edges, kaldi_fbank, n_fbank_frames
from otoscope.encoders.fitting import Fitting, even_widths
from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Layer, Tokens
from otoscope.errors import ModelError

RATE = 16_000
_N_MELS = 128
_MEAN, _STD = 15.41663, 6.55582
_BIAS = "self_attn.relative_attention_bias.weight"


DEFAULTS = {
    "input_patch_size": 16,
    "embed_dim": 512,
    "conv_bias": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "relative_position_embedding": False,
    "num_buckets": 320,
    "max_distance": 1280,
    "gru_rel_pos": False,
}


class Attention(nn.Module):
    """Self-attention with a bias by relative position, gated by the query (WavLM's, Chen et al. 2021, eq. 3-5)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, self.n_heads = config["encoder_embed_dim"], config["encoder_attention_heads"]
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.gated = config["relative_position_embedding"] and config["gru_rel_pos"]
        if self.gated:
            self.grep_linear = nn.Linear(width // self.n_heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.n_heads, 1, 1))

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Mix the tokens of [clips, tokens, width]; `bias` [heads, tokens, tokens]."""
        n_clips, n_tokens, width = x.shape
        split = n_clips, n_tokens, self.n_heads, -1
        query, key, value = (
            p(x).view(split).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        if bias is not None:
            bias = bias.expand(n_clips, -1, -1, -1)
            if self.gated:
                gates = self.grep_linear(query).float().view(*query.shape[:3], 2, 4).sum(-1).sigmoid()
                update, reset = gates.chunk(2, dim=-1)
                bias = (update * (reset * self.grep_a - 1) + 2) * bias
            bias = bias.to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out_proj(mixed.transpose(1, 2).reshape(n_clips, n_tokens, width))


class Block(nn.Module):
    """Attention, then two layers; norms before or after, residuals scaled where the model has DeepNorm."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, hidden = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.norm_first = config["layer_norm_first"]
        self.residual_scale = (2 * config["encoder_layers"]) ** 0.25 if config["deep_norm"] else 1.0

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the state [clips, tokens, width] after the block."""
        if self.norm_first:
            x = x + self.self_attn(self.self_attn_layer_norm(x), bias)
            return x + self._layers(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(self.residual_scale * x + self.self_attn(x, bias))
        return self.final_layer_norm(self.residual_scale * x + self._layers(x))

    def _layers(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Stack(nn.Module):
    """Positions, blocks, and a norm before or after them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, reach = config["encoder_embed_dim"], config["conv_pos"]
        conv = nn.Conv1d(width, width, reach, padding=reach // 2, groups=config["conv_pos_groups"])
        self.pos_conv = nn.ModuleList([conv])
        self.layers = nn.ModuleList(Block(config) for _ in range(config["encoder_layers"]))
        self.layer_norm = nn.LayerNorm(width)
        self.norm_first = config["layer_norm_first"]
        self.bias = None
        if config["relative_position_embedding"]:
            self.max_distance = config["max_distance"]
            self.bias = nn.Embedding(config["num_buckets"], config["encoder_attention_heads"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the last block gives [clips, tokens, width], normed if norms come first."""
        n_tokens = x.shape[1]
        near = self.pos_conv[0](x.transpose(1, 2))[..., :n_tokens]
        x = x + functional.gelu(near).transpose(1, 2)
        if not self.norm_first:
            x = self.layer_norm(x)
        bias = None
        if self.bias is not None:
            buckets = relative_buckets(n_tokens, self.bias.num_embeddings, self.max_distance).to(x.device)
            bias = self.bias(buckets).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        return self.layer_norm(x) if self.norm_first else x


class Beats(nn.Module):
    """BEATs' encoder; `config` is the checkpoint's ``cfg``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        if config["activation_fn"] != "gelu":
            raise ModelError(
                f"this BEATs has the activation '{config['activation_fn']}'; only gelu is served"
            )
        patch, width = config["input_patch_size"], config["embed_dim"]
        self.patch_embedding = nn.Conv2d(1, width, patch, stride=patch, bias=config["conv_bias"])
        self.layer_norm = nn.LayerNorm(width)
        self.post_extract_proj = (
            nn.Linear(width, config["encoder_embed_dim"]) if width != config["encoder_embed_dim"] else None
        )
        self.encoder = Stack(config)

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        """Return the last state [clips, tokens, width] of filter banks [clips, frames, mels]."""
        patches = self.patch_embedding(fbank[:, None]).flatten(2).transpose(1, 2)
        x = self.layer_norm(patches)
        return self.encoder(x if self.post_extract_proj is None else self.post_extract_proj(x))


def relative_buckets(n_tokens: int, n_buckets: int, max_distance: int) -> torch.Tensor:
    """Return the bucket [tokens, tokens] of each pair by how far the key lies after the query.

    Half of the buckets are for keys that lie ahead; of each half, half are single distances and the rest grow
    logarithmically up to `max_distance` (T5's, Raffel et al. 2020).
    """
    places = torch.arange(n_tokens)
    ahead = places[None, :] - places[:, None]
    half = n_buckets // 2
    single = half // 2
    distance = ahead.abs()
    grown = torch.log(distance.clamp(min=1).float() / single) / math.log(max_distance / single)
    far = (single + (grown * (half - single)).long()).clamp(max=half - 1)
    return half * (ahead > 0) + torch.where(distance < single, distance, far)


def adapt_beats(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published weights under our names: the bias that all blocks share once, the convolution's norm folded."""
    new = dict(weights)
    shared = [new.pop(key) for key in sorted(weights) if key.endswith(_BIAS)]
    if any(not torch.equal(one, shared[0]) for one in shared[1:]):
        raise ModelError("the blocks of this BEATs differ in their relative bias, of which there is but one")
    if shared:
        new["encoder.bias.weight"] = shared[0]
    for g, v in (("weight_g", "weight_v"), [f"parametrizations.weight.original{i}" for i in (0, 1)]):
        if f"encoder.pos_conv.0.{g}" in new:
            size, direction = new.pop(f"encoder.pos_conv.0.{g}"), new.pop(f"encoder.pos_conv.0.{v}")
            length = direction.float().pow(2).sum((0, 1), keepdim=True).sqrt()
            new["encoder.pos_conv.0.weight"] = size * direction / length
    return new


def fit_beats(model: Beats, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Fitting:
    """Read a BEATs."""
    patch, n_bands = config["input_patch_size"], _N_MELS // config["input_patch_size"]
    fbank = kaldi_fbank(n_mels=_N_MELS, sample_rate=RATE, window="povey")

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        features = fbank(waveform * np.float32(2**15))  # Kaldi counts in 16 bit integers
        return torch.from_numpy((features - _MEAN) / (2 * _STD)).float()

    first_s = ((patch - 1) * HOP_SAMPLES + FRAME_SAMPLES) / 2 / RATE
    hop_s = patch * HOP_SAMPLES / RATE
    bands_hz = fbank_edges(n_bands, patch=patch, stride=patch, n_mels=_N_MELS, sample_rate=RATE)

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        n_moments = n_fbank_frames(n_samples) // patch
        moments = first_s + hop_s * np.arange(n_moments)
        band = np.tile(np.arange(n_bands), n_moments)
        return Tokens(np.repeat(moments, n_bands), band, hop_s, bands_hz)

    taps = block_taps(list(model.encoder.layers))
    return Fitting(
        module=model,
        sample_rate=RATE,
        taps=taps,
        final=Tap(model.encoder.layer_norm) if config["layer_norm_first"] else taps[-1],
        widths=even_widths(config["encoder_embed_dim"], config["encoder_layers"]),
        frontend=frontend,
        grid=grid,
        min_samples=(patch - 1) * HOP_SAMPLES + FRAME_SAMPLES,
    )
