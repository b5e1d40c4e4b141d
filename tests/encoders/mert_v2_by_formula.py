"""MERT v2 a second time: in NumPy and float64, from public descriptions of its file's names and its arithmetic.

Its own code needs torchaudio and an old transformers, and is not run. Everything here is spelled out: sums for
convolutions, complex numbers for rotary positions, the error function for GELU; nothing is shared with the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import seeded
from scipy.special import erf, expit

CONFIG = {
    "model_type": "mert2", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_mel_bins": 20, "sampling_rate": 24000, "n_fft": 2048, "win_length": 2048,
    "hop_length": 240, "subsampling_channels": [20, 24, 32], "subsampling_depths": [1, 2, 1],
    "conv_depthwise_kernel_size": 7, "rotary_embedding_base": 10000, "layer_norm_eps": 1e-5,
    "subsampling_layer_norm_eps": 1e-6, "variant": "30s",
}  # fmt: skip


def published_shapes(c: dict[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the published file's weights, for a configuration; tables of the spectrogram not."""
    width, hidden, n_mels = c["hidden_size"], c["intermediate_size"], c["num_mel_bins"]
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, n_in: int, n_out: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n_out, n_in), (n_out,)

    def norm(name: str, n: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n,), (n,)

    channels = [n_mels, *c["subsampling_channels"]]
    for i, depth in enumerate(c["subsampling_depths"]):
        n_in, n, stage = channels[i], channels[i + 1], f"subsampling_module.{i}"
        if i:
            norm(f"{stage}.resampling_layer.0", n_in)
            shapes[f"{stage}.resampling_layer.2.weight"] = (n, n_in, 2)
            shapes[f"{stage}.resampling_layer.2.bias"] = (n,)
        for j in range(depth):
            layer = f"{stage}.convnext_layers.{j}"
            shapes[f"{layer}.depthwise_block.1.weight"] = (n, 1, 7)
            shapes[f"{layer}.depthwise_block.1.bias"] = (n,)
            norm(f"{layer}.pointwise_block.0", n)
            linear(f"{layer}.pointwise_block.1", n, 4 * n)
            shapes[f"{layer}.pointwise_block.3.weight"] = shapes[f"{layer}.pointwise_block.3.bias"] = (
                1,
                1,
                4 * n,
            )
            linear(f"{layer}.pointwise_block.4", 4 * n, n)
    for i in range(c["num_hidden_layers"]):
        layer = f"layers.{i}"
        for part in ("ffn1_layer_norm", "attn_layer_norm", "ffn2_layer_norm", "final_layer_norm"):
            norm(f"{layer}.{part}", width)
        norm(f"{layer}.conv_module.layer_norm", width)
        for part in ("ffn1", "ffn2"):
            linear(f"{layer}.{part}.w_1", width, hidden)
            linear(f"{layer}.{part}.w_2", hidden, width)
        for part in ("query_proj", "key_proj", "value_proj", "out_proj"):
            linear(f"{layer}.attn.{part}", width, width)
        shapes[f"{layer}.conv_module.conv_block.1.weight"] = (2 * width, width, 1)
        shapes[f"{layer}.conv_module.conv_block.3.weight"] = (width, 1, c["conv_depthwise_kernel_size"])
        norm(f"{layer}.conv_module.conv_block.4.1", width)
        shapes[f"{layer}.conv_module.conv_block.6.weight"] = (width, width, 1)
    return shapes


def published_weights() -> dict[str, np.ndarray]:
    """Return seeded weights under the published names, tables of the spectrogram included."""
    n_mels, n_fft = CONFIG["num_mel_bins"], CONFIG["n_fft"]
    tables = {
        "feature_extractor.mel_mean": (-20 + 5 * seeded.numbers("mel_mean", (n_mels,))),
        "feature_extractor.mel_std": 10 + np.abs(seeded.numbers("mel_std", (n_mels,))),
        "feature_extractor.spectrogram.window": 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft),
        "feature_extractor.mel_scale.fb": _triangles(n_mels, n_fft, CONFIG["sampling_rate"]),
    }
    return seeded.weights(published_shapes()) | {
        key: value.astype(np.float32) for key, value in tables.items()
    }


