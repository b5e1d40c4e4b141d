"""How a model is read: its blocks, frames and input. Every family fills one `Fitting`, and so does a user's module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.encoders.taps import Tap, block_taps
from otoscope.encoders.tokens import Grid, Layer, conv_grid, conv_reach
from otoscope.errors import ModelError


@dataclass(frozen=True)
class Fitting:
    """Everything an `Encoder` needs to know of its model.

    Attributes
    ----------
    module : nn.Module
        Called with a batch of what `frontend` makes.
    sample_rate : int
        In Hz.
    taps : list of Tap
        Of layers 0..L.
    final : Tap
        Of the last norm; the last block's where the model has none.
    widths : dict of layer -> int
        Features of each layer, "final" included.
    frontend : callable
        One waveform [samples] -> the module's input for it, without the batch dimension.
    grid : Grid
        What the tokens of a layer stand for.
    min_samples, max_samples : int, int or None
        The shortest and longest input of one pass.
    family : str
        The row of `FAMILIES` that it was made by.
    reentrant : bool
        Whether several threads may run the module at once, that is, it keeps nothing from one pass to the next.
    borrowed : bool
        Whether the module is a user's own, to train and change: it gets no kernels of ours, and since it may work in
        place on what it has given, its states are copied.
    """

    module: nn.Module
    sample_rate: int
    taps: list[Tap]
    final: Tap
    widths: dict[Layer, int]
    frontend: Callable[[np.ndarray], torch.Tensor]
    grid: Grid
    min_samples: int
    max_samples: int | None = None
    family: str = "module"
    reentrant: bool = False
    borrowed: bool = False


Fit = Callable[[Any, Any, Mapping[str, Any]], Fitting]
"""(model, config, the preprocessor's settings) -> Fitting"""


def fit_waveform(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read a model that takes the waveform: convolutions, then a transformer (wav2vec 2.0 and its kin)."""
    encoder = model.encoder
    kernels, strides = list(config.conv_kernel), list(config.conv_stride)
    squeeze = getattr(config, "squeeze_factor", 1)
    if squeeze > 1:  # SEW runs its blocks at a fraction of the rate: each token is the mean of several frames
        kernels, strides = [*kernels, squeeze], [*strides, squeeze]
    taps = block_taps(encoder.layers)
    normed_last = getattr(config, "do_stable_layer_norm", False) or config.model_type == "wav2vec2-conformer"
    return Fitting(
        module=model,
        sample_rate=settings["sampling_rate"],
        taps=taps,
        final=Tap(encoder.layer_norm) if normed_last else taps[-1],
        widths=even_widths(config.hidden_size, len(encoder.layers)),
        frontend=normalised if settings.get("do_normalize", True) else raw,
        grid=conv_grid(kernels, strides, settings["sampling_rate"]),
        min_samples=conv_reach(kernels, strides),
    )


def fit_moonshine(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read Moonshine's encoder: three unpadded convolutions on the waveform, blocks, a last norm."""
    encoder = model.encoder
    convolutions = [encoder.conv1, encoder.conv2, encoder.conv3]
    kernels = [conv.kernel_size[0] for conv in convolutions]
    strides = [conv.stride[0] for conv in convolutions]
    return Fitting(
        module=encoder,
        sample_rate=settings["sampling_rate"],
        taps=block_taps(encoder.layers),
        final=Tap(encoder.layer_norm),
        widths=even_widths(config.hidden_size, len(encoder.layers)),
        frontend=normalised if settings.get("do_normalize", False) else raw,
        grid=conv_grid(kernels, strides, settings["sampling_rate"]),
        min_samples=conv_reach(kernels, strides),
    )


def fit_mert(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read MERT, which is numerically a HuBERT as long as its two extras are off."""
    for extra, what in (("feature_extractor_cqt", "a CQT beside the waveform"), ("deepnorm", "DeepNorm")):
        if getattr(config, extra, False):
            raise ModelError(
                f"this MERT has {what} ({extra} in config.json), which HuBERT has not; loading it as one would give "
                "wrong numbers, and its remote code is never run: use m-a-p/MERT-v1-95M"
            )
    own_rate = getattr(config, "sample_rate", settings["sampling_rate"])
    if own_rate != settings["sampling_rate"]:
        raise ModelError(
            f"config.json says {own_rate} Hz, the preprocessor {settings['sampling_rate']} Hz; mend one of them"
        )
    return fit_waveform(model, config, settings)


def even_widths(width: int, n_layers: int) -> dict[Layer, int]:
    """Return the widths of a stack whose layers are all equally wide."""
    return {**dict.fromkeys(range(n_layers + 1), width), "final": width}


def raw(waveform: np.ndarray) -> torch.Tensor:
    """Return the waveform [samples] as it is."""
    return torch.from_numpy(np.require(waveform, np.float32, ["C", "W"]))


def normalised(waveform: np.ndarray) -> torch.Tensor:
    """Return the waveform [samples] with mean 0 and variance 1, as `Wav2Vec2FeatureExtractor` makes it."""
    return raw((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7))
