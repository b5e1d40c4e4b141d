"""A run on disk: what each stage made, and whether it must be made again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
from otoscope.experiment.units import WORK, Lock, Share, Unit, Waits, Work, clear_work, note, work_folder
from otoscope.tables import parquet_bytes, read_parquet

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.experiment.spec import Spec

Result = TypeVar("Result")

INPUTS = "inputs.json"
"""In a run: what tells that files are as they were hashed; it may be removed, and all is read again."""


class _MadeMeanwhile(Exception):
    """Another process has made the stage."""

    def __init__(self, record: StageRecord) -> None:
        super().__init__()
        self.record = record


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

    def folder(self, root: Path) -> Path:
        """Return where its units lie while it is made."""
        return work_folder(root, self.name, self.fingerprint)


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
    share: Share | None = None
    """Of a run that several processes share: which units this one makes; None: it is alone, and makes all."""
    only: Sequence[str] = ()
    """The stages whose units it makes, by the beginnings of their names; none: all."""
    waits: list[Waits] = field(default_factory=list)
    """The stages that lack units of other processes."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """What each stage so far made from what, and the inputs that no stage made."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    """What ran in this process: stage, seconds, status ("made", "kept" or "taken over")."""
    recordings: dict[str, str | None] = field(default_factory=dict)
    """What each recording held when this process began, by its path; None where it could not be read."""
    old_root: str | None = None
    """Where the data set lay when something was last made here; it may be moved, if it holds the same."""
    _making: Stage | None = None
    _lock: Lock | None = None
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
        self.read_inputs()
        if self.old_root in (None, self.spec.dataset.root):  # else its clips are looked at first
            self.write_spec()

    def write_spec(self) -> None:
        """Write ``spec.yaml``: the resolved spec, and the versions that the stages were made with."""
        paths = sorted((self.root / "stages").glob("*.json"))
        records = {path.stem: record for path in paths if (record := read_record(path)) is not None}
        told = {**self.spec.model_dump(mode="json"), "versions": versions_of(records)}
        self.write_text("spec.yaml", yaml.safe_dump(told, sort_keys=False))

    @contextmanager
    def stage(
        self, name: str, settings: Any = None, *, after: Sequence[str] = (), in_units: bool = False
    ) -> Iterator[Stage]:
        """Yield a stage; it is noted as made when the block ends well.

        Where processes share the run, one of them makes a stage while the others wait. Of one that is made in `units`,
        this begins when the units are there.

        Parameters
        ----------
        name : str
            Of the stage.
        settings : any
            What its results depend on, as plain data; a change makes the stage again.
        after : sequence of str
            The stages and inputs whose results it reads; where one of them holds something else, it is made again.
        in_units : bool
            Whether the block calls `units`, or `apart`, before it writes anything.

        Raises
        ------
        Waits
            If units of other processes are missing, or one of `after` is.
        """
        from otoscope import __version__

        if self.share is not None and any(before not in self.fingerprints for before in after):
            raise Waits(name)
        inputs = [self.fingerprints[before] for before in after]
        stage = Stage(name, digest([__version__, settings, inputs]))
        lock = self._lock = None if self.share is None else Lock(self.root / WORK / f"{name}.lock")
        try:
            if lock is not None:
                lock.wait(self.say)
            record, status = self._made_before(stage)
            if record is not None:
                stage.needed, stage.outputs = False, record.outputs
                if lock is not None:
                    lock.free()
                yield stage
            else:
                started, status = time.perf_counter(), "made"
                if lock is not None and in_units:
                    lock.free()
                if not sys.stderr.isatty():  # where there are no bars, a log still shows what goes on
                    self.say(f"{name} ...")
                try:
                    with self._noting(stage):
                        yield stage
                    record = self._note_made(stage, time.perf_counter() - started)
                except _MadeMeanwhile as found:
                    record, status = found.record, "kept"
                    stage.outputs = record.outputs
                    clear_work(self.root, name)  # which may have been begun once more
        finally:
            self._lock = None
            if lock is not None:
                lock.free()
        self.fingerprints[name] = record.result
        self.stages.append({"stage": name, "seconds": record.seconds, "status": status})
        for library, version in record.versions.items():
            if version != versions().get(library):
                self._older.setdefault(f"{library} {version}", []).append(name)

    def units(
        self, units: Sequence[Unit], *, at_once: int = 1, show: bool = True
    ) -> Callable[[str], dict[str, Any]]:
        """Make this process's units of the stage that is being made; return what reads any unit's, once all are there.

        A unit that was made before, by whichever process, is not made again.

        Parameters
        ----------
        units : sequence of Unit
            All of the stage, in an order that depends on nothing but its inputs.
        at_once : int
            How many are made at a time, each in a thread; they must not rely on more than one core then.
        show : bool
            Show a bar on a terminal; False where units show their own.

        Raises
        ------
        Waits
            If units of other processes are missing.
        OtoscopeError
            If a unit cannot be made; those that are done are kept.
        """
        stage = self._making
        assert stage is not None
        work = Work(self.root, stage.name, stage.fingerprint, [unit.name for unit in units])
        with self.apart() as turn:
            work.begin(fresh=self.fresh)
            if turn:
                mine = [unit for number, unit in enumerate(units) if self._is_mine(number)]
                work.make(mine, at_once=at_once, all_turns=self.share is not None, show=show)
        missing = work.missing() or work.drop_damaged()  # all are read only where all are there
        if missing:
            raise self.waiting(stage.name, len(missing), len(units))
        return work.read

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return those of these units of the stage that is being made that are not there yet."""
        stage = self._making
        assert stage is not None
        return Work(self.root, stage.name, stage.fingerprint, names).missing()

    @contextmanager
    def apart(self) -> Iterator[bool]:
        """Let other processes at the stage that is being made while the block runs; yield whether it has a part in it.

        If one of them has made the stage before the block, or by its end, it is taken as it is, and the rest of the
        stage's own block is passed over.
        """
        stage, lock = self._making, self._lock
        if stage is None:  # what was lost of a stage that was made is made again
            yield True
            return
        self._pass_over(stage)
        if lock is not None:
            lock.free()
        try:
            yield not self.only or any(stage.name.startswith(name) for name in self.only)
        finally:
            if lock is not None:
                lock.wait(self.say)
        self._pass_over(stage)

    def note_store(self, store: Path) -> None:
        """Write down that the units of the stage that is being made are the shards of an activation store."""
        if self._making is not None:
            note(self._making.folder(self.root), {"store": store.relative_to(self.root).as_posix()})

    def waiting(self, stage: str, missing: int, total: int) -> Waits:
        """Note that a stage lacks units of other processes, and return it to be raised."""
        found = Waits(stage, missing, total)
        self.waits.append(found)
        return found

    @contextmanager
    def together(self) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Yield what gives each of several stages its turn, though one before it waits; that is raised afterwards."""
        waits: list[Waits] = []

        @contextmanager
        def turn() -> Iterator[None]:
            try:
                yield
            except Waits as reason:
                waits.append(reason)

        yield turn
        if waits:
            raise waits[0]

    def attempt(self, make: Callable[..., Result], *inputs: Any) -> Result | None:
        """Return what a function of the run and `inputs` returns; None if it waits, or one of `inputs` is None."""
        if any(each is None for each in inputs):
            return None
        try:
            return make(self, *inputs)
        except Waits:
            return None

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Let no other process of the run do `what` while the block runs."""
        lock = None if self.share is None else Lock(self.root / WORK / f"{what}.lock")
        if lock is not None:
            lock.wait(self.say)
        try:
            yield
        finally:
            if lock is not None:
                lock.free()

    def _pass_over(self, stage: Stage) -> None:
        """Leave the stage's block if another process has made it."""
        if self.share is not None:
            record = read_record(self.root / "stages" / f"{stage.name}.json")
            if record is not None and holds(self.root, record, stage.fingerprint, self.hashes):
                raise _MadeMeanwhile(record)

    def _is_mine(self, number: int) -> bool:
        return self.share is None or self.share.has(number)

    def _made_before(self, stage: Stage) -> tuple[StageRecord | None, str]:
        """Return the record of a stage that need not be made, here or at a lender, and how it was come by."""
        path = self.root / "stages" / f"{stage.name}.json"
        before = read_record(path)
        if not self.fresh and holds(self.root, before, stage.fingerprint, self.hashes):
            return before, "kept"
        for file in before.files if before else []:
            if (self.root / file).is_symlink():  # never write into the run it was taken over from
                (self.root / file).unlink()
        path.unlink(missing_ok=True)  # from here on, what lies there may be half old and half new
        return self._take_over(stage.name, stage.fingerprint), "taken over"

    @contextmanager
    def _noting(self, stage: Stage) -> Iterator[None]:
        """Note what is written while the block runs as the stage's."""
        outer, self._making = self._making, stage
        try:
            yield
        finally:
            self._making = outer

    def _note_made(self, stage: Stage, seconds: float) -> StageRecord:
        record = StageRecord(
            fingerprint=stage.fingerprint,
            schema=results.SCHEMA,
            seconds=round(seconds, 2),
            outputs=stage.outputs,
            files=stage.files,
            sums=sums_of(self.root, stage.files, self.hashes),
            versions=versions(),
        )
        self.write_text(Path("stages") / f"{stage.name}.json", record.text())
        clear_work(self.root, stage.name)
        self.say(f"{stage.name}: {record.seconds:.1f} s")
        return record

    def older_versions(self) -> list[str]:
        """Return a line on each library that stages were kept from another version of."""
        return [
            f"note: {len(names)} stages were made with {made} (now {versions().get(made.split()[0])}) and are kept: "
            f"{', '.join(names)}; --fresh makes all anew"
            for made, names in self._older.items()
        ]

    def read_inputs(self) -> None:
        """Learn what files hold from what processes of the run have noted by now; see `hashes`."""
        self._seen |= set(contents.load(self.root / INPUTS))
        contents.remember(self._seen)

    def hashes(self, paths: Iterable[str | Path]) -> list[str | None]:
        """Return what files hold (SHA-256), None where there is none; files that did not change are not read again."""
        names = [str(path) for path in paths]
        found = contents.hashes(names)
        new = {(each.sha256, each.signature) for each in found.values() if each.is_settled} - self._seen
        if new:
            self._seen |= new | (set(contents.load(self.root / INPUTS)) if self.share else set())
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
        path, content = self.root / f"{name}.parquet", parquet_bytes(table)
        if (
            self.share is None or not path.is_file() or path.read_bytes() != content
        ):  # others may be reading it
            files.write_bytes(path, content)
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
