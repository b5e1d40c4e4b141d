"""A run on disk: what each stage made, and whether it must be made again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from otoscope import files, results
from otoscope.errors import InputError, ProvenanceError

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.experiment.spec import Spec


@dataclass
class Stage:
    """One step of a run."""

    name: str
    fingerprint: str
    """Of its inputs and settings."""
    needed: bool = True
    """Whether it must be made; False where it was made from the same inputs before."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """Small plain data that later stages need; kept with the run."""
    files: list[str] = field(default_factory=list)
    """What it wrote, from the run's root: tables, frames, and folders named by `keep`."""

    def keep(self, *folders: str) -> None:
        """Name folders, from the run's root, as made by this stage."""
        self.files += folders


@dataclass
class RunDirectory:
    """A directory that holds one experiment under one protocol.

    Parameters
    ----------
    root : Path
        The directory; made if it is not there.
    spec : Spec
        The resolved spec.
    say : callable
        Takes a line for the person who watches.
    """

    root: Path
    spec: Spec
    say: Callable[[str], None] = lambda line: None
    lenders: Sequence[Path] = ()
    """Other runs' directories: a stage that one of them made from the same inputs is taken over from there."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Of each stage so far, and of the inputs that no stage made."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    """What ran in this process: stage, seconds, status ("made", "kept" or "taken over")."""
    _making: Stage | None = None

    def open(self) -> None:
        """Make the directory, or check that it holds this experiment.

        Raises
        ------
        InputError
            If the directory cannot be written to.
        ProvenanceError
            If it holds another experiment.
        """
        try:
            for folder in (self.root, self.root / "results", self.root / "stages"):
                folder.mkdir(parents=True, exist_ok=True)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"cannot write to '{self.root}' ({error.strerror}); choose another folder with --out"
            ) from error
        path = self.root / "spec.yaml"
        if path.exists() and any((self.root / "stages").glob("*.json")):  # else nothing was made here yet
            self._refuse_another(files.read_mapping(path))
        self.write_text("spec.yaml", yaml.safe_dump(self._resolved(), sort_keys=False))

    @contextmanager
    def stage(self, name: str, settings: Any = None, *, after: Sequence[str] = ()) -> Iterator[Stage]:
        """Yield a stage; it is noted as made when the block ends well.

        Parameters
        ----------
        name : str
            Of the stage.
        settings : any
            What its results depend on, as plain data; a change makes the stage again.
        after : sequence of str
            The stages and inputs whose results it reads; where one of them was made from something else, so is it.
        """
        from otoscope import __version__

        inputs = [self.fingerprints[before] for before in after]
        stage = Stage(name, digest([__version__, settings, inputs]))
        self.fingerprints[name] = stage.fingerprint
        record = self.root / "stages" / f"{name}.json"
        before, status = _read_record(record), "kept"
        if not _holds(self.root, before, stage.fingerprint):
            for file in before.get("files", []):
                if (self.root / file).is_symlink():  # never write into the run it was taken over from
                    (self.root / file).unlink()
            record.unlink(missing_ok=True)  # from here on, what lies there may be half old and half new
            before, status = self._take_over(name, stage.fingerprint), "taken over"
        if before:
            stage.needed, stage.outputs, seconds = False, before["outputs"], before["seconds"]
            yield stage
        else:
            started, status = time.perf_counter(), "made"
            outer, self._making = self._making, stage
            try:
                yield stage
            finally:
                self._making = outer
            seconds = round(time.perf_counter() - started, 2)
            done = {"fingerprint": stage.fingerprint, "schema": results.SCHEMA, "seconds": seconds}
            done |= {"outputs": stage.outputs}
            self.write_text(
                record.relative_to(self.root), json.dumps(done | {"files": stage.files}, indent=2) + "\n"
            )
            self.say(f"{name}: {seconds:.1f} s")
        self.stages.append({"stage": name, "seconds": seconds, "status": status})

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write ``results/<name>.csv``, one of `otoscope.results.TABLES`, whole or not at all."""
        self.write_text(Path("results") / f"{name}.csv", results.to_csv(name, table))

    def has_table(self, name: str) -> bool:
        """Whether there is a ``results/<name>.csv``."""
        return (self.root / "results" / f"{name}.csv").is_file()

    def table(self, name: str) -> pd.DataFrame:
        """Read ``results/<name>.csv``, each column as `otoscope.results.TABLES` says what it holds."""
        return results.read_table(self.root / "results" / f"{name}.csv")

    def write_frame(self, name: str, table: pd.DataFrame) -> None:
        """Write ``<name>.parquet`` at the top of the run, whole or not at all."""
        path = self.root / f"{name}.parquet"
        files.write_bytes(path, table.to_parquet(None, index=False))
        self._note(path)

    def frame(self, name: str) -> pd.DataFrame:
        """Read ``<name>.parquet``."""
        import pandas as pd

        return pd.read_parquet(self.root / f"{name}.parquet")

    def write_text(self, name: str | Path, text: str) -> None:
        """Write a small file, whole or not at all."""
        path = self.root / name
        files.write_text(path, text)
        self._note(path)

    def _note(self, path: Path) -> None:
        if self._making is not None:
            self._making.files.append(path.relative_to(self.root).as_posix())

    def _take_over(self, name: str, fingerprint: str) -> dict[str, Any]:
        """Copy a stage's tables from a lender, and link its folders; return its record, empty if nobody has it."""
        for lender in self.lenders:
            record = _read_record(lender / "stages" / f"{name}.json")
            if not _holds(lender, record, fingerprint):
                continue
            for file in record["files"]:
                source, target = lender / file, self.root / file
                target.parent.mkdir(parents=True, exist_ok=True)
                if not source.is_dir():
                    shutil.copyfile(source, target)
                elif not target.exists():
                    target.symlink_to(source.resolve(), target_is_directory=True)
            self.write_text(Path("stages") / f"{name}.json", json.dumps(record, indent=2) + "\n")
            return record
        return {}

    def _resolved(self) -> dict[str, Any]:
        return {**self.spec.model_dump(mode="json"), "versions": versions()}

    def _refuse_another(self, old: dict[str, Any]) -> None:
        new = self.spec.model_dump(mode="json")
        for keys in (("protocol",), ("dataset", "name"), ("dataset", "root"), ("dataset", "label")):
            before: Any = old
            now: Any = new
            for key in keys:
                before, now = (before or {}).get(key), now[key]
            if before != now:
                raise ProvenanceError(
                    f"'{self.root}' holds another experiment: its {'.'.join(keys)} is {before!r}, this one's {now!r}; "
                    "choose another --out, so that nothing of it is lost"
                )


def _read_record(path: Path) -> dict[str, Any]:
    return files.read_mapping(path) if path.exists() else {}


def _holds(root: Path, record: dict[str, Any], fingerprint: str) -> bool:
    """Whether a stage was made from these inputs, what it made is still there, and its tables are of today's schema."""
    if record.get("fingerprint") != fingerprint or "files" not in record:
        return False
    if record.get("schema") != results.SCHEMA and any(
        file.startswith("results/") for file in record["files"]
    ):
        return False
    return all((root / file).exists() for file in record["files"])


def digest(value: Any) -> str:
    """Return 16 hex digits of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of what computes the numbers."""
    import platform
    from importlib import metadata

    names = (
        "otoscope",
        "torch",
        "transformers",
        "numpy",
        "scipy",
        "scikit-learn",
        "pandas",
        "librosa",
        "soxr",
        "zarr",
    )
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
