"""A long stage in units: pieces of work with names, in an order that stays, each of which leaves one file.

While a stage is made, ``RUN/work/<stage>-<fingerprint>/`` holds

- ``units.json``: the names of all units, in order;
- ``<unit>.zip``, once the unit is done: its tables and arrays, whole or not there at all, with checksums;
- ``<unit>.lock``, held by the process that makes the unit; the operating system takes the lock back when it ends;
- ``<unit>.failed.json``: why the unit could not be made; gone when it could.

Shards of activation stores are units too: ``units.json`` then says where the store is. When all units are there the
stage is put together from them in their order, whoever made them, and the folder is removed.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import platform
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from otoscope import files
from otoscope.compute import progress, thread_map
from otoscope.errors import InputError, OtoscopeError

WORK = "work"
"""In a run: what is half made."""
UNITS = "units.json"
SUFFIX = ".zip"
FOLDERS = "folders"
"""Under this name a unit gives the folders of the run, from its root, that it filled beside its own file."""
PATIENCE_S = 60.0
"""After which it is said what is waited for."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members, so that equal content makes equal files


class Unit(NamedTuple):
    """A piece of a stage's work."""

    name: str
    """Of its file; the same in every process."""
    make: Callable[[], dict[str, Any]]
    """Returns names -> tables, arrays or plain data; `FOLDERS` -> what it wrote elsewhere."""


@dataclass(frozen=True)
class Share:
    """Which units of every stage a process makes: every `n`-th from the `i`-th on, i from 1."""

    i: int
    n: int

    def has(self, number: int) -> bool:
        """Whether the unit of this number, from 0, is its own."""
        return number % self.n == self.i - 1

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read "i/n", i from 1; of "/n", in a task of a Slurm array, i is the task's number.

        Not what its number is beyond the array's smallest: an array of the tasks that failed, ``--array=3,7``, must
        give each the units that it had before.
        """
        index, slash, count = text.partition("/")
        task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
        if slash and not index and task:
            index = task
        if index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
            return cls(int(index), int(count))
        if text.startswith("/") and not task:
            raise InputError(
                f"--shard {text}: this is no task of a Slurm array (SLURM_ARRAY_TASK_ID is not set); give i/n, such as "
                "1/4"
            )
        hint = f"; number the array from 1: --array=1-{count}" if text.startswith("/") else ""
        raise InputError(f"a shard is i/n with i from 1 to n, such as 1/4; got '{index}/{count}'{hint}")


class Waits(Exception):
    """A stage that lacks units of other processes, or an earlier stage."""

    def __init__(self, stage: str, missing: int = 0, total: int = 0) -> None:
        super().__init__(stage)
        self.stage, self.missing, self.total = stage, missing, total

    def __str__(self) -> str:
        return f"{self.stage}, {self.missing} of {self.total} units, of other shards"


class Lock:
    """A lock on a file, by the operating system: it ends with the process. Where there are no such locks, none is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: Any = None

    def take(self) -> bool:
        """Take it if nobody has it; whether it is had now."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(self.path, "a+")  # noqa: SIM115  held until `free`
        if not files.try_lock(stream) or not self._lies_there(stream):
            stream.close()
            return False
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}")
        stream.flush()
        self._stream = stream
        return True

    def wait(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Take it, as soon as it can be had; say once who has it, and what to do if that is for ever."""
        patient_until = time.monotonic() + PATIENCE_S
        while not self.take():
            if time.monotonic() > patient_until:
                patient_until = math.inf
                with contextlib.suppress(OSError):  # given back just now
                    say(
                        f"waits for {self.path.read_text().strip()}, which has {self.path}; if it hangs, end it "
                        "(kill -9), or, where its machine will not come back, remove that file"
                    )
            time.sleep(0.2)

    def _lies_there(self, stream: Any) -> bool:
        """Whether an open file is the one at the path, and not one that was removed after it was opened."""
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def free(self) -> None:
        """Give it back."""
        if self._stream is not None:
            self.path.unlink(
                missing_ok=True
            )  # while it is held, so that nobody holds a file that is not there
            self._stream.close()
            self._stream = None


