"""Read a store: arrays, rows, shuffled batches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import zarr

from otoscope.activations import shuffle
from otoscope.activations.store import Store, array_name
from otoscope.encoders.tokens import Layer
from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import xarray


class Activations:
    """The pooled states of an encoder on a table of clips, as `extract` left them on disk.

    Attributes
    ----------
    path : str
        Folder or URL.
    provenance : dict
        What the numbers depend on.
    """

    def __init__(self, store: Store, *, partial: bool = False) -> None:
        self._store = store
        self.path = store.url
        self.provenance: dict[str, Any] = store.provenance()
        self._shards = sorted(store.done())
        missing = int(self.provenance["shards"]) - len(self._shards)
        if missing and not partial:
            raise InputError(
                f"{self.path} is not complete: {missing} of {self.provenance['shards']} shards are missing. Run the "
                "same extraction again to finish it, or open it with partial=True"
            )

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
            If there is no store, or it is not complete.
        """
        return cls(Store(path), partial=partial)

    def __repr__(self) -> str:
        return f"Activations({self.path!r}, {self.provenance['encoder']}, layers {self.layers}, {len(self.rows)} rows)"

    def __len__(self) -> int:
        return len(self.rows)

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
        entries += [entry for shard in self._shards for entry in self._store.skipped(shard)]
        return pd.DataFrame(entries, columns=["clip_id", "path", "reason"])

    def layer(self, layer: Layer, *, dtype: str = "float32") -> np.ndarray:
        """Return a layer whole, in memory: [rows, width], in the order of `rows`."""
        array = self.array(layer)
        values = np.empty((len(self), array.shape[1]), dtype)
        start = 0
        for first, stop in self.spans:
            values[start : start + stop - first] = array[first:stop]
            start += stop - first
        return values

    def batches(
        self,
        layers: Sequence[Layer] | None = None,
        *,
        batch_size: int,
        seed: int | Sequence[int] | None = 0,
        kept: np.ndarray | None = None,
        buffer_rows: int = 65_536,
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

        Yields
        ------
        index : np.ndarray [batch]
            Places in `rows`.
        values : dict of layer to np.ndarray [batch, width], float32
        """
        layers = self.layers if layers is None else list(layers)
        arrays = [self.array(layer) for layer in layers]
        found = shuffle.batches(
            arrays, self.spans, batch_size=batch_size, seed=seed, kept=kept, buffer_rows=buffer_rows
        )
        for index, values in found:
            yield index, dict(zip(layers, values))

    def array(self, layer: Layer) -> zarr.Array:
        """Return a layer's Zarr array. Rows of it that no crop filled are in no `rows`: read it through `spans`."""
        if layer not in self.layers:
            raise InputError(
                f"{self.path} has no layer '{layer}'{nearest(str(layer), map(str, self.layers))} (it has {self.layers})"
            )
        array = self._group[array_name(layer)]
        assert isinstance(array, zarr.Array)
        return array

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Ranges (first, stop) of the arrays that hold rows, in order."""
        index = self._rows.array_row.to_numpy()
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        return [(int(part[0]), int(part[-1]) + 1) for part in np.split(index, breaks) if len(part)]

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
        return self._store.group()

    @cached_property
    def _rows(self) -> pd.DataFrame:
        if not self._shards:
            return pd.DataFrame(columns=["clip_id", "crop", "start_s", "stop_s", "array_row"])
        return pd.concat([self._store.rows(shard) for shard in self._shards], ignore_index=True)


def layer_rows(store: Activations, clips: pd.DataFrame) -> pd.DataFrame:
    """Return the store's rows in order, with the clip's split, group and labels beside them."""
    about = clips.drop(columns=["path", "start_s", "stop_s"])
    return store.rows.merge(about, on="clip_id", how="left", validate="many_to_one")
