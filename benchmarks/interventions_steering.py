"""The part ``steer`` of ``interventions.py``: words that Whisper hears where nobody speaks.

What counts was settled before 300 sounds were heard: an edit helps if it silences more sounds than it makes speak, by
McNemar's exact test over sounds, at .05 divided by the number of edits; by the published rule (``false_words``), and by
any word at all (``any_words``). Its cost is the share of words that it changes in speech.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from interventions import Ear, Rows, frame_dictionaries, frames, headline, say, speech
from scipy.signal import chirp, lfilter
from scipy.stats import binomtest

from otoscope.interventions import (
    add,
    along,
    matched_latents,
    mean_difference,
    random_direction,
    scores,
    through,
)
from otoscope.interventions.edits import Edit
from otoscope.probing import mean_interval
from otoscope.saes import SparseAutoencoder, codes_of

KINDS = (
    "silence", "white", "pink", "brown", "hum", "swelling", "coloured", "melody", "knocks", "sweeps",
)  # fmt: skip
N_LATENTS, BATCH = 20, 20
MEASURES = ("any_words", "false_words", "no_speech", "changed_words", "loss")
YES_OR_NO = MEASURES[:2]


def noises(n: int, *, seed: int, duration_s: float = 10.0, sample_rate: int = 16_000) -> list[np.ndarray]:
    """Return made sounds without speech, of ten kinds in turn, at random levels of -50 to -15 dB (silence: -80)."""
    rng = np.random.default_rng(seed)
    size = round(duration_s * sample_rate)
    made = []
    for i in range(n):
        kind = KINDS[i % len(KINDS)]
        wave = _wave(kind, rng, size, sample_rate)
        level = 1e-4 if kind == "silence" else 10 ** (rng.uniform(-50, -15) / 20)
        made.append((level * wave / wave.std()).clip(-1, 1).astype(np.float32))
    return made


def _wave(kind: str, rng: np.random.Generator, size: int, rate: int) -> np.ndarray:
    time_s = np.arange(size) / rate
    noise = rng.standard_normal(size)
    if kind in ("pink", "brown"):
        spectrum = np.fft.rfft(noise)
        tilt = np.maximum(np.arange(len(spectrum)), 1.0) ** -(0.5 if kind == "pink" else 1.0)
        return np.fft.irfft(spectrum * tilt, size)
    if kind == "hum":
        f0 = rng.uniform(45, 130)
        return sum(np.sin(2 * np.pi * f0 * h * time_s + rng.uniform(0, 6.28)) / h for h in range(1, 9))
    if kind in ("swelling", "coloured"):
        every = np.arange(0, time_s[-1] + 0.2, 0.1)
        swell = np.interp(time_s, every, rng.uniform(0, 1, len(every)) ** 2)
        if kind == "coloured":
            for centre_hz in rng.uniform((350, 1050, 1750), (650, 1950, 3250)):
                noise = _resonance(noise, centre_hz, 120.0, rate)
        return noise * swell
    if kind == "melody":
        note = size // 20
        pitch = np.repeat(440 * 2 ** (rng.integers(-12, 12, 21) / 12), note)[:size]
        return np.sin(2 * np.pi * np.cumsum(pitch) / rate) * np.exp(-4 * (np.arange(size) % note) / note)
    if kind == "knocks":
        blows = np.zeros(size)
        blows[rng.integers(0, size, 25)] = 1
        return _resonance(blows, rng.uniform(200, 1500), 300.0, rate)
    if kind == "sweeps":
        period_s = rng.uniform(0.5, 3)
        return chirp(time_s % period_s, rng.uniform(100, 500), period_s, rng.uniform(1000, 4000))
    return noise


def _resonance(wave: np.ndarray, centre_hz: float, width_hz: float, rate: int) -> np.ndarray:
    r = np.exp(-np.pi * width_hz / rate)
    return lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * centre_hz / rate), r * r], wave)


def steer_noise(options: argparse.Namespace) -> None:
    """Push a layer towards noise: fewer words on noise? and what does speech lose?"""
    layer = options.layers[0]
    ear = Ear(argparse.Namespace(**vars(options) | {"layers": [layer]}))
    by = ways(options, ear, headline(frame_dictionaries(options, layer)), layer)
    waveforms, who = speech(options)
    sound = noises(options.noises, seed=1)
    batches = []
    for start in range(0, len(sound), BATCH):
        names = [f"noise {i}" for i in range(start, min(start + BATCH, len(sound)))]
        batches.append(("noise", sound[start : start + BATCH], names))
    batches.insert(1, ("speech", waveforms, who))
    kept = Rows(options.work / "steering_clips.csv")
    for clips, own, sides in batches:
        if all(kept.has(clips=clips, side=sides[-1], by=name, dose=dose) for name, dose in by):
            continue
        plain, states = ear.listen(own)
        # What noise's transcript would now cost says nothing, and takes a third of the time.
        answer = ear.again(own, states, plain if clips == "speech" else [None] * len(own))
        for (name, dose), edit in by.items():
            if kept.has(clips=clips, side=sides[-1], by=name, dose=dose):
                continue
            found = scores(ear.words, plain, plain if edit is None else answer({layer: edit}))
            found = found[[measure for measure in MEASURES if measure in found]]
            kept.add(found.assign(clips=clips, side=sides, by=name, dose=dose))
            say(f"{clips} {sides[-1]} {name} {dose}: {found.mean().round(3).to_dict()}")
        for name, table in (
            ("steering", _table(kept.table, layer)),
            ("steering_kinds", _by_kind(kept.table)),
        ):
            table.to_csv(options.out / f"{name}.csv", index=False, float_format="%.6g")


def ways(
    options: argparse.Namespace, ear: Ear, sae: SparseAutoencoder, layer: int
) -> dict[tuple[str, float], Edit | None]:
    """Return what to steer by: all is chosen on other noises and on frames of the training speakers."""
    with torch.no_grad():
        heard = [
            ear.encoder.hidden_states(wave[None], [layer])[layer][0, :500] for wave in noises(10, seed=2)
        ]
    states, of_speech = torch.cat(heard).numpy(), frames(options, layer, most=10_000)
    x = np.concatenate([states, of_speech])
    is_noise = np.arange(len(x)) < len(states)
    codes = codes_of(sae, x)
    gap = codes[is_noise].mean(0) - codes[~is_noise].mean(0)
    ranked = np.argsort(-np.abs(gap), kind="stable")[:N_LATENTS]
    drawn = matched_latents((codes > 0).mean(0), ranked, seed=0)
    raw = mean_difference(x, is_noise)
    any_way = random_direction(raw, seed=0)
    additive: dict[str, Callable[[float], Edit]] = {
        f"{N_LATENTS} latents, noise minus speech": lambda d: through(sae, add(ranked, d * gap[ranked])),
        f"{N_LATENTS} random latents as frequent, as much": lambda d: through(
            sae, add(drawn, d * gap[ranked])
        ),
        "raw direction, noise minus speech": lambda d: along(raw, d),
        "random direction of that norm": lambda d: along(any_way, d),
    }
    by: dict[tuple[str, float], Edit | None] = {("untouched", 0.0): None}
    by |= {(name, dose): make(dose) for dose in options.doses for name, make in additive.items()}
    return by


def _table(kept: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Return a row for each measure of each way to steer; yes and no also beside the untouched model."""
    rows: list[dict[str, Any]] = []
    for (clips, by, dose), own in kept.groupby(["clips", "by", "dose"], sort=False):
        same = kept[(kept.clips == clips) & (kept.by == "untouched")].set_index("side").loc[own.side]
        for measure in MEASURES:
            values = pd.to_numeric(own[measure], errors="coerce").to_numpy()
            about = {"layer": layer, "clips": clips, "by": by, "dose": dose, "measure": measure}
            if measure in YES_OR_NO:
                before = same[measure].to_numpy()
                gone, new = int((before > values).sum()), int((before < values).sum())
                p = binomtest(gone, gone + new).pvalue if gone + new else 1.0
                rows.append(about | _share(values) | {"gone": gone, "new": new, "p": p})
            else:
                found = mean_interval(values, own.side.to_numpy())
                rows.append(about | {"value": found.value, "low": found.low, "high": found.high})
            rows[-1] |= {"n_clips": len(own), "n_groups": own.side.nunique()}
    return pd.DataFrame(rows)


def _share(heard: np.ndarray) -> dict[str, float]:
    """Return a share of independent sounds with Wilson's 95 % interval, which stays within 0 and 1."""
    ends = binomtest(int(heard.sum()), len(heard)).proportion_ci(method="wilson")
    return {"value": heard.mean(), "low": ends.low, "high": ends.high}


def _by_kind(kept: pd.DataFrame) -> pd.DataFrame:
    """Return how many sounds of each kind have a word, untouched and edited."""
    noise = kept[kept.clips == "noise"]
    number = noise.side.str.split().str[1].astype(int)
    noise = noise.assign(kind=[KINDS[i % len(KINDS)] for i in number])
    by = noise.groupby(["kind", "by", "dose"], sort=False)
    return by.agg(
        n_clips=("side", "size"),
        any_words=("any_words", "sum"),
        false_words=("false_words", "sum"),
        no_speech=("no_speech", "mean"),
    ).reset_index()
