"""What each latent does in each clip: streamed over rows, kept only where it is active."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from otoscope.errors import InputError
from otoscope.saes.training.rows import check_finite

if TYPE_CHECKING:
    from otoscope.saes import SparseAutoencoder

SAMPLE_ROWS = 20_000
"""Rows from which co-firing and moments are told."""
FEWEST_CLIPS = 20
"""Clips that a sample of rows is of, where there are so many."""
BLOCK_ROWS = 4096
"""Rows whose codes are in memory at a time."""
MOST_REMEMBERED = 32_000_000
"""Active codes, of 8 bytes, that are kept where all rows have no more, so that they are made once."""


@dataclass(frozen=True)
class Codes:
    """Codes of rows, that can be gone through as often as needed, a block at a time.

    Attributes
    ----------
    n_rows, n_latents : int
    blocks : callable
        Without arguments; yields places of rows [block] and their codes [block, latents], float32, each row once.
    """

    n_rows: int
    n_latents: int
    blocks: Callable[[], Iterator[tuple[np.ndarray, torch.Tensor]]]

    def active(self) -> Iterator[tuple[np.ndarray, sparse.csr_matrix]]:
        """Yield places of rows [block] and their codes above 0, sparse [block, latents]; few are made only once."""
        if self._remembered:
            yield from self._remembered
            return
        known: list[tuple[np.ndarray, sparse.csr_matrix]] = []
        n = 0
        for places, codes in self.blocks():
            found = _above_zero(codes.numpy())
            n += found.nnz
            known.append((places, found))
            if n > MOST_REMEMBERED:
                known.clear()
            yield places, found
        self._remembered.extend(known)

    @cached_property
    def _remembered(self) -> list[tuple[np.ndarray, sparse.csr_matrix]]:
        return []


def codes_of_store(sae: SparseAutoencoder, store: Any, layer: int | str) -> Codes:
    """Return the codes that `sae` gives the rows of a layer of an activations store.

    Raises
    ------
    InputError
        If the layer is not there or has another width. While they are read: if rows are not finite.
    """
    if layer not in list(store.layers):
        raise InputError(f"the store has no layer {layer} (it has {list(store.layers)})")
    sae.check_input(torch.empty(0, store.widths[layer]))
    weight = next(sae.parameters())

    def blocks() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        found = store.batches([layer], batch_size=BLOCK_ROWS, seed=None, buffer_rows=BLOCK_ROWS)
        for places, values in found:
            rows = torch.from_numpy(np.require(values[layer], requirements="W"))
            check_finite(rows, layer, "given", store.rows, places)
            with torch.no_grad():
                codes = sae.encode(rows.to(weight)).float().cpu()
            yield places, codes

    return Codes(len(store.rows), sae.n_latents, blocks)


def codes_of_array(codes: np.ndarray) -> Codes:
    """Return codes [rows, latents] that are in memory, to be gone through; what is not above 0 counts as silent."""

    def blocks() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for start in range(0, len(codes), BLOCK_ROWS):
            part = np.array(codes[start : start + BLOCK_ROWS], dtype=np.float32)
            yield np.arange(start, start + len(part)), torch.from_numpy(part)

    return Codes(len(codes), codes.shape[1], blocks)


@dataclass(frozen=True)
class Activity:
    """What each latent does in each clip, an entry only where it is active, ordered by latent and clip.

    Attributes
    ----------
    clip, latent : int [entries]
        Place of the clip, and number of the latent.
    max, mean, share : float [entries]
        The highest code, the mean over all of the clip's rows, the share of them in which it is active.
    peak_row : int [entries]
        The row of the highest code.
    n_clips, n_latents : int
    frequency, mean_active : [latents]
        The share of all rows in which a latent is active, and its mean there (NaN where it never is).
    sample_rows : int [sampled rows]
        Some rows, whole clips of them, whose codes are kept.
    sample : sparse [sampled rows, latents]
        Their codes.
    """

    clip: np.ndarray
    latent: np.ndarray
    max: np.ndarray
    mean: np.ndarray
    share: np.ndarray
    peak_row: np.ndarray
    n_clips: int
    n_latents: int
    frequency: np.ndarray
    mean_active: np.ndarray
    sample_rows: np.ndarray
    sample: sparse.csr_matrix

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each latent's entries begin, and after them the end of all [latents + 1]."""
        return np.searchsorted(self.latent, np.arange(self.n_latents + 1))

    @cached_property
    def peak(self) -> np.ndarray:
        """The highest code of each latent; 0 where it never fires [latents]."""
        highest = np.zeros(self.n_latents, np.float32)
        np.maximum.at(highest, self.latent, self.max)
        return highest

    def of(self, latent: int) -> slice:
        """Return which entries are of a latent."""
        return slice(int(self.starts[latent]), int(self.starts[latent + 1]))

    def matrix(self, values: Literal["max", "mean"] = "mean") -> sparse.csc_matrix:
        """Return the highest or mean codes as a sparse matrix [clips, latents]."""
        shape = (self.n_clips, self.n_latents)
        return sparse.csc_matrix((getattr(self, values), self.clip, self.starts), shape=shape)