def features(sound: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Return [frames, mels]: the last of the centred frames is dropped."""
    n_fft, hop = CONFIG["n_fft"], CONFIG["hop_length"]
    padded = np.pad(sound.astype(np.float64), n_fft // 2, mode="reflect")
    frames = np.stack([padded[i * hop : i * hop + n_fft] for i in range(len(sound) // hop)])
    power = np.abs(np.fft.rfft(frames * w["feature_extractor.spectrogram.window"])) ** 2
    level_db = 10 * np.log10(
        np.maximum(power @ w["feature_extractor.mel_scale.fb"].astype(np.float64), 1e-10)
    )
    return (level_db - w["feature_extractor.mel_mean"]) / w["feature_extractor.mel_std"]


def states(mel: np.ndarray, w: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return what enters the first block and what leaves each, [tokens, width], of [frames, mels]."""
    w = {key: value.astype(np.float64) for key, value in w.items()}
    x = mel.astype(np.float64)
    for i, depth in enumerate(CONFIG["subsampling_depths"]):
        stage = f"subsampling_module.{i}"
        if i:
            x = _norm(x, w, f"{stage}.resampling_layer.0", 1e-6)
            kernel, bias = (w[f"{stage}.resampling_layer.2.{part}"] for part in ("weight", "bias"))
            x = np.stack(
                [kernel[:, :, 0] @ x[t] + kernel[:, :, 1] @ x[t + 1] + bias for t in range(0, len(x) - 1, 2)]
            )
        for j in range(depth):
            x = x + _convnext(x, w, f"{stage}.convnext_layers.{j}")
    found = [x]
    for i in range(CONFIG["num_hidden_layers"]):
        name = f"layers.{i}"
        x = x + 0.5 * _feed_forward(_norm(x, w, f"{name}.ffn1_layer_norm"), w, f"{name}.ffn1")
        x = x + _attention(_norm(x, w, f"{name}.attn_layer_norm"), w, f"{name}.attn")
        x = x + _convolution(
            _norm(x, w, f"{name}.conv_module.layer_norm"), w, f"{name}.conv_module.conv_block"
        )
        x = x + 0.5 * _feed_forward(_norm(x, w, f"{name}.ffn2_layer_norm"), w, f"{name}.ffn2")
        x = _norm(x, w, f"{name}.final_layer_norm")
        found.append(x)
    return found


def _convnext(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    h = _depthwise(x, w[f"{name}.depthwise_block.1.weight"]) + w[f"{name}.depthwise_block.1.bias"]
    h = _gelu(_linear(_norm(h, w, f"{name}.pointwise_block.0", 1e-6), w, f"{name}.pointwise_block.1"))
    strength = np.sqrt((h**2).sum(0))
    relative = strength / (strength.mean() + 1e-6)
    h = h + w[f"{name}.pointwise_block.3.weight"][0] * h * relative + w[f"{name}.pointwise_block.3.bias"][0]
    return _linear(h, w, f"{name}.pointwise_block.4")


def _attention(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    n_heads = CONFIG["num_attention_heads"]
    half = x.shape[1] // n_heads // 2
    speeds = CONFIG["rotary_embedding_base"] ** (-np.arange(half) / half)
    turn = np.exp(1j * np.outer(np.arange(len(x)), speeds))
    mixed = []
    for head in range(n_heads):
        own = slice(2 * half * head, 2 * half * (head + 1))
        query, key, value = (_linear(x, w, f"{name}.{p}_proj")[:, own] for p in ("query", "key", "value"))
        query, key = ((one[:, :half] + 1j * one[:, half:]) * turn for one in (query, key))
        scores = (query @ key.conj().T).real / np.sqrt(2 * half)
        share = np.exp(scores - scores.max(1, keepdims=True))
        mixed.append(share / share.sum(1, keepdims=True) @ value)
    return _linear(np.concatenate(mixed, 1), w, f"{name}.out_proj")


def _convolution(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    both = x @ w[f"{name}.1.weight"][:, :, 0].T
    width = both.shape[1] // 2
    h = _depthwise(both[:, :width] * expit(both[:, width:]), w[f"{name}.3.weight"])
    return _gelu(_norm(h, w, f"{name}.4.1")) @ w[f"{name}.6.weight"][:, :, 0].T


def _feed_forward(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    return _linear(_gelu(_linear(x, w, f"{name}.w_1")), w, f"{name}.w_2")


def _depthwise(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    reach = kernel.shape[2]
    padded = np.pad(x, ((reach // 2, reach // 2), (0, 0)))
    return sum(padded[j : j + len(x)] * kernel[:, 0, j] for j in range(reach))


def _linear(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: np.ndarray, w: dict, name: str, eps: float = 1e-5) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]
    )


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def _triangles(n_mels: int, n_fft: int, rate: int) -> np.ndarray:
    """Return HTK's triangular filters [bins, mels]."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), n_mels + 2)
    edges_hz = 700 * (10 ** (mel / 2595) - 1)
    bins_hz = np.linspace(0, rate / 2, n_fft // 2 + 1)
    up, down = (
        (bins_hz[:, None] - edges_hz[None, :-2]) / np.diff(edges_hz)[:-1],
        (edges_hz[None, 2:] - bins_hz[:, None]) / np.diff(edges_hz)[1:],
    )
    return np.maximum(0, np.minimum(up, down))
