"""Fetch a published data set and unpack it: ``otoscope download``.

Only sets whose address does not move and whose checksum is published are fetched; of the others it is said where they
are to be had.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from otoscope.datasets.dataset import Source
from otoscope.datasets.load import DATASETS
from otoscope.datasets.transfer import resuming
from otoscope.datasets.unpack import unpack
from otoscope.errors import InputError


def download(
    name: str, folder: str | Path, *, keep_archive: bool = False, show_progress: bool = True
) -> Path:
    """Fetch a data set and unpack it into a folder of its own.

    What is there is not fetched again: an unpacked folder, an archive with the right checksum, or the first part of
    one. The unpacked folder appears whole or not at all.

    Parameters
    ----------
    name : str
        A data set with a source.
    folder : path
        Where its own folder shall stand; made if need be. It serves as the ``root`` of ``load_clips``.
    keep_archive : bool
        Keep the archive once it is unpacked.
    show_progress : bool
        False draws no bars.

    Returns
    -------
    Path
        The unpacked folder.

    Raises
    ------
    InputError
        If the set has no address, the disk is too full, the server cannot be reached, what came is not what was
        published, or the archive is not safe to unpack.
    """
    source: Source | None = DATASETS.get(name).source
    if source is None:
        raise InputError(f"'{name}' is nothing to fetch: it has no source")
    if not source.url:
        raise InputError(
            f"'{name}' is not fetched from here: no lasting address with a checksum is published. Get it at "
            f"{source.page}, unpack it, and give its folder as root (licence: {source.licence})"
        )
    folder = Path(folder)
    target = folder / source.folder
    if target.is_dir():
        return target
    archive = folder / source.archive
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(source, archive)
        _fetch(source, archive, show_progress)
        unpack(archive, target, limit_bytes=3 * source.unpacked_bytes, show_progress=show_progress)
        if not keep_archive:
            archive.unlink()
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror or error}") from error
    return target


def _fetch(source: Source, archive: Path, show_progress: bool) -> None:
    """Let pooch check, move and name the file; our downloader goes on where a broken one stopped."""
    import pooch

    pooch.get_logger().setLevel("ERROR")  # it would say what the bar says
    part = archive.with_name(archive.name + ".part")
    try:
        pooch.retrieve(
            source.url,
            known_hash=source.checksum,
            fname=archive.name,
            path=archive.parent,
            downloader=resuming(part, size_bytes=source.size_bytes, show_progress=show_progress),
        )
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"what came from {source.url} is not the published file (its checksum is not {source.checksum}) and was "
            "thrown away; try again, and if that fails too, fetch it by hand"
        ) from error


def _check_space(source: Source, archive: Path) -> None:
    part = archive.with_name(archive.name + ".part")
    here = sum(file.stat().st_size for file in (archive, part) if file.is_file())
    needed = max(source.size_bytes - here, 0) + source.unpacked_bytes
    free = shutil.disk_usage(archive.parent).free
    if free < needed:
        raise InputError(
            f"'{archive.parent}' has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed "
            f"({source.size_bytes / 1e9:.1f} for the archive, {source.unpacked_bytes / 1e9:.1f} to unpack it)"
        )
