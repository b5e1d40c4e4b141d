"""What is noted of a stage when it was made, and whether what it made still lies there as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pydantic

from otoscope import files, results
from otoscope.errors import InputError

CARD = "README.md"
"""Of a dictionary: prose, to which later stages add what they measured."""
Hashes = Callable[[Iterable[Path]], list[str | None]]
"""Paths of files -> what each holds, None where there is none."""


class StageRecord(pydantic.BaseModel):
    """What lies on disk as ``stages/<name>.json``."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    fingerprint: str
    """Of its inputs and settings."""
    schema_: int = pydantic.Field(alias="schema")
    """Of the result tables, see `otoscope.results.SCHEMA`."""
    seconds: float
    outputs: dict[str, Any]
    """Small plain data that later stages need."""
    files: list[str]
    """What it wrote, from the run's root: tables, frames, and folders."""
    sums: dict[str, str]
    """SHA-256 of each file that it wrote, but for cards; of an activation store, which checks its arrays itself, of its
    records."""
    versions: dict[str, str]
    """Of what computed it."""
    checksum: str = ""
    """Of all else that stands here."""

    @property
    def result(self) -> str:
        """Hash of what it made, for the stages that read it."""
        return digest([self.fingerprint, self.sums])

    def text(self) -> str:
        """Return it as its file's text."""
        told = self.model_dump(by_alias=True, exclude={"checksum"})
        return json.dumps({**told, "checksum": digest(told)}, indent=2) + "\n"


def read_record(path: Path) -> StageRecord | None:
    """Return a stage's record; None where there is none that can be used: the stage is then made again."""
    try:
        found: StageRecord = files.checked(files.read_mapping(path), StageRecord, path)
    except InputError:
        return None
    whole = found.checksum == digest(found.model_dump(by_alias=True, exclude={"checksum"}))
    return found if whole else None


def holds(root: Path, record: StageRecord | None, fingerprint: str, hashes: Hashes) -> bool:
    """Whether a stage was made from these inputs, what it made lies there unchanged, and its tables are of today."""
    if record is None or record.fingerprint != fingerprint:
        return False
    has_tables = any(file.startswith("results/") for file in record.files)
    if has_tables and record.schema_ != results.SCHEMA:
        return False
    if not all((root / file).exists() for file in record.files):
        return False
    return hashes(root / file for file in record.sums) == list(record.sums.values())


def sums_of(root: Path, made: Iterable[str], hashes: Hashes) -> dict[str, str]:
    """Return the SHA-256 of all files that a stage wrote, by their places from the run's root."""
    paths = [path for file in dict.fromkeys(made) for path in _parts(root / file)]
    return {path.relative_to(root).as_posix(): found for path, found in zip(paths, hashes(paths)) if found}


def _parts(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / "zarr.json").exists():
        return [
            path / "zarr.json",
            *sorted(file for file in path.glob("rows/*.json") if file.suffixes == [".json"]),
        ]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != CARD)


def digest(value: Any) -> str:
    """Return 16 hex digits of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


@cache
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


def versions_of(records: dict[str, StageRecord]) -> dict[str, str]:
    """Return the versions that stages were made with: ``2.13.0``, or ``2.9.0 (factors), 2.13.0 (all else)``."""
    found: dict[str, str] = {}
    for library, now in versions().items():
        by_version: dict[str, list[str]] = {}
        for name, record in records.items():
            by_version.setdefault(record.versions.get(library, "unknown"), []).append(name)
        most = max(by_version, key=lambda version: len(by_version[version]), default=now)
        found[library] = (
            most
            if len(by_version) < 2
            else ", ".join(
                f"{version} ({'all else' if version == most else ', '.join(sorted(names))})"
                for version, names in sorted(by_version.items(), key=lambda pair: pair[0] == most)
            )
        )
    return found
