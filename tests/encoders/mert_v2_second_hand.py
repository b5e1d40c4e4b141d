"""MERT v2 by another hand: written from descriptions, without a look at the product's code, and compared with it after.

There is no paper. Sources: a description of the published files, the published inference code, and its public ports to
Rust, C# and MLX. They agree but in one point: the port to MLX takes its spectrogram from scipy, which divides it by the
window's sum (60 dB less); it is alone in that. What only code says: the last frame of the spectrogram is dropped;
deviations are taken as at least 1e-5; the first stage has no convolution where it would change neither width nor rate;
GELU is the exact one; the norms of the first part have another epsilon than those of the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .textbook import (
    Weights,
    attention,
    decibels,
    depthwise,
    gelu,
    layer_norm,
    linear,
    power_spectrum,
    rotated,
    sigmoid,
)

STRIDES = (1, 2, 2)


def features(config: Mapping[str, Any], weights: Weights, sound: np.ndarray) -> np.ndarray:
    """(samples,) at 24 kHz -> (samples // hop, mel bands): bands in dB, each by its mean and deviation in training."""
    here = "feature_extractor."
    power = power_spectrum(sound, weights[here + "spectrogram.window"], config["n_fft"], config["hop_length"])
    bands = decibels(power @ weights[here + "mel_scale.fb"])[:-1]
    return (bands - weights[here + "mel_mean"]) / np.maximum(weights[here + "mel_std"], 1e-5)


def states(config: Mapping[str, Any], weights: Weights, mel: np.ndarray) -> list[np.ndarray]:
    """What enters the first conformer block, and what leaves each."""
    x = mel
    channels = [config["num_mel_bins"], *config["subsampling_channels"]]
    for i, stride in enumerate(STRIDES):
        stage = f"subsampling_module.{i}."
        if stride > 1 or channels[i] != channels[i + 1]:
            x = _resample(x, weights, stage + "resampling_layer.", stride, config)
        for j in range(config["subsampling_depths"][i]):
            x = x + _convnext(x, weights, f"{stage}convnext_layers.{j}.", config)
    found = [x]
    for i in range(config["num_hidden_layers"]):
        found.append(_conformer(found[-1], weights, f"layers.{i}.", config))
    return found


def _resample(
    x: np.ndarray, weights: Weights, name: str, stride: int, config: Mapping[str, Any]
) -> np.ndarray:
    """Norm, then two neighbouring frames to one, every `stride` frames; a frame left over is dropped."""
    x = layer_norm(x, weights, name + "0", config["subsampling_layer_norm_eps"])
    kernel = weights[name + "2.weight"]
    pairs = (x[:-1] @ kernel[:, :, 0].T + x[1:] @ kernel[:, :, 1].T)[::stride]
    return pairs + weights[name + "2.bias"]


def _convnext(x: np.ndarray, weights: Weights, name: str, config: Mapping[str, Any]) -> np.ndarray:
    """ConvNeXt v2's block (arXiv:2301.00808) along time, without its residual."""
    x = depthwise(x, weights, name + "depthwise_block.1")
    point = name + "pointwise_block."
    x = gelu(
        linear(
            layer_norm(x, weights, point + "0", config["subsampling_layer_norm_eps"]), weights, point + "1"
        )
    )
    length = np.sqrt((x**2).sum(0))  # of each channel over the whole clip
    response = x * (length / (length.mean() + 1e-6))
    x = x + weights[point + "3.weight"][0] * response + weights[point + "3.bias"][0]
    return linear(x, weights, point + "4")


def _conformer(x: np.ndarray, weights: Weights, name: str, config: Mapping[str, Any]) -> np.ndarray:
    """Half a feed-forward, attention, convolution, half a feed-forward, each normed before it; a norm at the end."""
    eps = config["layer_norm_eps"]

    def feed_forward(x: np.ndarray, which: str) -> np.ndarray:
        inner = linear(
            layer_norm(x, weights, f"{name}{which}_layer_norm", eps), weights, f"{name}{which}.w_1"
        )
        return linear(gelu(inner), weights, f"{name}{which}.w_2")

    x = x + feed_forward(x, "ffn1") / 2
    normed = layer_norm(x, weights, name + "attn_layer_norm", eps)
    query, key, value = (
        linear(normed, weights, f"{name}attn.{part}_proj") for part in ("query", "key", "value")
    )
    n_heads, base = config["num_attention_heads"], config["rotary_embedding_base"]
    mixed = attention(rotated(query, n_heads, base), rotated(key, n_heads, base), value, n_heads)
    x = x + linear(mixed, weights, name + "attn.out_proj")
    x = x + _convolution(x, weights, name + "conv_module.", eps)
    x = x + feed_forward(x, "ffn2") / 2
    return layer_norm(x, weights, name + "final_layer_norm", eps)


def _convolution(x: np.ndarray, weights: Weights, name: str, eps: float) -> np.ndarray:
    """A conformer's convolution with a layer's norm where the paper has a batch's, and GELU where it has swish."""
    x = layer_norm(x, weights, name + "layer_norm", eps)
    value, gate = np.split(linear(x, weights, name + "conv_block.1"), 2, -1)
    x = depthwise(value * sigmoid(gate), weights, name + "conv_block.3")
    x = gelu(layer_norm(x, weights, name + "conv_block.4.1", eps))
    return linear(x, weights, name + "conv_block.6")
