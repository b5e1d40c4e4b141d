"""Numbers that follow from a name: what the original code and ours are both given, in whatever environment."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard normal numbers that depend on `name` and `shape` alone (NumPy's frozen legacy generator)."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return weights for a state dict, none at zero or one, all large enough for mistakes to show."""
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def sounds(n_samples: int) -> np.ndarray:
    """Return two clips [2, n_samples] of noise, the second with a loud start."""
    clips = 0.1 * numbers("sounds", (2, n_samples))
    clips[1, : n_samples // 4] *= 5
    return np.clip(clips, -1, 1)


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = numbers(name, shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith(("running_var", "weight_g", "mel_std")):
        return 1 + 0.5 * np.abs(value)
    if (len(shape) >= 2 and min(shape) > 1) or "embed" in name:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        return value / np.sqrt(max(fan_in, 1))
    return 1 + 0.2 * value if name.endswith(("weight", "grep_a", "gamma")) else 0.2 * value
