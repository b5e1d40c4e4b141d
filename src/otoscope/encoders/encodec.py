"""EnCodec's encoder: strided convolutions, each stage slower and wider, then an LSTM.

A layer means what a stage hands to the next: layer 0 is the first convolution's output, layer i what leaves the
i-th downsampling, layer L the LSTM's output, "final" the embedding that the quantiser would take. Rates and
widths differ from layer to layer, so frames of different stages do not fit into one store.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch

from otoscope.encoders.fitting import Fitting
from otoscope.encoders.taps import Tap
from otoscope.encoders.tokens import Layer, Tokens, even_tokens
from otoscope.errors import ModelError


def fit_encodec(model: Any, config: Any, settings: Mapping[str, Any]) -> Fitting:
    """Read a mono EnCodec that runs over the whole sound; the stereo one works in chunks and is refused."""
    if config.audio_channels != 1 or config.chunk_length_s is not None:
        raise ModelError(
            f"this EnCodec takes {config.audio_channels} channels in chunks of {config.chunk_length_s} s, Otoscope "
            "gives one channel, whole: use facebook/encodec_24khz"
        )
    rate = settings["sampling_rate"]
    if rate != config.sampling_rate:
        raise ModelError(
            f"config.json says {config.sampling_rate} Hz, the preprocessor {rate} Hz; mend one of them"
        )
    stages = list(model.encoder.layers)
    ratios = list(reversed(config.upsampling_ratios))
    per_stage = config.num_residual_layers + 2  # residual blocks, an ELU, the strided convolution
    ends = [stages[0], *(stages[(i + 1) * per_stage] for i in range(len(ratios)))]
    ends.append(stages[-3])  # the LSTM; an ELU and the last convolution follow
    hops: dict[Layer, int] = {i: prod(ratios[:i]) for i in range(len(ratios) + 1)}
    hops[len(ratios) + 1] = hops["final"] = prod(ratios)
    widths: dict[Layer, int] = {i: config.num_filters * 2**i for i in range(len(ratios) + 1)}
    widths[len(ratios) + 1] = widths[len(ratios)]
    widths["final"] = config.hidden_size

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.require(waveform, np.float32, ["C", "W"]))[None]
        if config.normalize:
            samples = samples / (samples.pow(2).mean().sqrt() + 1e-8)
        return samples

    def grid(n_samples: int, layer: Layer, n_tokens: int | None = None) -> Tokens:
        hop = hops[layer]  # causal: token i has heard the hop it stands for, and what came before
        return even_tokens(-(-n_samples // hop), first_s=hop / 2 / rate, hop_s=hop / rate)

    return Fitting(
        module=model.encoder,
        sample_rate=rate,
        taps=[Tap(stage, channels_first=True) for stage in ends],
        final=Tap(stages[-1], channels_first=True),
        widths=widths,
        frontend=frontend,
        grid=grid,
        min_samples=1,
    )
