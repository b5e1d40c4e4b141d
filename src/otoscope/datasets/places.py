"""Where in a folder a data set lies: people unpack archives at different depths."""

from __future__ import annotations

from pathlib import Path

from otoscope.errors import InputError


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
