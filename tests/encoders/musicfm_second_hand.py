"""MusicFM by another hand: written from descriptions, without a look at the product's code, and compared with it after.

Sources: the paper (arXiv:2311.03318), its repository (minzwon/musicfm: features, convolutions, the model at 25 Hz), and
transformers' Wav2Vec2-Conformer, whose encoder it runs. They agree. What only the code says: positions turn a block's
input before it is made into queries and keys; the last frame of the spectrogram is dropped; the positional convolution
in the checkpoint is never run; the last state is normed.
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
    layer_norm,
    linear,
    power_spectrum,
    rotated,
    sigmoid,
    swish,
)

RATE, N_FFT = 24_000, 2048
BATCH_EPS = 1e-5


def features(config: Mapping[str, Any], sound: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """(samples,) at 24 kHz -> (samples // hop, mel bands), in dB, by one mean and deviation of all bands."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = power_spectrum(sound, window, N_FFT, config["hop_length"])
    return (decibels(power @ mel_filters(config["n_mels"], N_FFT))[:-1] - mean) / deviation


def mel_filters(n_bands: int, n_fft: int) -> np.ndarray:
    """Triangles of height 1, straight in Hz between corners that are evenly spaced in HTK's mel."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top, n_bands + 2) / 2595) - 1)
    at = np.linspace(0, RATE / 2, n_fft // 2 + 1)[:, None]
    rise = (at - corners_hz[:-2]) / np.diff(corners_hz)[:-1]
    fall = (corners_hz[2:] - at) / np.diff(corners_hz)[1:]
    return np.maximum(0, np.minimum(rise, fall))


def states(config: Mapping[str, Any], weights: Weights, mel: np.ndarray) -> list[np.ndarray]:
    """What enters the first block, what leaves each, and of the last what the encoder's norm makes of it."""
    image = mel.T[None]  # channels, bands, frames
    for i in range(2):
        image = _residual(image, weights, f"conv.conv.{i}.")
    n_channels, n_bands, n_tokens = image.shape
    x = linear(image.reshape(n_channels * n_bands, n_tokens).T, weights, "conv.linear")
    found = [x]
    for i in range(config["encoder_depth"]):
        found.append(_conformer(found[-1], weights, f"conformer.layers.{i}.", config["w2v2_config"]))
    found[-1] = layer_norm(
        found[-1], weights, "conformer.layer_norm", config["w2v2_config"]["layer_norm_eps"]
    )
    return found


def _residual(image: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Two convolutions, the first in steps of two, beside a third in steps of two."""
    inner = np.maximum(
        0, _batch_norm(_convolve(image, weights, name + "conv1", 2), weights, name + "bn1", axis=0)
    )
    inner = _batch_norm(_convolve(inner, weights, name + "conv2", 1), weights, name + "bn2", axis=0)
    beside = _batch_norm(_convolve(image, weights, name + "conv3", 2), weights, name + "bn3", axis=0)
    return np.maximum(0, inner + beside)


def _convolve(image: np.ndarray, weights: Weights, name: str, stride: int) -> np.ndarray:
    """3 x 3, one row and column of zeros around."""
    around = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (1, 2))[:, ::stride, ::stride]
    summed = np.einsum("cftij,ocij->oft", patches, weights[name + ".weight"])
    return summed + weights[name + ".bias"][:, None, None]


def _batch_norm(x: np.ndarray, weights: Weights, name: str, axis: int) -> np.ndarray:
    """By the mean and variance of training, a channel each."""
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + BATCH_EPS) * scale + shift


def _conformer(x: np.ndarray, weights: Weights, name: str, config: Mapping[str, Any]) -> np.ndarray:
    eps = config["layer_norm_eps"]

    def feed_forward(x: np.ndarray, which: str) -> np.ndarray:
        inner = layer_norm(x, weights, f"{name}{which}_layer_norm", eps)
        inner = swish(linear(inner, weights, f"{name}{which}.intermediate_dense"))
        return linear(inner, weights, f"{name}{which}.output_dense")

    x = x + feed_forward(x, "ffn1") / 2
    normed = layer_norm(x, weights, name + "self_attn_layer_norm", eps)
    n_heads = config["num_attention_heads"]
    turned = rotated(normed, n_heads, config["rotary_embedding_base"])
    mixed = attention(
        linear(turned, weights, name + "self_attn.linear_q"),
        linear(turned, weights, name + "self_attn.linear_k"),
        linear(normed, weights, name + "self_attn.linear_v"),
        n_heads,
    )
    x = x + linear(mixed, weights, name + "self_attn.linear_out")
    x = x + _convolution(x, weights, name + "conv_module.", eps)
    x = x + feed_forward(x, "ffn2") / 2
    return layer_norm(x, weights, name + "final_layer_norm", eps)


def _convolution(x: np.ndarray, weights: Weights, name: str, eps: float) -> np.ndarray:
    x = layer_norm(x, weights, name + "layer_norm", eps)
    value, gate = np.split(linear(x, weights, name + "pointwise_conv1"), 2, -1)
    x = depthwise(value * sigmoid(gate), weights, name + "depthwise_conv")
    x = swish(_batch_norm(x, weights, name + "batch_norm", axis=1))
    return linear(x, weights, name + "pointwise_conv2")
