"""How far a run is, read from its folder: stages that are made, and units that are done, running, missing or failed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from otoscope import files
from otoscope.errors import InputError
from otoscope.experiment.records import read_record
from otoscope.experiment.units import SUFFIX, UNITS, WORK, seconds_of


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run."""

    stage: str
    made: bool
    """Whether it is complete; it then has no units any more."""
    units: list[str] = field(default_factory=list)
    """Of a stage that is half made: all its units in order; their numbers count from 0."""
    done: list[int] = field(default_factory=list)
    running: dict[int, str] = field(default_factory=dict)
    """Number -> the process that makes it, as far as the file system can tell."""
    failed: dict[int, str] = field(default_factory=dict)
    """Number -> why it could not be made."""
    missing: list[int] = field(default_factory=list)
    """Neither done nor running; those that failed are missing too."""
    seconds: float = 0.0
    """That it took; of a half made one, that the units that are done took together."""
    left_s: float | None = None
    """That its units will take at the pace so far, shared by as many processes as run now; None: none is done."""

    def lacking(self, n: int) -> list[int]:
        """Return the i, from 1, of the shards i/n that have units missing."""
        return sorted({number % n + 1 for number in self.missing})


def run_status(root: str | Path) -> list[StageStatus]:
    """Return the stages that were begun, the made ones first.

    Raises
    ------
    InputError
        If there is no run in the folder.
    """
    root = Path(root)
    if not (root / "spec.yaml").is_file() and not any((root / own).is_dir() for own in (WORK, "slurm")):
        raise InputError(f"'{root}' is no run's folder; give the --out of 'otoscope run'")
    records = {path: read_record(path) for path in _by_time((root / "stages").glob("*.json"))}
    made = [StageStatus(path.stem, True, seconds=own.seconds) for path, own in records.items() if own]
    names = {own.stage for own in made}
    found = [_half_made(root, path.parent) for path in _by_time((root / WORK).glob(f"*/{UNITS}"))]
    half = {own.stage: own for own in found if own.stage not in names}  # of several settings, the latest
    return [*made, *half.values()]


def status_table(found: Iterable[StageStatus]) -> str:
    """Return a line for each stage, and one for each unit that failed."""
    lines = [f"{'stage':32} {'units':>12} {'running':>8} {'failed':>7} {'seconds':>9} {'left':>8}"]
    for own in found:
        count = "made" if own.made else f"{len(own.done)} of {len(own.units) or '?'}"
        numbers = ["", ""] if own.made else [str(len(own.running)), str(len(own.failed))]
        left = "" if own.left_s is None else _time(own.left_s)
        lines.append(
            f"{own.stage:32} {count:>12} {numbers[0]:>8} {numbers[1]:>7} {own.seconds:>9.0f} {left:>8}"
        )
        lines += [f"  failed: {own.units[number]}: {reason}" for number, reason in own.failed.items()]
    return "\n".join(line.rstrip() for line in lines)


def status_data(found: Iterable[StageStatus]) -> list[dict[str, Any]]:
    """Return the same, ready for JSON."""
    return [asdict(own) for own in found]


def _half_made(root: Path, folder: Path) -> StageStatus:
    told = files.read_mapping(folder / UNITS)
    stage = folder.name.rpartition("-")[0]
    if "store" in told:
        names, marks, suffix = _shards(root / told["store"]), root / told["store"] / "rows", ".parquet"
    else:
        names, marks, suffix = [str(name) for name in told["units"]], folder, SUFFIX
    done = [number for number, name in enumerate(names) if (marks / f"{name}{suffix}").is_file()]
    left = [number for number in range(len(names)) if number not in set(done)]
    running = {
        number: owner for number in left if (owner := _owner(marks / f"{names[number]}.lock")) is not None
    }
    failed = {
        number: reason
        for number in left
        if (reason := _failure(folder / f"{names[number]}.failed.json")) is not None
    }
    missing = [number for number in left if number not in running]
    paths = [marks / f"{names[number]}{suffix}" for number in done]
    each = _gaps(paths) if "store" in told else [s for path in paths if (s := seconds_of(path)) is not None]
    left_s = float(np.mean(each)) * len(left) / max(len(running), 1) if each else None
    return StageStatus(
        stage, False, names, done, running, failed, missing, round(float(np.sum(each)), 2), left_s
    )


def _shards(store: Path) -> list[str]:
    """Return the names of a store's shards; none where it is not begun."""
    try:
        about = json.loads((store / "zarr.json").read_text())["attributes"]["otoscope"]
        return [f"{number:05d}" for number in range(int(about["shards"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _gaps(paths: list[Path]) -> list[float]:
    """Return the seconds from one file to the next, without the breaks between two runs."""
    times = np.sort([path.stat().st_mtime for path in paths])
    gaps = np.diff(times)
    return [float(gap) for gap in gaps if gap <= 20 * max(np.median(gaps), 0.1)]


def _owner(path: Path) -> str | None:
    """Return who holds a lock; None if nobody does."""
    try:
        with open(path, "r+") as stream:
            if files.try_lock(stream, shared=True):
                return None
            return stream.read().strip() or "a process"
    except OSError:
        return None


def _failure(path: Path) -> str | None:
    try:
        return str(files.read_mapping(path)["error"])
    except (InputError, KeyError):
        return None


def _by_time(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.stat().st_mtime, path.name))


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
