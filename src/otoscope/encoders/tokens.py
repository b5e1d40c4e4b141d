"""What the tokens of a hidden state stand for: which moment of the sound, which frequency band.

A grid is a function ``(n_samples, layer, n_tokens) -> Tokens``. `n_samples` is the length of what the model was given,
padding included; which tokens hold sound and which hold padding follows from their times. `n_tokens` is how many there
were, where that is known; only a module of one's own needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Layer = int | str
"""0..L, or "final"."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one state, in its order.

    Attributes
    ----------
    time_s : np.ndarray [tokens]
        Centre of what each token looks at, in seconds from the start; NaN for class tokens.
    band : np.ndarray [tokens]
        Index of its frequency patch, from low to high; -1 where a token spans all frequencies.
    hop_s : float
        Time between one moment and the next.
    bands_hz : np.ndarray [bands, 2] or None
        From where to where each frequency patch looks, by `patch_edges`; None where tokens span all frequencies.
    """

    time_s: np.ndarray
    band: np.ndarray
    hop_s: float
    bands_hz: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.time_s)

    def inside(self, duration_s: float) -> np.ndarray:
        """Return which [tokens] have their centre inside a clip of `duration_s` seconds; class tokens never do."""
        return self.time_s < duration_s  # NaN compares as False


Grid = Callable[[int, Layer, int | None], Tokens]


def even_tokens(n_tokens: int, *, first_s: float, hop_s: float) -> Tokens:
    """Return `n_tokens` moments, the first centred on `first_s`, one every `hop_s` seconds."""
    return Tokens(first_s + hop_s * np.arange(n_tokens), np.full(n_tokens, -1), hop_s)


def patch_edges(
    n_bands: int, *, patch: int, stride: int, n_mels: int, low_hz: float, high_hz: float, scale: str
) -> np.ndarray:
    """Return from where to where, in Hz, frequency patches look [bands, 2].

    Parameters
    ----------
    n_bands : int
    patch, stride : int
        How many filters a patch has, and by how many the next begins later.
    n_mels, low_hz, high_hz, scale
        The filter bank: triangles between points that are equally far apart on a `scale` of transformers, "kaldi",
        "htk" or "slaney". The filter i rises from point i, and falls to point i + 2.
    """
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    low, high = (hertz_to_mel(hz, mel_scale=scale) for hz in (float(low_hz), float(high_hz)))
    points = np.asarray(mel_to_hertz(np.linspace(low, high, n_mels + 2), mel_scale=scale))
    first = stride * np.arange(n_bands)
    return np.stack([points[first], points[first + patch + 1]], axis=1)


def conv_grid(kernels: Sequence[int], strides: Sequence[int], sample_rate: int) -> Grid:
    """Return the grid of unpadded convolutions in a row: each token is centred on its receptive field."""

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        count, hop, reach = n_samples, 1, 1
        for kernel, stride in zip(kernels, strides):
            count = max((count - kernel) // stride + 1, 0)
            reach += (kernel - 1) * hop
            hop *= stride
        return even_tokens(count, first_s=(reach - 1) / 2 / sample_rate, hop_s=hop / sample_rate)

    return grid


def conv_reach(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the receptive field of unpadded convolutions in a row, in samples: the shortest input they take."""
    hop, reach = 1, 1
    for kernel, stride in zip(kernels, strides):
        reach += (kernel - 1) * hop
        hop *= stride
    return reach
