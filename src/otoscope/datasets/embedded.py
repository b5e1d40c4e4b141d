"""Recordings inside a parquet table, as Hugging Face's datasets writes them: unpacked once, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.clips import SPLIT_NAMES
from otoscope.contents import signature
from otoscope.errors import InputError
from otoscope.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd

SHARD = re.compile(r"([A-Za-z]+)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.parquet")
"""How datasets names the parts of a split."""

_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff"}


def side_of(path: Path) -> str | None:
    """Return the side of a split that a file's name says it holds, such as ``test-00000-of-00002.parquet``."""
    found = SHARD.fullmatch(path.name)
    return SPLIT_NAMES.get(found.group(1).lower()) if found else None


def is_embedded(table: pd.DataFrame, column: str) -> bool:
    """Whether a column holds recordings themselves."""
    return any(isinstance(value, dict) for value in table[column][:100])


def unpack(table: pd.DataFrame, column: str, path: Path) -> tuple[list[str], list[str]]:
    """Write the recordings of a column to files, each whole or not at all, unless they are there.

    Parameters
    ----------
    table : DataFrame
    column : str
        Of ``{"bytes": ..., "path": ...}``; where there are no bytes, the path is a file beside the table.
    path : Path
        The table's file; with what tells that it changed it names the folder in the cache.

    Returns
    -------
    names : list of str
        The recordings' own names, or their rows.
    files : list of str
        Where they lie.

    Raises
    ------
    InputError
        If a row holds no recording, or the cache cannot be written.
    """
    key = hashlib.sha256(f"{path.resolve()} {signature(path)}".encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "otoscope" / "unpacked" / key
    names: list[str] = []
    files: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row, value in enumerate(table[column]):
            name, file = _unpack_one(value, row, path, folder)
            names.append(name)
            files.append(file)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot unpack the recordings of '{path}' into '{folder}' ({reason})") from error
    if len(set(names)) < len(names):
        names = [f"{row:06d}-{name}" for row, name in enumerate(names)]
    return names, files


def _unpack_one(value: Any, row: int, path: Path, folder: Path) -> tuple[str, str]:
    content = value.get("bytes") if isinstance(value, dict) else None
    own = str(value.get("path") or "") if isinstance(value, dict) else ""
    if content is None:
        if not own:
            raise InputError(f"{path}: row {row + 1} holds no recording")
        return own, str(path.parent / own)
    name = Path(own).name or f"{path.stem}-{row:06d}{_MAGIC.get(content[:4], '.mp3')}"
    file = folder / f"{row:06d}-{name}"
    if not file.is_file() or file.stat().st_size != len(content):
        write_bytes(file, content)
    return name, str(file)
