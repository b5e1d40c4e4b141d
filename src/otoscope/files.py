"""Files and folders that appear whole or not at all, and small files read with an error that says which.

What is written goes to a draft beside its place, is flushed to the disk, and is renamed: whoever reads sees the old
content or the new one, whenever the process or the machine stops.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import FileError, InputError, OtoscopeError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LARGEST_YAML = 100_000
"""Values that a YAML text may stand for."""
PUTS_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf", "oci"}
"""File systems of fsspec whose objects appear whole or not at all by themselves."""


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield where to write a file; when the block ends well it replaces `path`, else nothing has happened.

    Parameters
    ----------
    path : path
        Its place. The folder must be there.

    Yields
    ------
    Path
        A file of the same name (writers go by the suffix) in a hidden folder beside, which is removed afterwards.

    Raises
    ------
    FileError
        If it cannot be written; an OSError too.
    """
    path = Path(path)
    folder = _draft_of(path)
    try:
        folder.mkdir()
        draft = folder / path.name
        yield draft
        flush(draft)
        os.replace(draft, path)
        _flush_folder(path.parent)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "\0" not in str(path):
            raise
        raise _file_error(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a new folder to fill; when the block ends well it is renamed to `path`, else it is removed.

    Parameters
    ----------
    path : path
        Its place; parents are made.

    Yields
    ------
    Path
        A hidden folder beside.

    Raises
    ------
    OSError
        If a folder that is not empty lies at `path` by then: of two processes that try at once, one wins.
    """
    path = Path(path)
    draft = _draft_of(path)
    draft.mkdir(parents=True)
    try:
        yield draft
        inside = list(draft.rglob("*"))
        with ThreadPoolExecutor(
            16
        ) as pool:  # a flush is waiting, and a hundred thousand in turn take minutes
            list(pool.map(flush, [file for file in inside if file.is_file()]))
        for folder in (draft, *(folder for folder in inside if folder.is_dir())):
            _flush_folder(folder)
        os.rename(draft, path)
        _flush_folder(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def clear_drafts(path: str | os.PathLike) -> None:
    """Remove what killed writers of `path` left beside it; only where no other process writes it now."""
    path = Path(path)
    for draft in path.parent.glob(f".{path.name}.*.part"):
        shutil.rmtree(draft, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all; return its path."""
    return write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike, content: bytes) -> Path:
    """Write a file, whole or not at all; return its path."""
    with whole_file(path) as draft:
        draft.write_bytes(content)
    return Path(path)


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write plain data as JSON, whole or not at all; return its path."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def put_bytes(fs: AbstractFileSystem, path: str, content: bytes) -> None:
    """Write a file of an fsspec file system that is not the local disk, whole or not at all as far as it can."""
    fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & PUTS_WHOLE:
        fs.pipe_file(path, content)
        return
    draft = f"{path}.{uuid.uuid4().hex[:8]}.part"
    try:
        fs.pipe_file(draft, content)
        fs.mv(draft, path)
    except BaseException:
        with contextlib.suppress(Exception):
            fs.rm_file(draft)
        raise


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, shared_by: str | None = None) -> Iterator[None]:
    """Hold a folder while it is worked on; whoever else wants it meanwhile is refused, and told who has it.

    The lock is the operating system's: it ends with the process that holds it, however that ends. A process that has
    it may take it once more. Where the system or the file system has no such locks, none is held.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    shared_by : str, optional
        Several processes that name the same, such as parts of one work, may hold the folder together.

    Raises
    ------
    OtoscopeError
        If another process holds it.
    """
    place = Path(folder) / ".lock"
    key = os.path.realpath(place)
    if key in _held:
        yield
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        stream = open(place, "a+")  # noqa: SIM115  it is held beyond this block
    except (OSError, ValueError) as error:
        reason = said(error) if isinstance(error, OSError) else "no such name can be"
        raise InputError(
            f"cannot write to '{folder}' ({reason}); choose another folder with --out"
        ) from error
    with stream:
        if not _take(stream, shared_by or ""):
            stream.seek(0)
            owner = stream.read().partition("\n")[0]
            raise OtoscopeError(
                f"'{folder}' is being worked on by another process ({owner or 'it does not say which'}); wait until "
                "it ends, or choose another folder. If it never will, end it (kill -9), or, where its machine will not "
                f"come back, remove {place}; nothing is lost"
            )
        _held.add(key)
        try:
            yield
        finally:
            _held.discard(key)


_held: set[str] = set()


def try_lock(stream: Any, *, shared: bool = False) -> bool:
    """Take a lock on an open file without waiting; where locks do not exist, go ahead without."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _take(stream: Any, shared_by: str) -> bool:
    """Take a folder's lock alone, and leave a word on who has it; or join those who share it."""
    if try_lock(stream):
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}\n{shared_by}")
        stream.flush()
        return not shared_by or try_lock(stream, shared=True)
    if not shared_by or not _join(stream):
        return False
    stream.seek(0)
    return stream.read().partition("\n")[2] == shared_by


