"""Where in a folder a data set lies: people unpack archives at different depths. And what in it is a recording."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from otoscope.audio import SUFFIXES
from otoscope.errors import InputError

_NOT_THE_USERS = ("__MACOSX", "@eaDir")
"""Folders that macOS's archives and Synology's indexer add."""


def files_below(root: Path, *suffixes: str) -> tuple[list[Path], list[Path]]:
    """Return the files below `root` with one of these suffixes, sorted, and those of them that are hidden.

    Hidden is what begins with a dot, such as the resource forks of macOS (``._x.wav``) and the caches of sync tools, or
    lies in a hidden folder. Links are followed, each folder once.

    Parameters
    ----------
    root : Path
    *suffixes : str
        In small letters; default: those of recordings.
    """
    wanted = suffixes or SUFFIXES
    seen: set[str] = set()
    files: list[str] = []
    hidden: list[str] = []
    for folder, is_hidden, names in _walk(root, seen):
        for name in names:
            if name.lower().endswith(wanted):
                (hidden if is_hidden or name.startswith(".") else files).append(os.path.join(folder, name))
    return _sorted(files), _sorted(hidden)


def _sorted(files: list[str]) -> list[Path]:
    """Return paths in their order; as text, as to sort tens of thousands of Path takes seconds."""
    if os.name != "posix":
        return sorted(map(Path, files))
    return [Path(file) for file in sorted(files, key=lambda file: file.split("/"))]


def _walk(root: Path, seen: set[str]) -> Iterator[tuple[str, bool, list[str]]]:
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        parts = Path(folder).relative_to(root).parts
        yield folder, any(part.startswith(".") or part in _NOT_THE_USERS for part in parts), names


def said_of(what: str, files: list[Path], root: Path) -> list[str]:
    """Return a note on files, or none: how many, and one of them."""
    if not files:
        return []
    example = files[0].relative_to(root) if files[0].is_relative_to(root) else files[0]
    return [f"{len(files)} {what}, such as '{example}'"]


def folder_with(root: str | Path, *names: str, dataset: str, expected: str) -> Path:
    """Return `root`, or the first folder at most two levels below it, that holds one of `names`.

    Parameters
    ----------
    root : path
        What the user named.
    *names : str
        Files or folders (with ``/``) by which the data set is known.
    dataset, expected : str
        For the message: the set's name, and its layout in a few words.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{dataset}: no such folder: '{root}'")
    for folders in ([root], root.glob("*"), root.glob("*/*")):
        for folder in sorted(folders):
            if folder.name != "__MACOSX" and any((folder / name).exists() for name in names):
                return folder
    holds = sorted(path.name for path in root.iterdir())
    raise InputError(
        f"{dataset}: '{root}' does not hold it: expected {expected}; it holds "
        f"{', '.join(holds[:6]) or 'nothing'}{', ...' if len(holds) > 6 else ''}"
    )
