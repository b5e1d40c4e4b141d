"""About how long the stages of a run take on this machine: a crop is heard, a few steps are trained, and multiplied.

Decoding, evaluation between epochs and what other programs do meanwhile are not in these numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.compute import cpu_count, one_thread_each
from otoscope.errors import OtoscopeError
from otoscope.experiment.spec import EncoderSpec, SaesSpec, Spec

if TYPE_CHECKING:
    from otoscope.encoders import Encoder

LARGEST_TRIAL = 100_000_000
"""Weights of the autoencoders of one layer up to which they are built only to be timed."""
_BUDGET_S = 0.5


@dataclass(frozen=True)
class Load:
    """One encoder: its blocks and width, what it will hear (see `needs.store_sizes`), and whether it is here."""

    encoder: EncoderSpec
    n_blocks: int
    width: int
    stores: pd.DataFrame
    here: bool


def stage_times(spec: Spec, clips: pd.DataFrame, loads: Sequence[Load]) -> dict[str, float]:
    """Return seconds by what takes them: hearing by encoders that are here, probes as published, autoencoders."""
    found: dict[str, float] = {}
    step_s = {
        (i, width): training_step_time(section, width)
        for width in {load.width for load in loads}
        for i, section in enumerate(spec.saes)
    }
    probed: list[int] = []
    n_rows = 0
    for load in loads:
        hearing = _hearing_time(spec, load) if load.here else None
        if hearing is not None:
            found["hearing clips"] = found.get("hearing clips", 0.0) + hearing
        n_rows = int(load.stores.learnt.sum())
        if spec.extraction.crops == "in_turn":
            n_rows = int((clips.split == "train").sum())
        probed += [load.width] * (load.n_blocks + 1)
        for i, section in enumerate(spec.saes):
            step = step_s[i, load.width]
            if step is not None:
                n_layers = len(load.encoder.layers) + len(section.beside)
                seconds = step * -(-n_rows // section.batch_size) * section.epochs * n_layers
                found["autoencoders"] = found.get("autoencoders", 0.0) + seconds
            n_codes = len(load.encoder.layers) * len(section.configs()) * len(section.seeds)
            probed += [section.n_latents] * n_codes
    if loads and spec.probing.probe == "linear":
        found["probes"] = probing_time(spec, n_rows, probed, clips[spec.dataset.label].nunique())
    return found


def extraction_time(encoder: Encoder, n_crops: int, crop_s: float) -> float:
    """Return about how many seconds an encoder takes for crops of `crop_s` seconds, all layers; a few are timed."""
    n_samples = max(round(crop_s * encoder.sample_rate), encoder.min_samples)
    pieces = 1 if encoder.max_samples is None else -(-n_samples // encoder.max_samples)
    n_lanes = encoder.n_lanes(n_crops * pieces)
    noise = 0.1 * np.random.default_rng(0).standard_normal((n_lanes, -(-n_samples // pieces)))
    return n_crops * pieces / n_lanes * _timed(lambda: encoder.hidden_states(noise)[encoder.n_layers].cpu())


def probing_time(spec: Spec, n_rows: int, n_features: Iterable[int], n_outputs: int) -> float:
    """Return about how many seconds probes as published take, one for each of `n_features`; some steps are timed."""
    from otoscope.probing import sgd

    settings = spec.probing
    n_steps = -(-n_rows // settings.batch_size) * settings.epochs
    rng = np.random.default_rng(0)
    y = np.eye(n_outputs, dtype=np.float32)[rng.integers(0, n_outputs, 32 * settings.batch_size)]
    total_s = 0.0
    for width, count in zip(*np.unique(list(n_features), return_counts=True)):
        layer = sgd.LinearLayer.draw(int(width), n_outputs, seed=0)
        x = rng.standard_normal((len(y), int(width))).astype(np.float32)
        train = partial(layer.train_epoch, x, y, np.arange(len(x)), head=sgd.SOFTMAX, lr=settings.lr)
        with one_thread_each():
            total_s += count * n_steps * _timed(partial(train, batch_size=settings.batch_size)) / 32
    return float(total_s) / cpu_count()  # as many at a time


def training_step_time(settings: SaesSpec, width: int) -> float | None:
    """Return about how many seconds a step of all autoencoders of one layer takes; None if too large to try."""
    from otoscope.saes import train_saes

    configs = settings.configs()
    if 2 * width * settings.n_latents * len(configs) * len(settings.seeds) > LARGEST_TRIAL:
        return None
    rows = np.random.default_rng(0).standard_normal((128 * settings.batch_size, width)).astype(np.float32)

    def train(n_steps: int) -> float:
        started = time.perf_counter()
        part, size = {0: rows[: n_steps * settings.batch_size]}, settings.batch_size
        train_saes(
            part, configs, seeds=settings.seeds, lr=settings.lr, batch_size=size, epochs=1, progress=False
        )
        return time.perf_counter() - started

    overhead_s = min(train(1), train(1))
    for n_steps in (8, 32, 128):  # enough of them to stand out
        seconds = train(n_steps) - overhead_s
        if seconds > 1:
            break
    return max(seconds, 0.0) / (n_steps - 1)


def duration(seconds: float) -> str:
    """Write seconds as people do: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _hearing_time(spec: Spec, load: Load) -> float | None:
    """Return about how many seconds an encoder takes for all it will hear; None if it does not load."""
    from otoscope.encoders import load_encoder

    asked = load.encoder
    place = {"device": spec.extraction.device, "dtype": spec.extraction.precision}
    try:
        model = load_encoder(asked.name, revision=asked.revision, as_family=asked.as_family, **place)
    except OtoscopeError:  # the stage that needs it says what is wrong
        return None
    stores = [(row.crops, row.sound_s / row.crops) for row in load.stores.itertuples() if row.crops]
    return sum(extraction_time(model, n, seconds) for n, seconds in stores)


def _timed(function: Callable[[], object]) -> float:
    """Return the seconds of the fastest of a few calls, after one that warms up."""
    function()
    fastest, spent = np.inf, 0.0
    while spent < _BUDGET_S:
        started = time.perf_counter()
        function()
        fastest, spent = min(fastest, time.perf_counter() - started), spent + time.perf_counter() - started
    return float(fastest)
