"""What the second implementations of written families share: layers as a textbook has them, in NumPy, clip by clip.

Weights are a mapping of their published names to float64 arrays; a state is (tokens, width).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

Weights = Mapping[str, np.ndarray]


def doubled(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in weights.items()}


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution's cumulative probability at x: the exact form, not that with tanh."""
    return x * (1 + erf(x / np.sqrt(2))) / 2


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def swish(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def linear(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """A linear map, or a convolution one frame wide, with a bias where there is one."""
    matrix = weights[f"{name}.weight"]
    return x @ matrix.reshape(len(matrix), -1).T + weights.get(f"{name}.bias", 0.0)


def layer_norm(x: np.ndarray, weights: Weights, name: str, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt(np.mean(centred**2, -1, keepdims=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, n_heads: int) -> np.ndarray:
    """Softmax attention of every token to every token, head by head."""
    heads = []
    for q, k, v in zip(*(np.split(part, n_heads, -1) for part in (query, key, value)), strict=True):
        scores = q @ k.T / np.sqrt(q.shape[-1])
        raised = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(raised / raised.sum(-1, keepdims=True) @ v)
    return np.concatenate(heads, -1)


def rotated(x: np.ndarray, n_heads: int, base: float) -> np.ndarray:
    """Rotary positions: number i of a head's first half and number i of its second turn together, as a plane."""
    width = x.shape[-1] // n_heads
    angle = np.outer(np.arange(len(x)), base ** (-np.arange(0, width, 2) / width))
    turned = []
    for head in np.split(x, n_heads, -1):
        first, second = np.split(head, 2, -1)
        turned += [first * np.cos(angle) - second * np.sin(angle)]
        turned += [second * np.cos(angle) + first * np.sin(angle)]
    return np.concatenate(turned, -1)


def depthwise(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Each channel along time by a kernel of its own, of odd length, zeros before and after."""
    kernel = weights[f"{name}.weight"][:, 0]
    reach = kernel.shape[1] // 2
    padded = np.pad(x, ((reach, reach), (0, 0)))
    shifts = (padded[j : j + len(x)] * kernel[:, j] for j in range(kernel.shape[1]))
    return sum(shifts) + weights.get(f"{name}.bias", 0.0)


def power_spectrum(sound: np.ndarray, window: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """(frames, n_fft // 2 + 1): frame i is centred on sample i * hop; the sound is mirrored beyond its ends."""
    margin = (n_fft - len(window)) // 2
    window = np.pad(window, (margin, n_fft - len(window) - margin))
    mirrored = np.pad(sound.astype(float), n_fft // 2, mode="reflect")
    starts = range(0, len(mirrored) - n_fft + 1, hop)
    return np.stack([np.abs(np.fft.rfft(window * mirrored[at : at + n_fft])) ** 2 for at in starts])


def decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-10))
