"""Data as scripts: a page that is opened from disk may load no other kind of file.

A shard is one call, ``put("name", "...")``, whose text is gzipped JSON in base64. The browser unpacks it itself. Of a
sound, the text is an MP3 in base64.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any


def pack(value: Any) -> str:
    """Return plain data as gzipped JSON in base64; the same data gives the same text."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def script(name: str, value: Any) -> str:
    """Return a shard's text."""
    return f'put({json.dumps(name)},"{pack(value)}");\n'


def write_shard(data: Path, name: str, value: Any) -> None:
    """Write a shard below the folder `data`; `name` may hold slashes."""
    _write(data, name, script(name, value))


def sound_script(name: str, mp3: bytes) -> str:
    """Return the text of a script that holds a sound."""
    return f'put({json.dumps(name)},"{base64.b64encode(mp3).decode()}");\n'


def write_sound_script(data: Path, name: str, mp3: bytes) -> None:
    """Write a script that holds a sound below the folder `data`."""
    _write(data, name, sound_script(name, mp3))


def _write(data: Path, name: str, text: str) -> None:
    path = data / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def figures(values: Any, digits: int = 4) -> list[float | None]:
    """Return numbers [n] with few significant digits, missing ones as None; those below 1e-290 stay as they are."""
    import numpy as np

    numbers = np.asarray(values, dtype=np.float64)
    size = np.abs(numbers)
    some = (size > 1e-290) & np.isfinite(size)  # 10 to the places must be a number
    places = np.zeros(len(numbers), dtype=int)
    places[some] = digits - 1 - np.floor(np.log10(size[some])).astype(int)
    rounded = numbers.copy()
    for number in np.unique(places[some]):  # as many as there are magnitudes, not numbers
        own = some & (places == number)
        rounded[own] = np.round(numbers[own], int(number))
    if not np.isnan(rounded).any():
        return rounded.tolist()
    return [None if value != value else value for value in rounded.tolist()]
