"""A store's rows a batch at a time, in order or shuffled: whole chunks, each read once, several layers together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zarr

from otoscope.compute import thread_map

Block = tuple[np.ndarray, list[np.ndarray]]
"""Places of rows in the table, and each array's values there."""


def batches(
    arrays: Sequence[zarr.Array],
    spans: Sequence[tuple[int, int]],
    *,
    batch_size: int,
    seed: int | Sequence[int] | None,
    kept: np.ndarray | None,
    buffer_rows: int,
    pairs: np.ndarray | None = None,
) -> Iterator[Block]:
    """Yield the rows of `spans` once; see :meth:`otoscope.activations.Activations.batches`.

    Parameters
    ----------
    arrays : sequence of [rows, width]
        One for each layer, all in chunks of as many rows.
    spans : sequence of (first, stop)
        Which rows of the arrays are rows of the table, in its order.
    batch_size, buffer_rows
        Rows in a batch, and over how many they are mixed.
    seed
        Of the order; None keeps the table's.
    kept : [rows], bool, optional
        Which rows of the table to yield.
    pairs : [rows], bool, optional
        Yield these rows alone, each with the next row of the table after it.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    pieces = _pieces(spans, arrays[0].chunks[0], kept)
    if rng is not None:
        pieces = [pieces[index] for index in rng.permutation(len(pieces))]
    groups = _grouped(pieces, max(buffer_rows, batch_size))
    left = np.empty(0, int), [np.empty((0, array.shape[1]), np.float32) for array in arrays]
    for places, values in thread_map(lambda group: _read(arrays, group), groups, workers=1, ahead=1):
        order = np.arange(len(places)) if pairs is None else _firsts(places, pairs)
        order = order if rng is None else rng.permutation(order)
        if pairs is not None:
            order = np.stack([order, order + 1], axis=1).ravel()
        need = batch_size - len(left[0])
        first = _taken(places, values, order[:need])  # completes the batch that the buffer before began
        left = np.concatenate([left[0], first[0]]), [np.concatenate(both) for both in zip(left[1], first[1])]
        for start in range(need, len(order) + 1, batch_size):
            yield left
            left = _taken(places, values, order[start : start + batch_size])
        del places, values, first  # before the next buffer but one is read
    if len(left[0]):
        yield left


@dataclass(frozen=True)
class _Piece:
    """Rows `first` to `stop` of the arrays, all in one chunk, and which of them are wanted."""

    first: int
    stop: int
    places: np.ndarray
    """Of the wanted rows in the table."""
    wanted: np.ndarray | slice
    """Of the rows of the piece."""


def _pieces(spans: Sequence[tuple[int, int]], chunk_rows: int, kept: np.ndarray | None) -> list[_Piece]:
    pieces, place = [], 0
    for first, stop in spans:
        while first < stop:
            end = min(stop, (first // chunk_rows + 1) * chunk_rows)
            places = np.arange(place, place + end - first)
            wanted: np.ndarray | slice = slice(None)
            if kept is not None:
                wanted = np.flatnonzero(kept[places])
                places = places[wanted]
            if len(places):
                pieces.append(_Piece(first, end, places, wanted))
            place += end - first
            first = end
    return pieces


def _grouped(pieces: Sequence[_Piece], n_rows: int) -> Iterator[list[_Piece]]:
    """Yield runs of pieces of at least `n_rows` wanted rows together; the last may be shorter."""
    group: list[_Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(len(p.places) for p in group) >= n_rows:
            yield group
            group = []
    if group:
        yield group


def _read(arrays: Sequence[zarr.Array], group: list[_Piece]) -> Block:
    places = np.concatenate([piece.places for piece in group])
    values = [np.empty((len(places), array.shape[1]), array.dtype) for array in arrays]
    start = 0
    for piece in group:
        stop = start + len(piece.places)
        for array, rows in zip(arrays, values):
            rows[start:stop] = np.asarray(array[piece.first : piece.stop])[piece.wanted]
        start = stop
    return places, values


def _firsts(places: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return where in `places` a pair begins, both rows of which were read."""
    return np.flatnonzero(pairs[places[:-1]] & (places[1:] == places[:-1] + 1))


def _taken(places: np.ndarray, values: list[np.ndarray], chosen: np.ndarray) -> Block:
    return places[chosen], [rows[chosen].astype(np.float32, copy=False) for rows in values]
