"""What the shards of one dictionary hold: plain data, made of its latents tables.

Clips are called by their number among those that are shown, so that no table says a clip's id twice.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from otoscope.explorer.layout import who_fires_together
from otoscope.explorer.reading import NEEDED, Dictionary
from otoscope.explorer.shards import figures

LATENTS_A_SHARD = 32
CLIPS_A_SHARD = 16
MOST_STRIPS = 32
"""So many latents of a clip are drawn over time; the others are listed."""

_OWN = {"clip_id", "path", "start_s", "stop_s", "split", "group", "channel"}

Curves = dict[tuple[int, int], list]
"""(number of the clip, latent) -> start in s, step in s, peak, and a byte a step in base64."""


def shown_clips(dictionaries: list[Dictionary]) -> pd.DataFrame:
    """Return the clips that some page shows, in the order of their ids; their places are their numbers.

    A clip that several dictionaries know is one clip; the first one's row counts.
    """
    parts = []
    for dictionary in dictionaries:
        wanted = dictionary.table("examples").clip_id.unique()
        clips = dictionary.table("clips")
        parts.append(clips[clips.clip_id.isin(wanted)])
    clips = pd.concat(parts, ignore_index=True).drop_duplicates("clip_id")
    return clips.sort_values("clip_id", kind="stable", ignore_index=True)


def labels_of(clips: pd.DataFrame) -> list[str]:
    """Return the label columns of a clips table."""
    return [str(column) for column in clips if column not in _OWN]


def overview_table(dictionary: Dictionary) -> dict[str, Any]:
    """Return the columns of the big table, one entry a latent, and the latents' places on the map."""
    latents = dictionary.table("latents").sort_values("latent", kind="stable")
    alive = latents.latent[latents.alive]
    x, y = who_fires_together(dictionary.table("activity"), alive)
    where = dict(zip(alive, zip(x, y)))
    return {
        "latent": [int(latent) for latent in latents.latent],
        "alive": [int(alive) for alive in latents.alive],
        "frequency": figures(latents.frequency),
        "max": figures(latents["max"]),
        "mean_active": figures(latents.mean_active),
        "confidence": figures(latents.confidence, 3),
        "support": figures(_support(latents), 3),
        "auc": figures(latents.label_auc, 3),
        "rho": figures(latents.factor_rho, 3),
        "recurrence": figures(latents.recurrence, 3),
        "held_out": _optional(latents, "held_out_auc"),
        "held_out_random": _optional(latents, "held_out_random_auc"),
        "name": _coded(latents.name),
        "label": _coded(_joined(latents.label_column, latents.label_value)),
        "factor": _coded(latents.factor),
        "x": [round(float(where[latent][0]), 3) if latent in where else None for latent in latents.latent],
        "y": [round(float(where[latent][1]), 3) if latent in where else None for latent in latents.latent],
    }


def _support(latents: pd.DataFrame) -> pd.Series:
    """Return how well each name is supported, 0 to 1.

    Of a name that could be judged, 2 AUC - 1 on the groups that it was not made from; else its own confidence.
    """
    if "held_out_auc" not in latents:
        return latents.confidence
    return (2 * latents.held_out_auc - 1).clip(0, 1).fillna(latents.confidence)


def _strongest_first(factors: pd.DataFrame) -> pd.DataFrame:
    """Return factors as a page lists them: those beyond chance first, then by correlation."""
    keys = factors.assign(chance=~(factors.p_corrected < 0.05), size=-factors.rho.astype(float).abs())
    return keys.sort_values(["latent", "chance", "size"], kind="stable").drop(columns=["chance", "size"])


def curves_of(dictionary: Dictionary, numbers: Mapping[str, int]) -> Curves:
    """Return the activation curves of the clips that are shown."""
    curves = dictionary.table("curves")
    curves = curves[curves.clip_id.isin(numbers)]
    numeric = (figures(curves[name]) for name in ("start_s", "step_s", "peak"))
    return {
        (numbers[clip_id], int(latent)): [start_s, step_s, peak, _base64(values)]
        for clip_id, latent, start_s, step_s, peak, values in zip(
            curves.clip_id, curves.latent, *numeric, curves["values"]
        )
    }


