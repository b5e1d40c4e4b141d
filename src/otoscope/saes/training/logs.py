"""What training writes down as it goes: a CSV file and, where tensorboard is installed, its events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from otoscope.errors import FileError
from otoscope.files import said, write_text

if TYPE_CHECKING:
    from otoscope.saes.training.stack import Stack

NAME = "training.csv"


class TrainingLog:
    """Writes the history of all autoencoders of a bank into a folder; None writes nothing."""

    def __init__(self, directory: str | Path | None) -> None:
        self._directory = None if directory is None else Path(directory)
        self._events: Any = None

    def __enter__(self) -> Self:
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FileError(f"cannot write to '{self._directory}': {said(error)}") from error
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return self
            self._events = SummaryWriter(str(self._directory))
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._events is not None:
            self._events.close()

    def write(self, stacks: list[Stack]) -> None:
        """Write the history so far; a log that was cut off is made whole again."""
        if self._directory is None:
            return
        tables = []
        for stacked in stacks:
            for index, sae in enumerate(stacked.saes):
                table = stacked.history(index)
                table.insert(0, "layer", sae.layer)
                table.insert(1, "sae", sae.config.name)
                table.insert(2, "seed", sae.seed)
                tables.append(table)
                self._add_events(f"layer_{sae.layer}/{sae.name}", table.iloc[-1])
        write_text(self._directory / NAME, pd.concat(tables, ignore_index=True).to_csv(index=False))

    def _add_events(self, name: str, row: pd.Series) -> None:
        if self._events is None:
            return
        for column in (
            "train_mse",
            "validation_mse",
            "validation_fvu",
            "l0",
            "dead_fraction",
            "dense_fraction",
        ):
            self._events.add_scalar(f"{name}/{column}", row[column], int(row["epoch"]))
