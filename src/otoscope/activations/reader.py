"""Read a store: arrays, rows, shuffled batches."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import zarr

from otoscope.activations import shuffle
from otoscope.activations.records import COLUMNS, FORMAT, ShardRecord, damaged
from otoscope.activations.store import Store, array_name
from otoscope.encoders.tokens import Layer
from otoscope.errors import InputError, ProvenanceError, nearest

if TYPE_CHECKING:
    import xarray

CHUNKS_AT_ONCE = 16
"""Chunks of a layer that are read together, beside what is made of them."""


class Activations:
    """The pooled states of an encoder on a table of clips, as `extract` left them on disk.

    Attributes
    ----------
    path : str
        Folder or URL.
    provenance : dict
        What the numbers depend on.
    records : list of ShardRecord
        What was noted of each shard when it was written.
    """

    def __init__(self, store: Store, *, partial: bool = False, without: Collection[str] = ()) -> None:
        self._store = store
        self.path = store.url
        self.provenance: dict[str, Any] = store.provenance()
        if self.provenance.get("format") != FORMAT:
            raise ProvenanceError(
                f"{self.path} was made by another version of Otoscope (format {self.provenance.get('format')} there, "
                f"{FORMAT} now), which kept no checksums that this one knows: extract again, to another folder"
            )
        n_shards = self.provenance["shards"]
        shards = store.done()
        strange = sorted(shards - {f"{number:05d}" for number in range(n_shards)})
        if strange:
            raise damaged(
                self.path, strange[0], f"rows/{strange[0]}.parquet is of none of its {n_shards} shards"
            )
        if len(shards) < n_shards and not partial:
            raise InputError(
                f"{self.path} is not complete: {n_shards - len(shards)} of {n_shards} shards are missing. Run the "
                "same extraction again to finish it, or open it with partial=True"
            )
        self.records = store.records(shards - set(without))
        self.provenance["recordings"] = _heard(self.records)
        for shard, reason in store.wrong_files(self.records).items():
            raise damaged(self.path, shard, reason)

    @classmethod
    def open(cls, path: str | os.PathLike, *, partial: bool = False) -> Activations:
        """Open a store; one that still lacks shards only if `partial`.

        Parameters
        ----------
        path : str or Path
            A folder, or any URL that fsspec knows (``s3://...``).

        Raises
        ------
        InputError
            If there is no store, it is not complete, or a file of it is missing or has another size. What a file
            holds is compared with its checksum when it is first read; that raises InputError too.
        """
        return cls(Store(path), partial=partial)

    def __repr__(self) -> str:
        return f"Activations({self.path!r}, {self.provenance['encoder']}, layers {self.layers}, {len(self.rows)} rows)"

    def __len__(self) -> int:
        return sum(record.rows for record in self.records)

    @property
    def layers(self) -> list[Layer]:
        """Layers in the store, numbers first."""
        return [layer if layer == "final" else int(layer) for layer in self.provenance["layers"]]

    @cached_property
    def widths(self) -> dict[Layer, int]:
        """Features of each layer."""
        return {layer: self.array(layer).shape[1] for layer in self.layers}

    @cached_property
    def rows(self) -> pd.DataFrame:
        """What each row is: clip_id, crop, start_s, stop_s; with frames also time_s, with frequency patches band.

        `start_s` and `stop_s` are in the file's time. A frame spans one hop around its centre `time_s`,
        less at the ends of its crop.
        """
        return self._rows.drop(columns="array_row")

    def labelled(self, clips: pd.DataFrame) -> pd.DataFrame:
        """Return `rows` in their order, with the split, group and labels of each one's clip beside them.

        ``rows=store.labelled(clips).split == "train"`` has `train_saes` learn from training clips only.

        Parameters
        ----------
        clips : DataFrame
            The clips table that the store was made from, or a part of it: what rows of other clips lack is empty.
        """
        about = clips.drop(columns=["path", "start_s", "stop_s"])
        return self.rows.merge(about, on="clip_id", how="left", validate="many_to_one")

    @cached_property
    def skipped(self) -> pd.DataFrame:
        """What was left out because it could not be used: clip_id, path, reason.

        Files that the clips table had left out already (``clips.attrs["left_out"]``) come first; they have no clip_id.
        """
        entries = []
        for text in self.provenance.get("left_out", []):
            path, _, reason = text.partition(": ")
            entries.append({"clip_id": "", "path": path, "reason": reason})
        entries += [entry for record in self.records for entry in record.skipped]
        return pd.DataFrame(entries, columns=["clip_id", "path", "reason"])

    def layer(self, layer: Layer, *, dtype: str = "float32", kept: np.ndarray | None = None) -> np.ndarray:
        """Return a layer, in memory: [rows, width], in the order of `rows`; or those where `kept` [rows] is true."""
        array = self.array(layer)
        values = np.empty((len(self) if kept is None else int(kept.sum()), array.shape[1]), dtype)
        at_once = CHUNKS_AT_ONCE * array.chunks[0]
        place = start = 0
        for first, stop in self.spans:
            for begin in range(first, stop, at_once):
                rows = np.asarray(array[begin : min(begin + at_once, stop)])
                own = rows if kept is None else rows[kept[place : place + len(rows)]]
                values[start : start + len(own)] = own
                place, start = place + len(rows), start + len(own)
        return values

    def batches(
        self,
        layers: Sequence[Layer] | None = None,
        *,
        batch_size: int,
        seed: int | Sequence[int] | None = 0,
        kept: np.ndarray | None = None,
        buffer_rows: int = 65_536,
        pairs: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, dict[Layer, np.ndarray]]]:
        """Yield every row once, shuffled, without holding the store in memory.

        Chunks come in random order and rows are mixed over a buffer of many chunks (the chunks of a framewise store
        hold few clips each). The next buffer is read while this one is used, so memory stays near two buffers.

        Parameters
        ----------
        layers : sequence of int or str, optional
            Layers to read together; all by default.
        batch_size : int
            Rows per batch; the last batch holds what is left.
        seed : int, sequence of int or None
            Of the order, which does not depend on `layers`; give every epoch its own. None keeps the order of `rows`.
        kept : [rows], bool, optional
            Which rows to yield; all by default.
        buffer_rows : int
            How many rows are mixed at once.
        pairs : [rows], bool, optional
            Yield pairs: each of these rows that is kept and, if it is kept and of the same chunk, the row after it;
            no other row. No row may be in two; `batch_size` must be even.

        Yields
        ------
        index : np.ndarray [batch]
            Places in `rows`.
        values : dict of layer to np.ndarray [batch, width], float32
        """
        if pairs is not None and batch_size % 2:
            raise InputError(f"pairs of rows need an even batch_size; got {batch_size}")
        layers = self.layers if layers is None else list(layers)
        arrays = [self.array(layer) for layer in layers]
        found = shuffle.batches(
            arrays,
            self.spans,
            batch_size=batch_size,
            seed=seed,
            kept=kept,
            buffer_rows=buffer_rows,
            pairs=pairs,
        )
        for index, values in found:
            yield index, dict(zip(layers, values))

    def array(self, layer: Layer) -> zarr.Array:
        """Return a layer's Zarr array. Rows of it that no crop filled are in no `rows`: read it through `spans`."""
        if layer not in self.layers:
            raise InputError(
                f"{self.path} has no layer '{layer}'{nearest(str(layer), map(str, self.layers))} (it has {self.layers})"
            )
        name = array_name(layer)
        try:
            array = self._group[name]
        except Exception as error:  # zarr's errors for what it cannot read may be anything
            raise InputError(
                f"{self.path} is damaged: {name}/zarr.json cannot be read as an array's. Remove the store and extract "
                "again"
            ) from error
        if not isinstance(array, zarr.Array) or any(
            not _fits(array, name, record) for record in self.records
        ):
            raise InputError(
                f"{self.path} is damaged: {name}/zarr.json is not that of the array that was written. Remove the "
                "store and extract again"
            )
        return array

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Ranges (first, stop) of the arrays that hold rows, in order."""
        found: list[tuple[int, int]] = []
        for record in self.records:
            first, stop = record.first_row, record.first_row + record.rows
            if found and found[-1][1] == first:
                found[-1] = found[-1][0], stop
            elif stop > first:
                found.append((first, stop))
        return found

    def to_xarray(self) -> xarray.Dataset:
        """Return an `xarray.Dataset`: one variable per layer, read when used, and the rows as coordinates.

        Raises
        ------
        InputError
            If xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise InputError("to_xarray needs xarray: pip install 'otoscope[xarray]'") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the folder of row tables is no part of the Zarr hierarchy
            dataset = xarray.open_zarr(self._group.store, consolidated=False, chunks=None, zarr_format=3)
        dataset = dataset[[array_name(layer) for layer in self.layers]]
        dataset = dataset.isel(row=self._rows.array_row.to_numpy())
        return dataset.assign_coords({name: ("row", column.to_numpy()) for name, column in self.rows.items()})

    @cached_property
    def _group(self) -> zarr.Group:
        return self._store.group(records=self.records)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        if not self.records:
            return pd.DataFrame(columns=list(COLUMNS))
        return pd.concat([self._store.rows(record) for record in self.records], ignore_index=True)


def is_whole(path: str | os.PathLike) -> bool:
    """Whether a store lies here with all its shards and their files, as far as sizes tell."""
    try:
        Activations.open(path)
    except InputError:
        return False
    return True


def _heard(records: list[ShardRecord]) -> str:
    """Return 16 hex digits of what the recordings held."""
    told = repr([record.recordings for record in records])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _fits(array: zarr.Array, name: str, record: ShardRecord) -> bool:
    """Whether an array's description can be that of what a shard's record says was written."""
    n_bytes = array.chunks[0] * array.shape[1] * array.dtype.itemsize if array.ndim == 2 else 0
    return (
        name in record.layers
        and array.dtype.kind == "f"
        and array.chunks == (record.chunk_rows, *array.shape[1:])
        and n_bytes == record.layers[name].chunk_bytes
        and record.first_row + record.rows <= array.shape[0]
        and not array.compressors
    )


def layer_rows(store: Activations, clips: pd.DataFrame) -> pd.DataFrame:
    """Return the store's rows in order, with the clip's split, group and labels beside them."""
    about = clips.drop(columns=["path", "start_s", "stop_s"])
    return store.rows.merge(about, on="clip_id", how="left", validate="many_to_one")