def latent_shards(
    dictionary: Dictionary,
    numbers: Mapping[str, int],
    curves: Curves,
    effects: Mapping[int, list[dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """Yield what the pages of each ``LATENTS_A_SHARD`` latents show, by latent."""
    latents = dictionary.table("latents").sort_values("latent", kind="stable")
    examples = dictionary.table("examples").sort_values(["latent", "rank"], kind="stable")
    clips = examples[examples.clip_id.isin(numbers)].assign(clip=examples.clip_id.map(numbers))
    labels = dictionary.table("labels")
    factors = _strongest_first(dictionary.table("factors"))
    judged = dictionary.table("judged")[NEEDED["judged"].split()]
    counts = judged.astype(int).set_index("latent").to_dict("index")
    neighbours = dictionary.table("neighbours").sort_values("cosine", ascending=False)
    parts = {
        "labels": _rows_of(labels, "column value auc null95 p_corrected"),
        "factors": _rows_of(factors, "factor family unit rho null95 p_corrected"),
        "neighbours": _rows_of(neighbours, "other cosine cofiring"),
    }
    band = clips.band.where(clips.band >= 0) if "band" in clips else pd.Series(np.nan, index=clips.index)
    shown = _rows_of(clips.assign(band=band.astype(float)), "kind clip value peak_s band")
    shards: dict[int, dict[str, Any]] = {}
    for row in latents.itertuples(index=False):
        latent = int(row.latent)
        page: dict[str, Any] = {
            "histogram": [int(count) for count in row.histogram],
            "evidence": _text(row.evidence),
            "caveat": _text(row.caveat),
            "judged": counts.get(latent),
            **{name: rows.get(latent, []) for name, rows in parts.items()},
            "effects": effects.get(latent, []),
            "examples": [
                {
                    "kind": kind,
                    "clip": clip,
                    "value": value,
                    "peak_s": peak_s,
                    "band": None if band is None else int(band),
                    "curve": curves.get((clip, latent)),
                }
                for kind, clip, value, peak_s, band in shown.get(latent, [])
            ],
        }
        shards.setdefault(latent // LATENTS_A_SHARD, {})[str(latent)] = page
    for number in range(max(shards, default=-1) + 1):
        yield shards.get(number, {})


def clip_shards(
    dictionary: Dictionary, numbers: Mapping[str, int], curves: Curves
) -> Iterator[dict[str, Any]]:
    """Yield which latents fire in each ``CLIPS_A_SHARD`` clips, strongest first, and the curves of the strongest."""
    latents = dictionary.table("latents")
    most = dict(zip(latents.latent, latents["max"].replace(0, np.nan)))
    activity = dictionary.table("activity")
    activity["clip"] = _numbers_of(activity.pop("clip_id"), numbers)
    activity = activity[activity["clip"] >= 0].sort_values("max", ascending=False, kind="stable")
    activity["of_max"] = activity["max"] / activity.latent.map(most)
    rows_of = _rows_of(activity, "latent max share of_max", by="clip")
    for first in range(0, len(numbers), CLIPS_A_SHARD):
        shard = {}
        for clip in range(first, min(first + CLIPS_A_SHARD, len(numbers))):
            rows = rows_of.get(clip, [])
            drawn = [row[0] for row in rows if (clip, row[0]) in curves][:MOST_STRIPS]
            shard[str(clip)] = {
                "rows": rows,
                "curves": {str(latent): curves[clip, latent] for latent in drawn},
            }
        yield shard


def _numbers_of(clip_ids: pd.Series, numbers: Mapping[str, int]) -> np.ndarray:
    """Return the number of each row's clip, -1 where it is not shown."""
    codes, ids = clip_ids.factorize()
    return np.array([numbers.get(clip_id, -1) for clip_id in ids], dtype=np.int64)[codes]


def _rows_of(table: pd.DataFrame, columns: str, *, by: str = "latent") -> dict[int, list[tuple]]:
    """Return the rows of each latent as plain values, in the table's order."""
    table = table.sort_values(by, kind="stable")
    cells = [_plain(table[column]) for column in columns.split()]
    keys, starts = np.unique(table[by].to_numpy(), return_index=True)
    stops = np.append(starts[1:], len(table))
    rows = list(zip(*cells))
    return {int(key): rows[start:stop] for key, start, stop in zip(keys, starts, stops)}


def _plain(column: pd.Series) -> list:
    if pd.api.types.is_integer_dtype(column):
        return column.tolist()
    return figures(column) if pd.api.types.is_numeric_dtype(column) else [_text(value) for value in column]


def _optional(table: pd.DataFrame, column: str) -> list[float | None] | None:
    """Return a column that not every latents table has."""
    return figures(table[column], 3) if column in table else None


def _coded(values: Any) -> dict[str, Any]:
    """Return texts as numbers into a list of the different ones."""
    codes, names = pd.factorize(pd.Series([_text(value) for value in values], dtype=object))
    return {"names": list(names), "codes": codes.tolist()}


def _joined(columns: Any, values: Any) -> list[str]:
    return [f"{_text(column)} {_text(value)}".strip() for column, value in zip(columns, values)]


def _base64(values: Any) -> str:
    return base64.b64encode(np.asarray(values, dtype=np.uint8).tobytes()).decode()


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
