"""EAT a second time, in NumPy and float64, from public descriptions of its file's names and its arithmetic.

Its own is remote code that transformers 5 does not load, and is not run; nothing here is shared with the package.
"""

from __future__ import annotations

import numpy as np
import seeded
from scipy.special import erf

CONFIG = {
    "model_type": "eat", "embed_dim": 32, "depth": 3, "num_heads": 2, "patch_size": 16, "stride": 16, "in_chans": 1,
    "mel_bins": 128, "max_length": 9, "mlp_ratio": 1.5, "img_size": [96, 128], "layer_norm_first": False,
    "model_variant": "pretrain",
}  # fmt: skip


def published_weights() -> dict[str, np.ndarray]:
    width, hidden = CONFIG["embed_dim"], 48
    shapes = {
        "local_encoder.proj.weight": (width, 1, 16, 16),
        "local_encoder.proj.bias": (width,),
        "extra_tokens": (1, 1, width),
        "fixed_positional_encoder.positions": (1, CONFIG["max_length"] * 8, width),
        "pre_norm.weight": (width,),
        "pre_norm.bias": (width,),
    }
    for i in range(CONFIG["depth"]):
        for name, n_in, n_out in (
            ("attn.qkv", width, 3 * width),
            ("attn.proj", width, width),
            ("mlp.fc1", width, hidden),
            ("mlp.fc2", hidden, width),
        ):
            shapes[f"blocks.{i}.{name}.weight"], shapes[f"blocks.{i}.{name}.bias"] = (n_out, n_in), (n_out,)
        for name in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{name}.weight"] = shapes[f"blocks.{i}.{name}.bias"] = (width,)
    return seeded.weights({f"model.{key}": shape for key, shape in shapes.items()})


def features(sound: np.ndarray) -> np.ndarray:
    """Return Kaldi's log mel energies [96, 128], padded by zeros and normalised."""
    sound = sound.astype(np.float64)
    frames = np.stack([sound[i : i + 400] for i in range(0, len(sound) - 399, 160)])
    frames -= frames.mean(1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(8000), 130)
    bins = mel(np.arange(257) * 16_000 / 512)[:, None]
    up, down = (bins - edges[:-2]) / (edges[1] - edges[0]), (edges[2:] - bins) / (edges[1] - edges[0])
    energies = power @ np.maximum(0, np.minimum(up, down))
    level = np.log(np.maximum(energies, np.finfo(np.float32).eps))
    return (np.pad(level, ((0, 96 - len(level)), (0, 0))) + 4.268) / (2 * 4.569)


def states(fbank: np.ndarray, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return what enters the first block and what leaves each, [tokens, width]."""
    w = {key.removeprefix("model."): value.astype(np.float64) for key, value in weights.items()}
    patches = [fbank[16 * t : 16 * t + 16, 16 * f : 16 * f + 16].ravel() for t in range(6) for f in range(8)]
    x = np.stack(patches) @ w["local_encoder.proj.weight"].reshape(32, -1).T + w["local_encoder.proj.bias"]
    x = x + w["fixed_positional_encoder.positions"][0, : len(x)]
    x = _norm(np.concatenate([w["extra_tokens"][0], x]), w, "pre_norm")
    found = [x]
    for i in range(CONFIG["depth"]):
        query, key, value = np.split(_linear(x, w, f"blocks.{i}.attn.qkv"), 3, axis=1)
        mixed = []
        for own in (slice(0, 16), slice(16, 32)):
            scores = query[:, own] @ key[:, own].T / 4
            share = np.exp(scores - scores.max(1, keepdims=True))
            mixed.append(share / share.sum(1, keepdims=True) @ value[:, own])
        x = _norm(x + _linear(np.concatenate(mixed, 1), w, f"blocks.{i}.attn.proj"), w, f"blocks.{i}.norm1")
        hidden = _linear(x, w, f"blocks.{i}.mlp.fc1")
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        x = _norm(x + _linear(hidden, w, f"blocks.{i}.mlp.fc2"), w, f"blocks.{i}.norm2")
        found.append(x)
    return found


def _linear(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6) * w[f"{name}.weight"]
        + w[f"{name}.bias"]
    )
