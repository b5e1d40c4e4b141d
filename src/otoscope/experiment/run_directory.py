"""A run on disk: what each stage made, and whether it must be made again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from otoscope import contents, files, results
from otoscope.errors import InputError, ProvenanceError
from otoscope.experiment.records import (
    StageRecord,
    digest,
    holds,
    read_record,
    sums_of,
    versions,
    versions_of,
)
from otoscope.tables import parquet_bytes, read_parquet

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.experiment.spec import Spec

INPUTS = "inputs.json"
"""In a run: what tells that files are as they were hashed; it may be removed, and all is read again."""


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
    fresh: bool = False
    """Whether all stages are made anew."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """What each stage so far made from what, and the inputs that no stage made."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    """What ran in this process: stage, seconds, status ("made", "kept" or "taken over")."""
    old_root: str | None = None
    """Where the data set lay when something was last made here; it may be moved, if it holds the same."""
    _making: Stage | None = None
    _seen: set[tuple[str, contents.Signature]] = field(default_factory=set)
    _older: dict[str, list[str]] = field(default_factory=dict)

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
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:  # a name with a NUL
            raise InputError(
                f"cannot write to '{self.root}' ({getattr(error, 'strerror', None) or 'no such name can be'}); choose "
                "another folder with --out"
            ) from error
        path = self.root / "spec.yaml"
        if path.exists() and any((self.root / "stages").glob("*.json")):  # else nothing was made here yet
            try:
                old = files.read_mapping(path)
            except InputError as error:
                raise InputError(
                    f"{error}: it tells which experiment lies in '{self.root}'. If that is this one, remove the file "
                    "and run again; nothing else is lost"
                ) from error
            self._refuse_another(old)
        self._seen = set(contents.load(self.root / INPUTS))
        contents.remember(self._seen)
        if self.old_root in (None, self.spec.dataset.root):  # else its clips are looked at first
            self.write_spec()

    def write_spec(self) -> None:
        """Write ``spec.yaml``: the resolved spec, and the versions that the stages were made with."""
        paths = sorted((self.root / "stages").glob("*.json"))
        records = {path.stem: record for path in paths if (record := read_record(path)) is not None}
        told = {**self.spec.model_dump(mode="json"), "versions": versions_of(records)}
        self.write_text("spec.yaml", yaml.safe_dump(told, sort_keys=False))

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
            The stages and inputs whose results it reads; where one of them holds something else, it is made again.
        """
        from otoscope import __version__

        inputs = [self.fingerprints[before] for before in after]
        stage = Stage(name, digest([__version__, settings, inputs]))
        path = self.root / "stages" / f"{name}.json"
        before, status = read_record(path), "kept"
        if self.fresh or not holds(self.root, before, stage.fingerprint, self.hashes):
            for file in before.files if before else []:
                if (self.root / file).is_symlink():  # never write into the run it was taken over from
                    (self.root / file).unlink()
            path.unlink(missing_ok=True)  # from here on, what lies there may be half old and half new
            before, status = self._take_over(name, stage.fingerprint), "taken over"
        if before is not None:
            stage.needed, stage.outputs, record = False, before.outputs, before
            yield stage
        else:
            started, status = time.perf_counter(), "made"
            if not sys.stderr.isatty():  # where there are no bars, a log still shows what goes on
                self.say(f"{name} ...")
            outer, self._making = self._making, stage
            try:
                yield stage
            finally:
                self._making = outer
            record = StageRecord(
                fingerprint=stage.fingerprint,
                schema=results.SCHEMA,
                seconds=round(time.perf_counter() - started, 2),
                outputs=stage.outputs,
                files=stage.files,
                sums=sums_of(self.root, stage.files, self.hashes),
                versions=versions(),
            )
            self.write_text(path.relative_to(self.root), record.text())
            self.say(f"{name}: {record.seconds:.1f} s")
        self.fingerprints[name] = record.result
        self.stages.append({"stage": name, "seconds": record.seconds, "status": status})
        for library, version in record.versions.items():
            if version != versions().get(library):
                self._older.setdefault(f"{library} {version}", []).append(name)

    def older_versions(self) -> list[str]:
        """Return a line on each library that stages were kept from another version of."""
        return [
            f"note: {len(names)} stages were made with {made} (now {versions().get(made.split()[0])}) and are kept: "
            f"{', '.join(names)}; --fresh makes all anew"
            for made, names in self._older.items()
        ]

    def hashes(self, paths: Iterable[str | Path]) -> list[str | None]:
        """Return what files hold (SHA-256), None where there is none; files that did not change are not read again."""
        names = [str(path) for path in paths]
        found = contents.hashes(names)
        new = {(each.sha256, each.signature) for each in found.values() if each.is_settled} - self._seen
        if new:
            self._seen |= new
            contents.save(self.root / INPUTS, self._seen)
        return [found[name].sha256 if name in found else None for name in names]

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write ``results/<name>.csv``, one of `otoscope.results.TABLES`, whole or not at all."""
        self.write_text(Path("results") / f"{name}.csv", results.to_csv(name, table))

    def has_table(self, name: str) -> bool:
        """Whether there is a ``results/<name>.csv``."""
        return (self.root / "results" / f"{name}.csv").is_file()

    def table(self, name: str) -> pd.DataFrame:
        """Read ``results/<name>.csv``, each column as `otoscope.results.TABLES` says what it holds."""
        return results.read_table(self.root / "results" / f"{name}.csv")

    def latents(self, encoder: str | None = None, layer: int | str | None = None, **which: Any) -> Any:
        """Open a dictionary's latents to look up and to hear, as `otoscope.open_latents` does.

        Examples
        --------
        >>> run.latents("hubert-base", 3).show(812)  # doctest: +SKIP
        """
        import otoscope  # the face alone knows the floors above this one

        return otoscope.open_latents(self, encoder, layer, **which)

    def write_frame(self, name: str, table: pd.DataFrame) -> None:
        """Write ``<name>.parquet`` at the top of the run, whole or not at all."""
        path = self.root / f"{name}.parquet"
        files.write_bytes(path, parquet_bytes(table))
        self._note(path)

    def frame(self, name: str) -> pd.DataFrame:
        """Read ``<name>.parquet``."""
        return read_parquet(self.root / f"{name}.parquet")

    def write_text(self, name: str | Path, text: str) -> None:
        """Write a small file, whole or not at all."""
        path = self.root / name
        files.write_text(path, text)
        self._note(path)

    def _note(self, path: Path) -> None:
        if self._making is not None:
            self._making.files.append(path.relative_to(self.root).as_posix())

    def _take_over(self, name: str, fingerprint: str) -> StageRecord | None:
        """Copy a stage's tables from a lender, and link its folders; return its record, None if nobody has it."""
        for lender in [] if self.fresh else self.lenders:
            record = read_record(lender / "stages" / f"{name}.json")
            if record is None or not holds(lender, record, fingerprint, self.hashes):
                continue
            for file in record.files:
                source, target = lender / file, self.root / file
                target.parent.mkdir(parents=True, exist_ok=True)
                if not source.is_dir():
                    shutil.copyfile(source, target)
                elif not target.exists():
                    target.symlink_to(source.resolve(), target_is_directory=True)
            self.write_text(Path("stages") / f"{name}.json", record.text())
            return record
        return None

    def _refuse_another(self, old: dict[str, Any]) -> None:
        new = self.spec.model_dump(mode="json")
        for keys in (("protocol",), ("dataset", "name"), ("dataset", "label")):
            before: Any = old
            now: Any = new
            for key in keys:
                before, now = before.get(key) if isinstance(before, dict) else None, now[key]
            if before != now:
                raise self.another(".".join(keys), before, now)
        dataset = old.get("dataset")
        self.old_root = dataset.get("root") if isinstance(dataset, dict) else None

    def another(self, key: str, before: Any, now: Any) -> ProvenanceError:
        """Return the error that the directory holds another experiment."""
        return ProvenanceError(
            f"'{self.root}' holds another experiment: its {key} is {before!r}, this one's {now!r}; choose another "
            "--out, so that nothing of it is lost"
        )
