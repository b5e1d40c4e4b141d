"""What a file holds, as one hash: made once, and known again for as long as the file stays as it is."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from otoscope.errors import InputError
from otoscope.files import write_text

Signature = tuple[int, int, int, int, int]
"""Of a file that stays as it is: size, times of change of its content and of its entry in ns, inode, device.

A program may set the time of its content back, as ``rsync -t`` does; that of its entry it cannot.
"""
SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may be changed once more within one tick of the file system's clock."""


class Content(NamedTuple):
    """What a file held when it was read."""

    sha256: str
    signature: Signature
    is_settled: bool
    """Whether the signature will tell any later change."""


def signature(path: str | os.PathLike[str]) -> Signature:
    """Return what tells that a file has changed; OSError if there is none."""
    if "\0" in os.fspath(path):
        raise FileNotFoundError(errno.ENOENT, "no such file", os.fspath(path))
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def content(path: str | os.PathLike[str]) -> Content:
    """Return what a file holds, read only if it is not known already.

    Raises
    ------
    InputError
        If the file is changed while it is read.
    OSError
        If it cannot be read.
    """
    before = signature(path)
    if before in _known:
        return _known[before]
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if signature(path) != before:
        raise InputError(f"{path} was changed while it was read; wait until it is whole")
    _size, written_ns, entered_ns, *_place = before
    settled = _now_ns() - max(written_ns, entered_ns) > SETTLED_NS
    made = Content(found, before, settled)
    if settled:
        _known[before] = made
    return made


def remember(seen: Iterable[tuple[str, Signature]]) -> None:
    """Believe what was noted of files before: each holds this as long as it has this signature."""
    for sha256, found in seen:
        _known[found] = Content(sha256, found, True)


def hashes(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Content]:
    """Return what each file holds, hashed in threads; a file that cannot be read is left out."""
    from otoscope.compute import thread_map

    found = {name: _known_content(name) for name in dict.fromkeys(os.fspath(path) for path in paths)}
    unknown = [name for name, known in found.items() if known is None]
    found |= dict(zip(unknown, thread_map(_content, unknown)))
    return {name: held for name, held in found.items() if held is not None}


def load(path: str | os.PathLike) -> list[tuple[str, Signature]]:
    """Return what `save` wrote; nothing where that cannot be read."""
    import pydantic

    try:
        return pydantic.TypeAdapter(list[tuple[str, Signature]]).validate_json(Path(path).read_bytes())
    except (OSError, ValueError):
        return []


def save(path: str | os.PathLike, seen: Iterable[tuple[str, Signature]]) -> None:
    """Write down what will tell later that files did not change; see `remember`."""
    write_text(path, json.dumps(sorted(seen)))


_known: dict[Signature, Content] = {}
_BEGAN_NS = time.time_ns() - time.monotonic_ns()


def _now_ns() -> int:
    """Return the time, never later than it was when this process began and what has passed since.

    A file is taken for older than it is by no clock that is set forward; one that seems younger is read once more.
    """
    return min(time.time_ns(), _BEGAN_NS + time.monotonic_ns())


def _known_content(path: str) -> Content | None:
    try:
        return _known.get(signature(path))
    except OSError:
        return None


def _content(path: str) -> Content | None:
    try:
        return content(path)
    except OSError:
        return None