def _join(stream: Any) -> bool:
    """Take a lock together with others; wait a moment for one who has it alone until its word is written."""
    for _ in range(40):
        if try_lock(stream, shared=True):
            return True
        time.sleep(0.05)
    return False


def flush(path: str | os.PathLike) -> None:
    """Wait until a file's content is on the disk."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def read_mapping(path: str | os.PathLike, *, error: type[OtoscopeError] = InputError) -> dict[str, Any]:
    """Read a file that holds a mapping: JSON where the suffix is .json, else YAML.

    Parameters
    ----------
    path : path
        The file.
    error : type of OtoscopeError
        What is raised where it cannot be used, such as `otoscope.errors.ModelError` for a model's file.

    Raises
    ------
    OtoscopeError
        Of the kind `error`: if the file is missing or unreadable, not valid, or holds something else.
    """
    path = Path(path)
    is_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as reason:
        raise error(f"{path} does not exist") from reason
    except OSError as reason:
        raise error(f"{path} cannot be read ({said(reason)})") from reason
    except UnicodeDecodeError as reason:
        raise error(f"{path} is no text in UTF-8 (byte {reason.start})") from reason
    except ValueError as reason:
        raise error(f"{str(path)!r} cannot be a file's name") from reason
    value = _parse_json(text, path, error) if is_json else parse_yaml(text, path, error=error)
    if not isinstance(value, dict):
        raise error(f"{path} must hold a mapping of names to values, not {type(value).__name__}")
    return value


def checked(
    value: Any, model: Any, where: str | os.PathLike, *, error: type[OtoscopeError] = InputError
) -> Any:
    """Return what was read from disk as a `model`: all that we read back passes here.

    Parameters
    ----------
    value : any
        Plain data.
    model : type
        A pydantic model, a dataclass, a TypedDict, or such as ``dict[str, int]``.
    where : path
        Of what it was read from, for the message.
    error : type of OtoscopeError
        What is raised where it does not fit.

    Raises
    ------
    OtoscopeError
        Of the kind `error`, naming the first thing that is wrong.
    """
    import pydantic

    try:
        return pydantic.TypeAdapter(model).validate_python(value)
    except pydantic.ValidationError as reason:
        first = reason.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise error(f"{os.fspath(where)} is not what was written there: {place}: {first['msg']}") from reason


def parse_yaml(text: str, where: str | os.PathLike, *, error: type[OtoscopeError] = InputError) -> Any:
    """Return the value of a YAML text; one that says again and again what stands elsewhere is refused if it is huge.

    Raises
    ------
    OtoscopeError
        Of the kind `error`, with `where` in its message.
    """
    import yaml

    try:
        value = yaml.safe_load(text)
        size = _size(value, {})
    except yaml.YAMLError as reason:
        mark = getattr(reason, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(reason, "problem", None) or "a character that cannot stand there"
        what = "a list or mapping stands as a key" if "unhashable" in what else what
        raise error(f"{where} is not valid YAML: {what}{place}") from reason
    except RecursionError as reason:
        raise error(f"{where} is nested too deep, or holds itself") from reason
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
    ) as reason:  # a date that is none, and such
        raise error(f"{where} is not valid YAML: a value, or a key, cannot be what it looks like") from reason
    if size > LARGEST_YAML:
        raise error(
            f"{where} stands for {size:.3g} values, by aliases of aliases; {LARGEST_YAML:,} are the most"
        )
    return value


def _size(value: Any, known: dict[int, int]) -> int:
    """Return of how many values plain data consist, each counted as often as it is said."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]


def _parse_json(text: str, where: Path, error: type[OtoscopeError]) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as reason:
        raise error(f"{where} is not valid JSON: {reason.msg.lower()}, line {reason.lineno}") from reason
    except (RecursionError, ValueError) as reason:  # a number of thousands of digits
        raise error(f"{where} is nested too deep, or holds a number too long") from reason


def said(error: OSError) -> str:
    """Return what to do about what the operating system reports."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full; free some space"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "it may not be written or read; name another place, or mend its rights"
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "there is no such folder"
    return (error.strerror or str(error)).lower()


def check_writable(path: str | os.PathLike) -> None:
    """Raise FileError if no file can be written at `path`, so that this shows before the work and not after it."""
    path = Path(path)
    try:
        if os.path.isdir(path):
            raise FileError(f"cannot write '{path}': it is a folder; name a file")
        trial = _draft_of(path)
        trial.touch()
        trial.unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise _file_error(path, error) from error


def _file_error(path: Path, error: Exception) -> FileError:
    reason = said(error) if isinstance(error, OSError) else "that cannot be a file's name"
    return FileError(f"cannot write '{path}': {reason}")


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")


def _flush_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some network file systems cannot
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
