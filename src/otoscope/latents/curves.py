"""A second pass over the codes: how strong each latent is when it is active, and its course in time in chosen clips."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from otoscope.latents.activity import Activity, Codes, rows_of

N_BINS = 20
"""Of the histograms, between 0 and a latent's highest code."""


@dataclass(frozen=True)
class Moments:
    """When rows are, in steps from the start of their clip.

    Attributes
    ----------
    index : int [rows]
        The step of each row; several rows (bands, overlapping crops) may share one.
    start_s : float [clips]
        The time of step 0, in seconds from the clip's start.
    n : int [clips]
        Steps of each clip.
    step_s : float
    """

    index: np.ndarray
    start_s: np.ndarray
    n: np.ndarray
    step_s: float


def moments_of(rows: pd.DataFrame, clip_of: np.ndarray, clip_start_s: np.ndarray) -> Moments | None:
    """Return the moments of rows that are frames, None where a row is a whole crop.

    Parameters
    ----------
    rows : DataFrame
        Of a store: has ``time_s`` where rows are frames.
    clip_of : int [rows]
    clip_start_s : float [clips]
        Where clips start in their recordings.
    """
    if "time_s" not in rows:
        return None
    time_s = rows.time_s.to_numpy(float) - clip_start_s[clip_of]
    n_clips = len(clip_start_s)
    start_s = np.full(n_clips, np.inf)
    np.minimum.at(start_s, clip_of, time_s)
    start_s[~np.isfinite(start_s)] = 0.0
    steps = np.diff(time_s)[np.diff(clip_of) == 0]
    steps = steps[steps > 1e-6]
    step_s = float(np.median(steps)) if len(steps) else 1.0
    index = np.rint((time_s - start_s[clip_of]) / step_s).astype(np.int64)
    n = np.zeros(n_clips, np.int64)
    np.maximum.at(n, clip_of, index + 1)
    return Moments(index, start_s, n, step_s)


def measure_courses(
    codes: Codes,
    activity: Activity,
    clip_of: np.ndarray,
    wanted: pd.DataFrame,
    moments: Moments | None,
    *,
    on_rows: Callable[[int], None] = lambda n: None,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Go through codes a second time.

    Parameters
    ----------
    codes, activity, clip_of
        As in, and from, `measure_activity`.
    wanted : DataFrame
        ``clip, latent, peak``: the pairs whose course is wanted, and their highest code, without doubles.
    moments : Moments or None
        None: there are no courses.

    Returns
    -------
    histograms : int [latents, 20]
        How many rows are how strong, between 0 and the latent's highest code, where it is active.
    curves : DataFrame
        ``clip, latent, start_s, step_s, peak, values``: `values` are whole numbers, 255 the `peak`; value i stands
        for ``start_s + i step_s`` to one step later, in seconds from the clip's start.
    """
    wanted = wanted.sort_values(["clip", "latent"], ignore_index=True) if moments else wanted.iloc[:0]
    pairs = wanted["clip"].to_numpy()
    bounds = np.searchsorted(pairs, np.arange(activity.n_clips + 1))
    lengths = moments.n[pairs] if moments else np.zeros(0, np.int64)
    offset = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.zeros(offset[-1], np.uint8)
    latents, scale = wanted.latent.to_numpy(), (255 / wanted.peak.to_numpy(float)).astype(np.float32)
    histogram = np.zeros(activity.n_latents * N_BINS, np.int64)
    to_bin = N_BINS / np.where(activity.peak > 0, activity.peak, 1).astype(np.float32)
    for places, z in codes.active():
        level = np.minimum((z.data * to_bin[z.indices]).astype(np.int64), N_BINS - 1)
        histogram += np.bincount(z.indices.astype(np.int64) * N_BINS + level, minlength=len(histogram))
        if moments is not None and len(wanted):
            clip = clip_of[places]
            first = np.flatnonzero(np.diff(clip, prepend=-1))
            run = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(clip))))
            pair_of = np.full((len(first), activity.n_latents), -1)
            for known, start, stop in zip(pair_of, bounds[clip[first]], bounds[clip[first] + 1]):
                known[latents[start:stop]] = np.arange(start, stop)
            row = rows_of(z)
            pair = pair_of[run[row], z.indices]
            row, pair, value = (entries[pair >= 0] for entries in (row, pair, z.data))
            levels = np.rint(value * scale[pair]).clip(0, 255).astype(np.uint8)
            np.maximum.at(flat, offset[pair] + moments.index[places[row]], levels)
        on_rows(len(places))
    curves = wanted.assign(
        start_s=moments.start_s[pairs] - moments.step_s / 2 if moments else np.zeros(0),
        step_s=moments.step_s if moments else np.nan,
        values=[flat[start:stop] for start, stop in itertools.pairwise(offset)],
    )
    return histogram.reshape(activity.n_latents, N_BINS), curves