class Work:
    """The units of one stage, on disk."""

    def __init__(self, root: Path, stage: str, fingerprint: str, names: Sequence[str]) -> None:
        self.root, self.stage, self.folder = root, stage, work_folder(root, stage, fingerprint)
        self.names = list(names)
        assert len(set(self.names)) == len(self.names), f"{stage}: two units have one name"

    def begin(self, *, fresh: bool = False) -> None:
        """Say which units there are."""
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        note(self.folder, {"units": self.names})

    def make(
        self, units: Sequence[Unit], *, at_once: int = 1, all_turns: bool = False, show: bool = True
    ) -> None:
        """Make those units that are not there, or not whole, and that no other process is making.

        Parameters
        ----------
        at_once : int
            Threads, each with a unit.
        all_turns : bool
            Whether the units after one that fails have their turn before its error is raised.
        show : bool
            Show a bar on a terminal.
        """
        todo = [unit for unit in units if not self._is_whole(unit.name)]
        errors: list[BaseException] = []

        def one(unit: Unit) -> None:
            if errors and not all_turns:
                return
            try:
                self._make(unit)
            except Exception as error:
                errors.append(error)

        with progress(self.stage, len(units), unit="units", show=show) as bar:
            bar.advance(len(units) - len(todo))
            for _ in thread_map(one, todo, workers=at_once) if at_once > 1 else map(one, todo):
                bar.advance()
        if errors:
            raise errors[0]

    def missing(self) -> list[str]:
        """Return the units whose files are not there."""
        return [name for name in self.names if not self._path(name).is_file()]

    def read(self, name: str) -> dict[str, Any]:
        """Return what a unit gave.

        Raises
        ------
        InputError
            If its file is lost or damaged.
        """
        return unpack(self._path(name))

    def drop_damaged(self) -> list[str]:
        """Remove files that are not as they were written, so that their units are made anew; return these."""
        damaged = [name for name in self.names if not self._is_whole(name)]
        for name in damaged:
            self._path(name).unlink(missing_ok=True)
        return damaged

    def _make(self, unit: Unit) -> None:
        lock, failed = Lock(self._path(unit.name, ".lock")), self._path(unit.name, ".failed.json")
        if not lock.take():  # another process has it; it may also have been looked at just now
            time.sleep(0.1)
            if not lock.take():
                return
        try:
            if self._is_whole(unit.name):
                return
            began = time.perf_counter()
            content = pack(unit.make(), seconds=time.perf_counter() - began)
            files.write_bytes(self._path(unit.name), content)
            failed.unlink(missing_ok=True)
        except Exception as error:
            with contextlib.suppress(OSError, OtoscopeError):  # on a full disk, say
                files.write_json(failed, {"error": str(error) or type(error).__name__})
            raise
        finally:
            lock.free()

    def _is_whole(self, name: str) -> bool:
        try:
            with zipfile.ZipFile(self._path(name)) as archive:
                folders = json.loads(archive.read("about.json"))["plain"].get(FOLDERS, [])
                return archive.testzip() is None and all((self.root / own).is_dir() for own in folders)
        except Exception:  # whatever a damaged file makes of the reader
            return False

    def _path(self, name: str, suffix: str = SUFFIX) -> Path:
        return self.folder / f"{name}{suffix}"


def work_folder(root: Path, stage: str, fingerprint: str) -> Path:
    """Return where a stage's units lie while it is made."""
    return root / WORK / f"{stage}-{fingerprint}"


def note(folder: Path, told: dict[str, Any]) -> None:
    """Write down which units a stage has: ``{"units": [names]}``, or ``{"store": the store whose shards they are}``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=1) + "\n"
    path = folder / UNITS
    if not path.is_file() or path.read_text() != text:
        files.write_text(path, text)


def clear_work(root: Path, stage: str) -> None:
    """Remove what is half made of a stage, of whatever inputs."""
    for folder in (root / WORK).iterdir() if (root / WORK).is_dir() else ():
        if re.fullmatch(re.escape(stage) + "-[0-9a-f]{16}", folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def pack(made: dict[str, Any], *, seconds: float) -> bytes:
    """Return tables, arrays and plain data as the content of one file, with checksums."""
    import numpy as np
    import pandas as pd

    from otoscope.tables import parquet_bytes

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        plain = {}
        for name, value in made.items():
            if isinstance(value, pd.DataFrame):
                archive.writestr(zipfile.ZipInfo(f"{name}.parquet", _EPOCH), parquet_bytes(value))
            elif isinstance(value, np.ndarray):
                array = io.BytesIO()
                np.save(array, value, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), array.getvalue())
            else:
                plain[name] = value
        about = {"plain": plain, "order": list(made), "seconds": round(seconds, 2)}
        archive.writestr(zipfile.ZipInfo("about.json", _EPOCH), json.dumps(about, default=_plain))
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Return one of numpy's numbers as Python's."""
    return value.item()


def unpack(path: Path) -> dict[str, Any]:
    """Return what was packed; InputError if it is lost or damaged."""
    import numpy as np
    import pandas as pd

    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("about.json"))
            found = dict(about["plain"])
            for member in archive.namelist():
                name, _, suffix = member.rpartition(".")
                if suffix == "parquet":
                    found[name] = pd.read_parquet(io.BytesIO(archive.read(member)))
                elif suffix == "npy":
                    found[name] = np.load(io.BytesIO(archive.read(member)), allow_pickle=False)
        return {name: found[name] for name in about["order"]}
    except Exception as error:  # whatever a damaged file makes of the readers
        raise InputError(
            f"'{path}' is lost or damaged; run the same command again to make it anew"
        ) from error


def seconds_of(path: Path) -> float | None:
    """Return how long a unit took; None where its file does not tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            return float(json.loads(archive.read("about.json"))["seconds"])
    except Exception:
        return None
