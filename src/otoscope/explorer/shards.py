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
    path = data / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(name, value), encoding="utf-8")


def sound_script(name: str, mp3: bytes) -> str:
    """Return the text of a script that holds a sound."""
    return f'put({json.dumps(name)},"{base64.b64encode(mp3).decode()}");\n'


def write_sound_script(data: Path, name: str, mp3: bytes) -> None:
    """Write a script that holds a sound below the folder `data`."""
    path = data / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sound_script(name, mp3), encoding="utf-8")


def figures(values: Any, digits: int = 4) -> list[float | None]:
    """Return numbers with few significant digits, missing ones as None."""
    return [None if value != value or value is None else float(f"{value:.{digits}g}") for value in values]
