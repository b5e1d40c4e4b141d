"""EAT by another hand: written from descriptions, without a look at the product's code, and compared with it after.

Sources: the paper (arXiv:2401.03497), its repository (cwx-worst-one/EAT: feature extraction, the encoder of data2vec
2.0 for images, its configuration) and the published model's files. They agree on all that is used here. They differ
where nothing published goes: with `layer_norm_first` the repository's block returns twice its feed-forward and no
residual, and has a last norm, where the published model has its norm before the first block whatever that says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .textbook import Weights, attention, gelu, layer_norm, linear

RATE = 16_000
MEAN, TWICE_DEVIATION = -4.268, 2 * 4.569


def features(sound: np.ndarray, n_bands: int, n_frames: int) -> np.ndarray:
    """(samples,) at 16 kHz -> (`n_frames`, `n_bands`): Kaldi's log mel bands, zeros after the sound, then scaled."""
    bands = kaldi_bands(sound.astype(float) - sound.mean(dtype=float), n_bands)[:n_frames]
    padded = np.pad(bands, ((0, n_frames - len(bands)), (0, 0)))
    return (padded - MEAN) / TWICE_DEVIATION


def kaldi_bands(sound: np.ndarray, n_bands: int, length: int = 400, hop: int = 160) -> np.ndarray:
    """Logarithms of mel bands as Kaldi has them (25 ms every 10 ms, Hann, whole frames only), without dither."""
    frames = np.stack([sound[at : at + length] for at in range(0, len(sound) - length + 1, hop)])
    frames = frames - frames.mean(1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], 1)  # a frame's first sample precedes itself
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    n_fft = 2 ** int(np.ceil(np.log2(length)))
    power = np.abs(np.fft.rfft((frames - 0.97 * previous) * window, n_fft)) ** 2

    def mel(frequency_hz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log(1 + np.asarray(frequency_hz) / 700)

    edges = np.linspace(mel(20), mel(RATE / 2), n_bands + 2)
    at = mel(np.arange(n_fft // 2) * RATE / n_fft)  # the last, at half the rate, belongs to no band
    rise = (at[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - at[:, None]) / (edges[2:] - edges[1:-1])
    energy = power[:, : n_fft // 2] @ np.maximum(0, np.minimum(rise, fall))
    return np.log(np.maximum(energy, np.finfo(np.float32).eps))


def positions(width: int, n_times: int, n_bands: int) -> np.ndarray:
    """(times x bands, width), bands within times: half a row tells the band by sines and cosines, half the time."""
    times, bands = np.divmod(np.arange(n_times * n_bands), n_bands)
    rates = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    parts = [turn(np.outer(at, rates)) for at in (bands, times) for turn in (np.sin, np.cos)]
    return np.concatenate(parts, 1)


def states(config: Mapping[str, Any], weights: Weights, mel: np.ndarray) -> list[np.ndarray]:
    """What enters the first block, and what leaves each: the class's token, then patches, bands within times."""
    side = config["patch_size"]
    n_times, n_bands = mel.shape[0] // side, mel.shape[1] // side
    patches = mel[: n_times * side].reshape(n_times, side, n_bands, side).swapaxes(1, 2)
    x = linear(patches.reshape(n_times * n_bands, -1), weights, "local_encoder.proj")
    x = x + weights["fixed_positional_encoder.positions"][0, : len(x)]
    x = np.concatenate([weights["extra_tokens"][0], x])
    found = [layer_norm(x, weights, "pre_norm", config["norm_eps"])]
    for i in range(config["depth"]):
        found.append(_block(found[-1], weights, f"blocks.{i}.", config))
    return found


def _block(x: np.ndarray, weights: Weights, name: str, config: Mapping[str, Any]) -> np.ndarray:
    """Attention and a norm, a feed-forward and a norm: after each sum, as in the first transformer."""
    parts = np.split(linear(x, weights, name + "attn.qkv"), 3, -1)
    x = x + linear(attention(*parts, config["num_heads"]), weights, name + "attn.proj")
    x = layer_norm(x, weights, name + "norm1", config["norm_eps"])
    x = x + linear(gelu(linear(x, weights, name + "mlp.fc1")), weights, name + "mlp.fc2")
    return layer_norm(x, weights, name + "norm2", config["norm_eps"])
