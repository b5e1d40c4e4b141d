"""What an extraction will do, fixed before it starts: crops, shards, the rows each shard may fill, provenance.

The plan depends on nothing but the arguments, so a resumed run, or another process of a Slurm array, makes the
same one.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from otoscope.activations.crops import Crop, cut, parse_crop
from otoscope.activations.pooling import check_pool, keeps_frames, rows_per_crop
from otoscope.activations.records import FORMAT
from otoscope.clips import check_clips, clips_hash
from otoscope.encoders.encoder import Encoder
from otoscope.encoders.tokens import Layer
from otoscope.errors import AudioError, InputError

STORE_DTYPES = ("float32", "float16")
CHUNK_ROWS = 4096
SHARD_BYTES = 128 * 2**20  # what a shard's rows take in memory before they are written
SHARD_CROPS = 64
MOST_SHARDS = 4096
"""Beyond so many, shards hold more crops instead: each is some twenty files, and file systems suffer from millions."""
LONGEST_PASS_S = (
    120.0  # for models that set no limit: attention and the first convolution outgrow memory beyond
)
_LIBRARIES = ("torch", "transformers", "numpy", "soundfile", "soxr", "zarr")


@dataclass(frozen=True)
class Shard:
    """A fixed list of crops, and its place in the arrays: rows `first_row` to `first_row + capacity`."""

    number: int
    first_crop: int
    stop_crop: int
    first_row: int
    capacity: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.number:05d}"


@dataclass(frozen=True)
class Plan:
    """Crops, shards and settings of one extraction."""

    crops: pd.DataFrame
    shards: list[Shard]
    layers: list[Layer]
    pool: str
    dtype: str
    widths: dict[Layer, int]
    chunk_rows: int
    provenance: dict[str, Any]

    @property
    def n_rows(self) -> int:
        """Length of the arrays; rows that no crop fills are never written."""
        return self.shards[-1].first_row + self.shards[-1].capacity

    def paths(self, shard: Shard) -> list[str]:
        """Return the recordings of a shard, in order."""
        return list(dict.fromkeys(self.crops.path.iloc[shard.first_crop : shard.stop_crop]))


def make_plan(
    clips: pd.DataFrame,
    encoder: Encoder,
    *,
    layers: str | Iterable[Layer],
    crop: str | Crop,
    pool: str,
    dtype: str,
    skip_unreadable: bool,
) -> Plan:
    """Return the plan, or say which clip cannot be served before any work is done."""
    left_out = list(clips.attrs.get("left_out", []))
    clips = check_clips(clips)
    rule = parse_crop(crop)
    found = encoder.layers(layers)
    crops = cut(clips, rule)
    crops["n_given"] = np.rint(crops.given_s * encoder.sample_rate).astype(int)
    crops["problem"] = [_problem(encoder, n) for n in crops.n_given]
    bad = crops[crops.problem != ""]
    if len(bad) and not skip_unreadable:
        raise AudioError(bad.path.iloc[0], f"{bad.problem.iloc[0]} (clip '{bad.clip_id.iloc[0]}')")
    widths = {layer: encoder.widths[layer] for layer in found}
    if keeps_frames(check_pool(pool)):
        _check_one_rate(encoder, found)
    bounds = _row_bounds(encoder, crops, pool, found[0])
    row_bytes = sum(widths.values()) * np.dtype(_check_dtype(dtype)).itemsize
    shards, chunk_rows = _shards(crops.clip_id.to_numpy(), bounds, row_bytes)
    provenance = provenance_of(clips, encoder, layers=found, crop=rule, pool=pool, dtype=dtype)
    provenance |= {"shards": len(shards), "left_out": left_out}
    if encoder.folder is not None:
        provenance["folder"] = str(encoder.folder)
    if pool in ("tokens", "bands") and (bands_hz := _bands_hz(encoder, found)):
        provenance["bands_hz"] = bands_hz
    return Plan(crops, shards, found, pool, dtype, widths, chunk_rows, provenance)


def provenance_of(
    clips: pd.DataFrame,
    encoder: Encoder,
    *,
    layers: str | Iterable[Layer] = "all",
    crop: str | Crop = "full",
    pool: str = "mean",
    dtype: str = "float32",
) -> dict[str, Any]:
    """Return everything the numbers of a store depend on, ready for JSON."""
    return {
        **encoder.provenance(),
        "layers": [str(layer) for layer in encoder.layers(layers)],
        "crop": str(parse_crop(crop)),
        "pool": check_pool(pool),
        "dtype": _check_dtype(dtype),
        "clips": clips_hash(clips),
        "n_clips": len(clips),
        "format": FORMAT,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _LIBRARIES},
        },
    }


def provenance_hash(provenance: dict[str, Any]) -> str:
    """Return 8 hex digits of the settings: without library versions, folders, and what "auto" meant on one machine."""
    settings = {
        key: value
        for key, value in provenance.items()
        if key not in ("versions", "shards", "left_out", "folder", "precision", "bands_hz")
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:8]


def store_name(provenance: dict[str, Any]) -> str:
    """Return the folder name of a store inside a run: ``<encoder>-<8 hex of the provenance hash>``."""
    return f"{provenance['encoder']}-{provenance_hash(provenance)}"


def _bands_hz(encoder: Encoder, layers: Iterable[Layer]) -> dict[str, list[list[float]]]:
    """Return from where to where the bands of each layer look, low before high; nothing where none has bands."""
    found = {str(layer): encoder.tokens(encoder.min_samples, layer).bands_hz for layer in layers}
    return {layer: edges.round(2).tolist() for layer, edges in found.items() if edges is not None}


def _check_dtype(dtype: str) -> str:
    if dtype not in STORE_DTYPES:
        raise InputError(f"a store holds {' or '.join(STORE_DTYPES)}, not '{dtype}'")
    return dtype


def _problem(encoder: Encoder, n_given: int) -> str:
    """Return why an input of this length cannot be served, or an empty string."""
    if n_given < encoder.min_samples:
        return (
            f"is too short for {encoder.name}: {n_given} samples at {encoder.sample_rate} Hz, "
            f"{encoder.min_samples} needed"
        )
    if encoder.max_samples is None and n_given > LONGEST_PASS_S * encoder.sample_rate:
        return (
            f"gives a crop of {n_given / encoder.sample_rate:.0f} s, and one pass takes at most {LONGEST_PASS_S:g} s; "
            "use windows, such as crop 'windows:30'"
        )
    return ""


def _check_one_rate(encoder: Encoder, layers: list[Layer]) -> None:
    rates = {layer: round(1 / encoder.tokens(encoder.sample_rate, layer).hop_s, 3) for layer in layers}
    if len(set(rates.values())) > 1:
        raise InputError(
            f"the layers of {encoder.name} run at several frame rates "
            f"({', '.join(f'{layer}: {rate:g} Hz' for layer, rate in rates.items())}), so their frames do not fit into "
            "one store; ask for layers of one rate, or for pool 'mean'"
        )


def _row_bounds(encoder: Encoder, crops: pd.DataFrame, pool: str, layer: Layer) -> np.ndarray:
    """Return how many rows each crop gives at most; decoding may end a sample or two beside the planned length."""
    if pool in ("mean", "paper"):
        return np.ones(len(crops), int)

    @cache
    def bound(n_given: int) -> int:
        pieces = n_pieces(encoder, n_given)
        n_samples = -(-n_given // pieces) + 2
        tokens = encoder.tokens(n_samples, layer)
        rows = rows_per_crop(tokens, n_samples / encoder.sample_rate, pool)
        return rows if pool == "bands" else rows * pieces

    return np.array([bound(n) if not problem else 0 for n, problem in zip(crops.n_given, crops.problem)])


def n_pieces(encoder: Encoder, n_samples: int) -> int:
    """Return into how many equal pieces an input is cut so that the model takes each in one pass."""
    return 1 if encoder.max_samples is None else max(-(-n_samples // encoder.max_samples), 1)


def _shards(clip_ids: np.ndarray, bounds: np.ndarray, row_bytes: int) -> tuple[list[Shard], int]:
    """Cut the list of crops between clips, or within a clip that alone would overflow a shard.

    Every shard begins on a chunk of its own, so that two processes never write to one chunk.
    """
    limit = max(SHARD_BYTES // row_bytes, 1)
    most_crops = max(SHARD_CROPS, -(-len(bounds) // MOST_SHARDS))
    cuts, start, rows = [0], 0, 0
    for i, bound in enumerate(bounds.tolist()):
        full = rows + bound > limit or i - start >= most_crops
        if i > start and full and (clip_ids[i] != clip_ids[i - 1] or rows + bound > limit):
            cuts.append(i)
            start, rows = i, 0
        rows += bound
    cuts.append(len(bounds))
    filled = [max(int(bounds[a:b].sum()), 1) for a, b in pairwise(cuts)]
    chunk_rows = min(max(filled), CHUNK_ROWS)
    shards, first_row = [], 0
    for number, (a, b, rows) in enumerate(zip(cuts, cuts[1:], filled)):
        capacity = -(-rows // chunk_rows) * chunk_rows
        shards.append(Shard(number, a, b, first_row, capacity))
        first_row += capacity
    return shards, chunk_rows
