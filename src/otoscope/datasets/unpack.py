"""Unpack an archive that came from outside: nothing leaves its folder, and the folder appears whole or not at all."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from otoscope.compute import progress
from otoscope.errors import InputError
from otoscope.files import clear_drafts, whole_folder

_CHUNK_BYTES = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError, NotImplementedError,
)  # fmt: skip
"""RuntimeError: zipfile's word for an encrypted file; NotImplementedError: for a compression it does not know."""


def unpack(archive: Path, target: Path, *, limit_bytes: int, show_progress: bool = True) -> None:
    """Unpack a .zip or a tar (.tar.gz, .tgz) into the new folder `target`.

    Parameters
    ----------
    archive : Path
        The file.
    target : Path
        Appears, by renaming, once everything is unpacked.
    limit_bytes : int
        What its files may come to; more is taken for an attack or a mistake.
    show_progress : bool
        False draws no bar.

    Raises
    ------
    InputError
        If the archive is damaged or no archive, names a place outside its folder, holds a link or a device, is
        encrypted, or would come to more than `limit_bytes` or than the disk has free.
    """
    clear_drafts(target)
    try:
        with whole_folder(target) as draft:
            _unpack_into(draft, archive, limit_bytes, show_progress)
    except FileExistsError as error:
        raise InputError(f"{archive} names a file twice ('{error.filename}'); not unpacked") from error
    except _DAMAGED as error:
        raise InputError(f"{archive} cannot be unpacked ({error}); delete it and fetch it again") from error


def _unpack_into(folder: Path, archive: Path, limit_bytes: int, show_progress: bool) -> None:
    reader = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    left = min(limit_bytes, shutil.disk_usage(folder).free)
    with progress(f"unpacking {archive.name}", None, unit="files", show=show_progress) as bar:
        for name, size, content in reader(archive):
            left -= size
            if left < 0:
                raise InputError(
                    f"{archive} would unpack to more than {limit_bytes / 1e9:.3g} GB, or than the disk has free; "
                    "nothing was unpacked"
                )
            _write(folder / _inside(archive, name), content)
            bar.advance()


def _zip_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield (name, size, content) of each file; what is said of all is checked before the first is written."""
    with zipfile.ZipFile(archive) as pack:
        for member in pack.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(f"{archive} holds a link or a device ('{member.filename}'); not unpacked")
            _inside(archive, member.filename)
        for member in pack.infolist():
            if not member.is_dir():
                with pack.open(member) as content:
                    yield member.filename, member.file_size, content


def _tar_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(archive) as pack:
        for member in pack:
            if member.isdir():
                continue
            content = pack.extractfile(member) if member.isreg() else None
            if content is None:
                raise InputError(f"{archive} holds a link or a device ('{member.name}'); not unpacked")
            yield member.name, member.size, content
        if pack.fileobj is not None:
            pack.fileobj.read(_CHUNK_BYTES)  # to the end, where gzip keeps its checksum


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Return a member's name as a path below its folder, or refuse it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0] or "\0" in name:
        raise InputError(f"{archive} names a place outside its folder ('{name}'); not unpacked")
    return path


def _write(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
