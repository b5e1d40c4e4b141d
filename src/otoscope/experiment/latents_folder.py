"""A description of latents on disk: one folder a dictionary, ``about.json`` and a parquet file for each table."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope import files
from otoscope.errors import InputError
from otoscope.tables import parquet_bytes, read_parquet

if TYPE_CHECKING:
    from otoscope.latents import Description

ABOUT = "about.json"
TABLES = (
    "latents",
    "examples",
    "labels",
    "factors",
    "neighbours",
    "clips",
    "activity",
    "curves",
    "judged",
)

BYTES_PER_LATENT = 1_300
"""Evidence, examples and neighbours (measured on 512 and 1,024 latents)."""
BYTES_PER_FIRING = 14
"""Of the table of which latents fire in which clips, a row."""
SHOWN_PER_LATENT, STRIPS_PER_CLIP, BYTES_PER_STEP = 26, 32, 0.4
"""Curves of frames: clips of a latent, latents of a clip, and bytes of a frame."""


def tables_bytes(n_latents: int, k: float, n_clips: int, frames_per_clip: float) -> int:
    """Return about how many bytes a description takes, at most; `frames_per_clip` is 0 where rows are clips."""
    firing = n_clips * min(n_latents, k * max(frames_per_clip, 1.0))
    steps = frames_per_clip * (SHOWN_PER_LATENT * n_latents + STRIPS_PER_CLIP * n_clips)
    return int(BYTES_PER_LATENT * n_latents + BYTES_PER_FIRING * firing + BYTES_PER_STEP * steps)


def write_latents(described: Description, folder: str | Path) -> Path:
    """Write a description into `folder`, whole or not at all; one that lies there is replaced.

    Raises
    ------
    InputError
        If the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / ABOUT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"'{folder}' holds something other than latents; name a folder that is new or empty")
    try:
        if folder.is_symlink():  # taken over from another run
            folder.unlink()
        with files.whole_folder(folder.with_name(f"{folder.name}.new")) as draft:
            for name in TABLES:
                table = getattr(described, name)
                if name == "clips":  # a folder may be carried elsewhere; the recordings stay where they are
                    table = table.assign(path=[os.path.abspath(path) for path in table.path])
                (draft / f"{name}.parquet").write_bytes(parquet_bytes(table))
            files.write_json(draft / ABOUT, described.about)
        if folder.exists():
            shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.new").rename(folder)
    except OSError as error:
        raise InputError(f"cannot write '{folder}' ({error.strerror or error})") from error
    return folder


def read_latents(folder: str | Path) -> Description:
    """Read what `write_latents` wrote.

    Raises
    ------
    InputError
        If it is no such folder, or a file of it is missing.
    """
    from otoscope.latents import Description

    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise InputError(f"'{folder}' holds no described latents; make some with 'otoscope latents'")
    missing = [name for name in TABLES if not (folder / f"{name}.parquet").is_file()]
    if missing:
        raise InputError(f"'{folder}' lacks {missing[0]}.parquet; make it anew with 'otoscope latents'")
    tables = {name: read_parquet(folder / f"{name}.parquet") for name in TABLES}
    return Description(files.read_mapping(folder / ABOUT), **tables)
