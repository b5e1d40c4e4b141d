"""Where training rows come from: arrays in memory, or a store larger than it, in blocks of shuffled rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from otoscope.compute import as_tensor
from otoscope.errors import InputError

BLOCK_ROWS = 65_536
"""Rows gathered at a time; every stack trains on a block before the next one is read."""
STREAMED_ROWS = 8192
"""The same for a store that is streamed: its buffer of BLOCK_ROWS is in memory already, twice."""

Layer = int | str
Block = dict[Layer, Tensor]


class Source(Protocol):
    """Rows of some layers."""

    layers: list[Layer]
    n_rows: int
    rows_per_epoch: int
    """At most, where epochs take crops in turn."""

    def width(self, layer: Layer) -> int:
        """Return how many features a row of `layer` has."""

    def blocks(self, epoch: int, *, batch_size: int, data_seed: int) -> Iterator[Block]:
        """Yield an epoch's rows in their seeded order, a block at a time."""

    def in_order(self) -> Iterator[Block]:
        """Yield all rows in the order they have, a block at a time."""

    def fingerprint(self) -> str:
        """Return a hash that changes when the rows do."""


class ArrayRows:
    """Rows in memory, on the device that trains.

    Parameters
    ----------
    arrays
        ``{layer: [rows, features]}``, checked.
    crop : [rows], optional
        Number of each row's crop: epoch e sees only crop ``e mod n_crops``.
    follows : [rows] of bool, optional
        Whether the next row is the next frame of the same sound: epochs then see pairs of neighbours.
    """

    def __init__(
        self, arrays: Block, crop: np.ndarray | None = None, follows: np.ndarray | None = None
    ) -> None:
        self.arrays = arrays
        self.follows = follows
        self.layers = list(arrays)
        self.n_rows = len(next(iter(arrays.values())))
        self.crop = crop
        if crop is not None and len(crop) != self.n_rows:
            raise InputError(f"crop has {len(crop)} entries for {self.n_rows} training rows")
        self.rows_per_epoch = self.n_rows if crop is None else int(np.bincount(crop).max())
        if follows is not None:
            self.rows_per_epoch = most_paired(follows)

    def width(self, layer: Layer) -> int:
        return self.arrays[layer].shape[1]

    def blocks(self, epoch: int, *, batch_size: int, data_seed: int) -> Iterator[Block]:
        rows = np.arange(self.n_rows)
        if self.crop is not None:
            rows = np.flatnonzero(self.crop == epoch % (int(self.crop.max()) + 1))
        rng = np.random.default_rng([data_seed, epoch])
        if self.follows is None:
            order = torch.from_numpy(rng.permutation(rows))
        else:
            first = rng.permutation(np.flatnonzero(pair_starts(self.follows, epoch)))
            order = torch.from_numpy(np.stack([first, first + 1], axis=1).ravel())
        for indices in order.split(max(BLOCK_ROWS // batch_size, 1) * batch_size):
            yield {layer: array[indices.to(array.device)] for layer, array in self.arrays.items()}

    def in_order(self) -> Iterator[Block]:
        for start in range(0, self.n_rows, BLOCK_ROWS):
            yield {layer: array[start : start + BLOCK_ROWS] for layer, array in self.arrays.items()}

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for layer, array in self.arrays.items():
            digest.update(f"{layer} {tuple(array.shape)} {array.dtype}".encode())
            digest.update(array.contiguous().cpu().numpy().data)  # where it lies: it may be gigabytes
        for more in (self.crop, self.follows):
            digest.update(b"" if more is None else more.tobytes())
        return digest.hexdigest()[:16]


class StoreRows:
    """Rows of an activations store, which is read in buffers of shuffled chunks.

    Parameters
    ----------
    store
        An ``Activations``: its ``provenance``, ``widths``, ``rows`` and ``batches`` are used.
    layers
        Layers wanted.
    kept : [rows], bool, optional
        Which rows to use.
    convert
        Turns a layer's rows, as read, into what training sees.
    what
        What they are for, in messages.
    follows : [rows] of bool, optional
        As in :class:`ArrayRows`, for all rows of the store. Neighbours that the store keeps in two chunks are no pair.
    """

    def __init__(
        self,
        store: Any,
        layers: list[Layer],
        kept: np.ndarray | None,
        convert: Callable[[np.ndarray], Tensor],
        what: str,
        follows: np.ndarray | None = None,
    ) -> None:
        self.layers = layers
        self._follows = follows
        self._store, self._kept, self._convert, self._what = store, kept, convert, what
        self.n_rows = self.rows_per_epoch = len(store.rows) if kept is None else int(kept.sum())
        if follows is not None:
            self.rows_per_epoch = most_paired(follows)

    def width(self, layer: Layer) -> int:
        return int(self._store.widths[layer])

    def blocks(self, epoch: int, *, batch_size: int, data_seed: int) -> Iterator[Block]:
        pairs = None if self._follows is None else pair_starts(self._follows, epoch)
        return self._read([data_seed, epoch], max(STREAMED_ROWS // batch_size, 1) * batch_size, pairs)

    def in_order(self) -> Iterator[Block]:
        return self._read(None, STREAMED_ROWS)

    def fingerprint(self) -> str:
        kept = b"" if self._kept is None else np.packbits(self._kept).tobytes()
        described = json.dumps(
            [self._store.provenance, self.layers, self.n_rows], sort_keys=True, default=str
        )
        return hashlib.sha256(described.encode() + kept).hexdigest()[:16]

    def _read(self, seed: list[int] | None, n_rows: int, pairs: np.ndarray | None = None) -> Iterator[Block]:
        paired = {} if pairs is None else {"pairs": pairs}
        found = self._store.batches(
            self.layers, batch_size=n_rows, seed=seed, kept=self._kept, buffer_rows=BLOCK_ROWS, **paired
        )
        for index, values in found:
            for layer, rows in values.items():
                check_finite(torch.from_numpy(rows), layer, self._what, self._store.rows, index)
            yield {layer: self._convert(rows) for layer, rows in values.items()}


def follows_of(
    activations: Any, sequence: np.ndarray | None, kept: np.ndarray | None, n_rows: int
) -> np.ndarray:
    """Return [rows] of bool: whether the next row is the next frame of the same sound, and both are kept.

    Parameters
    ----------
    activations
        Arrays, of which `sequence` tells, or a store of frames.
    sequence : [rows], optional
        Which sound each row is of; its rows lie in order of time.
    kept : [rows] of bool, optional

    Raises
    ------
    InputError
        If rows are no frames, or no two are neighbours.
    """
    if sequence is None:
        table = None if isinstance(activations, Mapping) else activations.rows
        if table is None or "time_s" not in table:
            raise InputError(
                "this kind learns from neighbouring frames: give it a store of frames (pool frames or tokens), or say "
                "with sequence= which sound each row is of"
            )
        keys = [name for name in ("clip_id", "crop", "band") if name in table]
        sequence = table.groupby(keys, sort=False).ngroup().to_numpy()
    sequence = np.asarray(sequence)
    if len(sequence) != n_rows:
        raise InputError(f"sequence has {len(sequence)} entries for {n_rows} training rows")
    kept = np.ones(n_rows, bool) if kept is None else kept
    follows = np.zeros(n_rows, bool)
    follows[:-1] = (sequence[:-1] == sequence[1:]) & kept[:-1] & kept[1:]
    if not follows.any():
        raise InputError(
            "no row has its neighbour among the training rows: this kind learns from pairs of frames"
        )
    return follows


def pair_starts(follows: np.ndarray, epoch: int) -> np.ndarray:
    """Return [rows] of bool, the first row of each pair: frames 0, 2, ... of every sound in even epochs, then 1, 3, ...

    No row is in two pairs of an epoch.
    """
    rows = np.arange(len(follows))
    begins = np.r_[True, ~follows[:-1]]
    place = rows - np.maximum.accumulate(np.where(begins, rows, 0))
    return follows & (place % 2 == epoch % 2)


def most_paired(follows: np.ndarray) -> int:
    """Return how many rows are in pairs, in even or odd epochs, whichever has more."""
    return 2 * max(int(pair_starts(follows, epoch).sum()) for epoch in (0, 1))


def read_arrays(activations: Any, layers: list[Layer], kept: np.ndarray | None, what: str) -> Block:
    """Return ``{layer: [rows, features]}`` of a dictionary of arrays or a store, checked.

    Raises
    ------
    InputError
        If an array is empty or no table of numbers, or rows are not finite (naming the first, and its clip).
    """
    table = None if isinstance(activations, Mapping) else activations.rows
    arrays = {}
    for layer in layers:
        if table is None:
            tensor, left = as_tensor(activations[layer]), kept
        else:
            _check_mask(kept, len(table), layer, what)
            tensor, left = torch.from_numpy(activations.layer(layer, kept=kept)), None
        if tensor.ndim != 2 or tensor.shape[0] == 0 or tensor.shape[1] == 0:
            raise InputError(
                f"layer {layer}: {what} activations must be rows x features and not empty, "
                f"got shape {tuple(tensor.shape)}"
            )
        if left is not None:
            _check_mask(left, len(tensor), layer, what)
            tensor = tensor[torch.from_numpy(left)]
        positions = np.arange(len(tensor)) if kept is None else np.flatnonzero(kept)
        tensor = tensor if tensor.is_floating_point() else tensor.float()
        check_finite(tensor, layer, what, table, positions)
        arrays[layer] = tensor
    lengths = {layer: len(array) for layer, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"layers differ in their number of {what} rows: {lengths}")
    return arrays


def _check_mask(kept: np.ndarray | None, n_rows: int, layer: Layer, what: str) -> None:
    if kept is not None and len(kept) != n_rows:
        raise InputError(f"layer {layer}: a mask of {len(kept)} entries for {n_rows} {what} rows")
    if kept is not None and not kept.any():
        raise InputError(f"layer {layer}: the mask leaves no {what} rows")


def check_finite(
    rows: Tensor, layer: Layer, what: str, table: pd.DataFrame | None, positions: np.ndarray
) -> None:
    """Raise InputError if ``rows [rows, features]`` hold NaN or infinity; `positions`: where they lie in `table`."""
    finite = [torch.isfinite(part).all(dim=1).numpy() for part in rows.split(STREAMED_ROWS)]
    bad = np.flatnonzero(~np.concatenate(finite))
    if len(bad):
        row = int(positions[bad[0]])
        clip = "" if table is None else f" (clip '{table['clip_id'].iloc[row]}')"
        raise InputError(
            f"layer {layer}: {len(bad)} of {len(rows)} {what} rows are not finite, the first is row {row}{clip}; "
            "leave them out or extract them again"
        )


def available_layers(activations: Any, layers: Sequence[Layer] | None, what: str) -> list[Layer]:
    """Return the layers asked for, all by default; raises InputError for one that is not there."""
    if not isinstance(activations, Mapping) and not hasattr(activations, "layers"):
        raise InputError(
            f"{what} needs a store, or a dict of layer -> rows such as {{3: rows}}; got {type(activations).__name__}"
        )
    available = list(activations) if isinstance(activations, Mapping) else list(activations.layers)
    wanted = available if layers is None else list(layers)
    missing = [layer for layer in wanted if layer not in available]
    if missing or not wanted:
        raise InputError(f"no {what} activations of layer {missing}; there are layers {available}")
    return wanted


def as_mask(rows: np.ndarray | None, activations: Any, layers: list[Layer]) -> np.ndarray | None:
    """Turn a boolean mask [rows] or indices [some] into a mask over all rows."""
    if rows is None:
        return None
    rows = np.array(rows)  # a copy: torch warns of arrays that pandas lends to read only
    if rows.dtype == bool:
        return rows
    mask = np.zeros(n_rows_of(activations, layers), dtype=bool)
    mask[rows] = True
    return mask


def n_rows_of(activations: Any, layers: list[Layer]) -> int:
    """Return how many rows there are."""
    return len(activations[layers[0]] if isinstance(activations, Mapping) else activations.rows)
