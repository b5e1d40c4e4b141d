"""Where training rows come from: arrays in memory, or an activations store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoscope.errors import InputError

BLOCK_ROWS = 65_536
"""Rows gathered at a time; every stack trains on a block before the next one is read."""

Layer = int | str


class Rows:
    """Rows of some layers, in memory.

    Parameters
    ----------
    activations
        ``{layer: array [rows, width]}``, or a store with ``.layers``, ``.rows`` and ``.layer(name)``.
    layers
        Layers wanted; all by default.
    rows
        Which rows: a boolean mask or indices; all by default.
    what
        What messages call them ("training", "validation").
    """

    def __init__(
        self,
        activations: Any,
        *,
        layers: Sequence[Layer] | None = None,
        rows: np.ndarray | None = None,
        what: str = "training",
    ) -> None:
        available = list(activations) if isinstance(activations, Mapping) else list(activations.layers)
        self.layers: list[Layer] = available if layers is None else list(layers)
        missing = [layer for layer in self.layers if layer not in available]
        if missing or not self.layers:
            raise InputError(f"no {what} activations of layer {missing}; there are layers {available}")
        self.table = None if isinstance(activations, Mapping) else activations.rows
        self.arrays: dict[Layer, Tensor] = {}
        for layer in self.layers:
            array = activations[layer] if isinstance(activations, Mapping) else activations.layer(layer)
            self.arrays[layer] = self._checked(array if rows is None else array[rows], layer, what, rows)
        lengths = {len(array) for array in self.arrays.values()}
        if len(lengths) != 1:
            raise InputError(f"layers differ in their number of {what} rows: {sorted(lengths)}")
        self.n_rows = lengths.pop()

    def width(self, layer: Layer) -> int:
        """Return how many features a row of `layer` has."""
        return self.arrays[layer].shape[1]

    def blocks(
        self, epoch: int, *, batch_size: int, data_seed: int, crop: np.ndarray | None = None
    ) -> Iterator[dict[Layer, Tensor]]:
        """Yield the epoch's rows in their seeded order, a block at a time.

        With `crop`, a number from 0 for each row, epoch e sees only the rows of crop ``e mod n_crops``.
        """
        rows = np.arange(self.n_rows)
        if crop is not None:
            rows = np.flatnonzero(crop == epoch % (int(crop.max()) + 1))
        order = torch.from_numpy(np.random.default_rng([data_seed, epoch]).permutation(rows))
        for indices in order.split(max(BLOCK_ROWS // batch_size, 1) * batch_size):
            yield {layer: array[indices.to(array.device)] for layer, array in self.arrays.items()}

    def to(self, device: torch.device, dtype: torch.dtype) -> Rows:
        """Move the arrays to `device` as `dtype`; returns itself."""
        self.arrays = {layer: array.to(device, dtype) for layer, array in self.arrays.items()}
        return self

    def _checked(self, array: Any, layer: Layer, what: str, rows: np.ndarray | None) -> Tensor:
        tensor = torch.as_tensor(np.asarray(array) if not isinstance(array, Tensor) else array)
        if tensor.ndim != 2 or tensor.shape[0] == 0 or tensor.shape[1] == 0:
            raise InputError(
                f"layer {layer}: {what} activations must be rows x features and not empty, "
                f"got shape {tuple(tensor.shape)}"
            )
        if not tensor.is_floating_point():
            tensor = tensor.float()
        bad = torch.nonzero(~torch.isfinite(tensor).all(dim=1)).flatten()
        if len(bad):
            first = int(bad[0])
            raise InputError(
                f"layer {layer}: {len(bad)} of {len(tensor)} {what} rows are not finite, the first is row {first}"
                f"{self._clip_of(first, rows)}; leave them out or extract them again"
            )
        return tensor

    def _clip_of(self, row: int, rows: np.ndarray | None) -> str:
        if self.table is None:
            return ""
        positions = np.arange(len(self.table)) if rows is None else np.arange(len(self.table))[rows]
        return f" (clip '{self.table['clip_id'].iloc[positions[row]]}')"
