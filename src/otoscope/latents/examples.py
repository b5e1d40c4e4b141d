"""Clips to listen to: where a latent is strongest, where less so, and where one would expect it and it is silent."""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.latents.activity import Activity
from otoscope.latents.curves import Moments

N_TOP, N_EACH = 12, 4
QUANTILES = {"q75": 0.75, "q50": 0.5, "q25": 0.25}
STRONGEST = 32
"""Latents of each example's clip whose course in time is kept, beside those it is an example of."""


def choose_examples(
    activity: Activity,
    expected: dict[int, np.ndarray],
    similar: np.ndarray,
    *,
    time_s: np.ndarray | None,
    band: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return clips for each latent that fires.

    Parameters
    ----------
    activity : Activity
    expected : dict of latent to bool [clips]
        Where a latent's name says that it fires; a latent without a name is not there.
    similar : int [clips, columns]
        Codes of labels and group: silent clips are the better controls, the more of them they share with the top clip.
    time_s : float [rows], optional
        Time of each row from its clip's start; None where rows are clips.
    band : int [rows], optional
        Frequency patch of each row.

    Returns
    -------
    DataFrame
        ``latent, kind, rank, clip, value, mean, peak_s``, maybe ``band``. `kind` is top (12 strongest), q75, q50, q25
        (the four whose maximum is nearest to that quantile of the clips where it fires), control (silent, though its
        name holds) or alike (silent, and those most like the top clip; four of both kinds). A clip stands once for a
        latent.
    """
    found = []
    shares = np.array(list(QUANTILES.values()), dtype=activity.max.dtype)
    for latent in np.flatnonzero(np.diff(activity.starts)).tolist():
        own = activity.of(latent)
        clip, value = activity.clip[own], activity.max[own]
        order = np.argsort(-value, kind="stable")
        chosen = [("top", order[:N_TOP])]
        left = order[N_TOP:]
        for kind, middle in zip(QUANTILES, np.quantile(value, shares)):
            away = np.abs(value[left] - middle)
            nearest = left[np.argsort(away, kind="stable")[:N_EACH]]
            chosen.append((kind, nearest))
            left = left[~np.isin(left, nearest)]
        for kind, places in chosen:
            entries = own.start + places
            found.append(_rows(latent, kind, clip[places], entries, activity))
        silent = np.ones(activity.n_clips, bool)
        silent[clip] = False
        for kind, controls in _controls(silent, expected.get(latent), similar, int(clip[order[0]])).items():
            found.append(_rows(latent, kind, controls, None, activity))
    columns = ["latent", "kind", "rank", "clip", "value", "mean", "peak_row"]
    if not found:
        return pd.DataFrame(columns=[*columns[:-1], "peak_s"])
    joined = {name: np.concatenate([part[name] for part in found]) for name in columns}
    row = joined.pop("peak_row")
    table = pd.DataFrame(joined)
    fires = row >= 0
    table["peak_s"] = np.where(fires, time_s[row], np.nan) if time_s is not None else np.nan
    if band is not None:
        table["band"] = np.where(fires, band[row], -1)
    return table


def courses_wanted(
    examples: pd.DataFrame, activity: Activity, moments: Moments | None, *, strongest: int = STRONGEST
) -> pd.DataFrame:
    """Return ``clip, latent, peak``: the examples' own pairs, and the strongest latents of each of their clips."""
    columns = ["clip", "latent", "peak"]
    if moments is None or examples.empty:
        return pd.DataFrame(columns=columns)
    entries = pd.DataFrame({"clip": activity.clip, "latent": activity.latent, "peak": activity.max})
    shown = entries[entries["clip"].isin(examples["clip"].unique())]
    relative = shown.peak / activity.peak[shown.latent]
    ranked = shown.assign(relative=relative).sort_values("relative", ascending=False, kind="stable")
    strong = ranked.groupby("clip").head(strongest)[columns]
    own = examples[examples.value > 0].rename(columns={"value": "peak"})[columns]
    return pd.concat([own, strong]).drop_duplicates(["clip", "latent"], ignore_index=True)


def _controls(
    silent: np.ndarray, expected: np.ndarray | None, similar: np.ndarray, top: int
) -> dict[str, np.ndarray]:
    """Return silent clips: first those where the name holds, then those most like the top clip."""
    places = np.flatnonzero(silent)
    alike = (similar[places] == similar[top]).sum(1)
    should = np.zeros(len(places), bool) if expected is None else expected[places]
    order = np.lexsort((-alike, ~should))[:N_EACH]
    chosen, holds = places[order], should[order]
    return {"control": chosen[holds], "alike": chosen[~holds]}


def _rows(
    latent: int, kind: str, clips: np.ndarray, entries: np.ndarray | None, activity: Activity
) -> dict[str, np.ndarray]:
    n = len(clips)
    fires = entries is not None
    return {
        "latent": np.full(n, latent),
        "kind": np.full(n, kind, dtype=object),
        "rank": np.arange(n),
        "clip": clips,
        "value": activity.max[entries] if fires else np.zeros(n, np.float32),
        "mean": activity.mean[entries] if fires else np.zeros(n, np.float32),
        "peak_row": activity.peak_row[entries] if fires else np.full(n, -1),
    }
