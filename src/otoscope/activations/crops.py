"""Crops: what of a clip is listened to."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otoscope.clips import channels
from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

MOST_CROPS = 10_000_000
"""In one store; a row of the table of crops takes some hundred bytes of memory."""
KINDS = ("full", "first", "random", "windows")


@dataclass(frozen=True)
class Crop:
    """A rule that turns a clip into crops.

    Attributes
    ----------
    kind : str
        "full": the whole clip. "first": its first `length_s` seconds. "random": `count` crops of `length_s`,
        drawn anew for every clip from `seed` and the clip's id. "windows": one every `hop_s`, the last one
        ending where the clip ends. A clip shorter than `length_s` is taken whole, once.
    length_s : float
        Length of a crop in seconds.
    count : int
        Crops per clip ("random").
    hop_s : float
        From one window's start to the next one's ("windows").
    seed : int
        Of the draw ("random").
    pad : bool
        Whether what is shorter than `length_s` is filled up with zeros at its end. Most models then give other
        numbers for every frame: their first norm runs over time. Off unless a protocol asks for it.
    """

    kind: str = "full"
    length_s: float = 0.0
    count: int = 1
    hop_s: float = 0.0
    seed: int = 0
    pad: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"unknown crop '{self.kind}'{nearest(self.kind, KINDS)} ({_SPELLINGS})")
        positive = {
            "full": [],
            "first": [self.length_s],
            "random": [self.length_s, self.count],
            "windows": [self.length_s, self.hop_s],
        }[self.kind]
        if self.seed < 0 or not all(0 < number < math.inf for number in positive):
            raise InputError(
                f"crop '{self}' has a length, hop, count or seed that cannot be: lengths, hops and counts are above 0, "
                f"a seed is not below 0 ({_SPELLINGS})"
            )

    def __str__(self) -> str:
        text = {
            "full": "full",
            "first": f"first:{self.length_s:g}",
            "random": f"random:{self.count}x{self.length_s:g}",
            "windows": f"windows:{self.length_s:g}/{self.hop_s:g}",
        }[self.kind]
        seed = f",seed={self.seed}" if self.kind == "random" and self.seed else ""
        return text + seed + (",pad" if self.pad else "")


def parse_crop(text: str | Crop) -> Crop:
    """Return the crop rule that `text` spells.

    ``full``, ``first:5`` (seconds), ``random:8x5`` (eight of 5 s), ``windows:5/2.5`` (5 s every 2.5 s; without
    the hop they do not overlap). Options follow after commas: ``random:8x5,seed=3,pad``.

    Raises
    ------
    InputError
        If `text` is none of these.
    """
    if isinstance(text, Crop):
        return text
    rule, *options = str(text).replace(" ", "").split(",")
    kind, _, numbers = rule.partition(":")
    try:
        crop = _parse_numbers(kind, numbers)
        for option in options:
            name, _, value = option.partition("=")
            if name == "seed" and kind == "random":
                crop = replace(crop, seed=int(value))
            elif option == "pad" and kind != "full":
                crop = replace(crop, pad=True)
            else:
                raise ValueError(option)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"crop '{text}' cannot be read ({_SPELLINGS})") from error
    return crop


def cut(clips: pd.DataFrame, crop: Crop) -> pd.DataFrame:
    """Return the crops of all clips, in the order of the clips.

    Returns
    -------
    DataFrame
        clip_id, path, channel (from 1; 0: the mean of all), crop (0, 1, ... within the clip), start_s and stop_s of
        the sound in the file's time,
        clip_stop_s (nothing beyond is ever heard), given_s (what the model is given: more than the sound where
        the crop is padded).
    """
    import pandas as pd

    clip_ids, paths, starts, stops = (  # lists: pandas' own strings are slow to go through one by one
        clips[column].to_list() for column in ("clip_id", "path", "start_s", "stop_s")
    )
    n_crops = sum(_count(crop, stop_s - start_s) for start_s, stop_s in zip(starts, stops))
    if n_crops > MOST_CROPS:
        raise InputError(
            f"crop '{crop}' makes {n_crops:.3g} crops of these clips; {MOST_CROPS:,} are the most: take a longer hop"
        )
    rows = []
    for clip_id, path, channel, clip_start_s, clip_stop_s in zip(
        clip_ids, paths, channels(clips), starts, stops
    ):
        for number, (offset_s, length_s) in enumerate(_crops(crop, clip_id, clip_stop_s - clip_start_s)):
            start_s = clip_start_s + offset_s
            stop_s = min(start_s + length_s, clip_stop_s)
            given_s = crop.length_s if crop.pad else stop_s - start_s
            rows.append((clip_id, path, channel or 0, number, start_s, stop_s, clip_stop_s, given_s))
    columns = ["clip_id", "path", "channel", "crop", "start_s", "stop_s", "clip_stop_s", "given_s"]
    return pd.DataFrame(rows, columns=columns)


_SPELLINGS = (
    "crops are: full, first:SECONDS, random:COUNTxSECONDS[,seed=N], windows:SECONDS[/HOP]; ',pad' may follow"
)


def _parse_numbers(kind: str, numbers: str) -> Crop:
    if kind == "full":
        if numbers:
            raise ValueError(numbers)
        return Crop()
    if kind == "first":
        return Crop(kind, length_s=float(numbers))
    if kind == "random":
        count, _, length = numbers.partition("x")
        return Crop(kind, count=int(count), length_s=float(length))
    if kind != "windows":
        return Crop(kind)
    length, _, hop = numbers.partition("/")
    return Crop(kind, length_s=float(length), hop_s=float(hop or length))


def _count(crop: Crop, duration_s: float) -> float:
    """Return about how many crops a clip gives."""
    spare_s = duration_s - crop.length_s
    if spare_s <= 0 or crop.kind in ("full", "first"):
        return 1
    return crop.count if crop.kind == "random" else 1 + spare_s / crop.hop_s


def _crops(crop: Crop, clip_id: str, duration_s: float) -> list[tuple[float, float]]:
    """Return (start, length) of each crop, in seconds from the clip's start."""
    if crop.kind == "full":
        return [(0.0, duration_s)]
    spare_s = duration_s - crop.length_s
    if crop.kind == "random" and spare_s > 0:
        # A generator per clip: its crops do not depend on which other clips are in the table.
        rng = np.random.default_rng([crop.seed, zlib.crc32(clip_id.encode())])
        starts = rng.uniform(0.0, spare_s, crop.count)
    elif crop.kind == "windows" and spare_s > 0:
        starts = np.arange(0.0, spare_s + 1e-9, crop.hop_s)
        if spare_s - starts[-1] > 1e-6:
            starts = np.append(starts, spare_s)
    else:
        starts = np.zeros(1)
    length_s = min(crop.length_s, duration_s)
    return [(float(start_s), length_s) for start_s in starts]
