"""Checkpoints of a whole bank: one safetensors file, renamed into place, from which training goes on bit by bit."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import Tensor

from otoscope.errors import FileError, ModelError, ProvenanceError
from otoscope.files import checked, clear_drafts, said
from otoscope.saes.files.tensors import write_tensors
from otoscope.saes.training.bank import Bank

NAME = "checkpoint.safetensors"


@dataclass(frozen=True, order=True)
class Position:
    """How far training has come: blocks done in an epoch."""

    epoch: int = 0
    block: int = 0


class _Notes(pydantic.BaseModel):
    """What stands beside the tensors."""

    settings: dict[str, Any]
    epoch: int
    block: int
    stacks: list[dict[str, Any]]
    threads: int = 0
    """It was made on; 0 where it does not say."""


class Checkpoints:
    """Saves and restores a bank.

    Parameters
    ----------
    directory
        Folder of the file; None keeps no checkpoints.
    settings
        All that the result depends on, ready for JSON: a checkpoint made with other settings is refused.
    every_s
        Least time between two saves.
    """

    def __init__(self, directory: str | Path | None, settings: dict[str, Any], every_s: float) -> None:
        self._path = None if directory is None else Path(directory) / NAME
        self._settings = settings
        self._every_s = every_s
        self._last = time.monotonic()

    def save(self, bank: Bank, position: Position, *, now: bool = False) -> None:
        """Write the bank's state, if it is time to, or `now`."""
        if self._path is None or (not now and time.monotonic() - self._last < self._every_s):
            return
        tensors = {
            f"{index}.{name}": value.detach().cpu().contiguous()
            for index, stacked in enumerate(bank.stacks)
            for name, value in stacked.tensors().items()
        }
        tensors = {name: value.clone() for name, value in tensors.items()}
        notes = {
            "settings": self._settings,
            "epoch": position.epoch,
            "block": position.block,
            "stacks": [stacked.notes() for stacked in bank.stacks],
            "threads": torch.get_num_threads(),
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot write to '{self._path.parent}': {said(error)}") from error
        clear_drafts(self._path)  # of a process that was killed while it wrote: gigabytes
        write_tensors(self._path, tensors, {"otoscope": json.dumps(notes), "crc32": str(_sum(tensors))})
        self._last = time.monotonic()

    def restore(self, bank: Bank) -> Position:
        """Load the latest state into `bank`, if there is one, and return where to go on.

        Raises
        ------
        ProvenanceError
            If the checkpoint was made with other settings or data, or on so many threads that its stacks are others.
        ModelError
            If it cannot be read.
        """
        if self._path is None or not self._path.exists():
            return Position()
        from safetensors import SafetensorError, safe_open

        unreadable = ModelError(f"{self._path} is not a readable checkpoint; move it away to start anew")
        try:
            with safe_open(self._path, framework="pt") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            notes = checked(json.loads(told["otoscope"]), _Notes, self._path, error=ModelError)
        except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
            raise unreadable from error
        if told.get("crc32") != str(_sum(tensors)):
            raise unreadable
        changed = [key for key, value in self._settings.items() if notes.settings.get(key) != value]
        if changed:
            raise ProvenanceError(
                f"{self._path} was made with other settings ({', '.join(changed)}); go on with those, or name "
                "another folder"
            )
        if [len(own.get("best_score", ())) for own in notes.stacks] != [len(own.saes) for own in bank.stacks]:
            threads = torch.get_num_threads()
            if notes.threads in (0, threads):
                raise unreadable
            raise ProvenanceError(
                f"{self._path} was made on {notes.threads} threads, and on {threads} these autoencoders are stacked "
                f"otherwise: go on with OMP_NUM_THREADS={notes.threads} (or as many cores), or move it away to start "
                "anew"
            )
        for index, (stacked, stack_notes) in enumerate(zip(bank.stacks, notes.stacks)):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            try:
                stacked.restore(own, stack_notes)
            except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise unreadable from error
        return Position(notes.epoch, notes.block)


def _sum(tensors: dict[str, Tensor]) -> int:
    """Return a CRC-32 of all tensors' bytes, in the order of their names."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return found