def measure_activity(
    codes: Codes,
    clip_of: np.ndarray,
    *,
    sample_rows: np.ndarray | None = None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Activity:
    """Go through codes once and sum up each clip.

    Parameters
    ----------
    codes : Codes
    clip_of : int [rows]
        The clip of each row, from 0; rows of a clip mostly follow each other.
    sample_rows : int [sampled rows], optional
        Ordered; rows whose codes are to be kept.
    on_rows : callable
        Told how many rows were done.
    """
    n_clips = int(clip_of.max()) + 1
    size = np.bincount(clip_of, minlength=n_clips)
    sampled = np.zeros(codes.n_rows, bool)
    sampled[[] if sample_rows is None else sample_rows] = True
    parts, kept = [], []
    n_on, total = np.zeros(codes.n_latents, np.int64), np.zeros(codes.n_latents)
    for places, z in codes.active():
        n_on += np.bincount(z.indices, minlength=codes.n_latents)
        total += np.bincount(z.indices, z.data, minlength=codes.n_latents)
        parts.append(_summed_up(z, places, clip_of[places]))
        if sampled[places].any():
            kept.append(z[sampled[places]])
        on_rows(len(places))
    columns = [np.concatenate(column) for column in zip(*parts)]
    clip, latent, peak, summed, n_active, row = _merged(columns, n_clips)
    return Activity(
        clip=clip.astype(np.int32),
        latent=latent.astype(np.int32),
        max=peak,
        mean=(summed / size[clip]).astype(np.float32),
        share=(n_active / size[clip]).astype(np.float32),
        peak_row=row,
        n_clips=n_clips,
        n_latents=codes.n_latents,
        frequency=n_on / codes.n_rows,
        mean_active=np.divide(total, n_on, out=np.full(codes.n_latents, np.nan), where=n_on > 0),
        sample_rows=np.flatnonzero(sampled),
        sample=sparse.vstack(kept, format="csr") if kept else sparse.csr_matrix((0, codes.n_latents)),
    )


def sampled_rows(
    rows: pd.DataFrame, *, n: int = SAMPLE_ROWS, seed: int = 0, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the places of rows of randomly chosen clips, about `n` of them, in order.

    Clips are taken whole but for long ones, which give a stretch, so that there are `FEWEST_CLIPS` at least. From
    these rows, `describe_latents` tells which latents fire together, and what goes with moments.

    Parameters
    ----------
    groups : [rows], optional
        Each row's group: groups then take turns, so that as many of them as possible are heard.
    """
    clip_of = pd.factorize(rows.clip_id.astype(str))[0]
    rng = np.random.default_rng(seed)
    size = np.bincount(clip_of)
    order = rng.permutation(len(size))
    if groups is not None:
        group_of = pd.Series(groups).groupby(clip_of).first().to_numpy()[order]
        turn = pd.Series(group_of).groupby(group_of).cumcount()
        order = order[np.argsort(turn, kind="stable")]
    longest = max(n // FEWEST_CLIPS, 1)
    given = np.minimum(size, longest)
    chosen = order[: max(int((np.cumsum(given[order]) <= n).sum()), 1)]
    first = np.zeros(len(size), np.int64)
    first[chosen] = rng.integers(0, size[chosen] - given[chosen] + 1)
    place = (
        pd.Series(clip_of).groupby(clip_of).cumcount().to_numpy() - first[clip_of]
    )  # in its clip's stretch
    return np.flatnonzero(np.isin(clip_of, chosen) & (place >= 0) & (place < given[clip_of]))


def rows_of(z: sparse.csr_matrix) -> np.ndarray:
    """Return the row of each entry [entries]."""
    return np.repeat(np.arange(z.shape[0]), np.diff(z.indptr))


def _above_zero(codes: np.ndarray) -> sparse.csr_matrix:
    """Return the entries of codes [block, latents] that are not 0 or less."""
    n_rows, n_latents = codes.shape
    found = np.flatnonzero(~(codes <= 0))
    starts = np.searchsorted(found, np.arange(n_rows + 1) * n_latents)
    latent = (found - np.repeat(np.arange(n_rows) * n_latents, np.diff(starts))).astype(np.int32)
    return sparse.csr_matrix((codes.ravel()[found], latent, starts.astype(np.int32)), shape=codes.shape)


def _summed_up(z: sparse.csr_matrix, places: np.ndarray, clip: np.ndarray) -> tuple:
    """Return clip, latent, max, sum, number of active rows and row of the max, where a latent is active in a block.

    Parameters
    ----------
    z : sparse [block, latents]
        Codes above 0.
    places, clip : int [block]
    """
    row, latent, value = rows_of(z), z.indices.astype(np.int64), z.data
    first = np.flatnonzero(np.diff(clip, prepend=-1))
    if len(first) == len(clip):  # a row a clip
        return clip[row], latent, value, value, np.ones(len(value), np.int64), places[row]
    n_latents = z.shape[1]
    run = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(clip))))
    key = run[row] * n_latents + latent
    size = len(first) * n_latents
    counts, sums = np.bincount(key, minlength=size), np.bincount(key, value, minlength=size)
    found = np.flatnonzero(counts)
    highest, where = np.zeros(size, value.dtype), np.zeros(size, np.int64)
    np.maximum.at(highest, key, value)
    at_peak = np.flatnonzero(value == highest[key])[::-1]
    where[key[at_peak]] = row[at_peak]  # of equal ones the first, which is written last
    return (
        clip[first][found // n_latents],
        found % n_latents,
        highest[found],
        sums[found],
        counts[found],
        places[where[found]],
    )


def _merged(columns: list[np.ndarray], n_clips: int) -> list[np.ndarray]:
    """Order entries by latent and clip, and make one of those of a clip that lay in two blocks."""
    clip, latent, peak, summed, n_active, row = columns
    key = latent * np.int64(n_clips) + clip
    order = np.lexsort((-peak, key))
    clip, latent, peak, summed, n_active, row = (column[order] for column in columns)
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    if len(first) == len(clip):
        return [clip, latent, peak, summed, n_active, row]
    sums = [np.add.reduceat(column, first) for column in (summed, n_active)]
    return [clip[first], latent[first], peak[first], *sums, row[first]]
