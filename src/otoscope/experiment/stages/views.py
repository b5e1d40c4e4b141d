"""Views of an encoder's stores, one for each role: learning, judging, measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from otoscope.activations import Activations

BLOCK_ROWS = 8192
"""Rows of a layer that are in memory at a time, where it is gone through in blocks."""


@dataclass(frozen=True)
class View:
    """Rows of a store, and whose they are.

    Attributes
    ----------
    store : Activations
    rows : DataFrame
        clip_id, crop, start_s, stop_s, then the clip's split, group and labels; the index is the place in the store.
    frames : View, optional
        The frames of these rows, of the layers that are studied.
    """

    store: Activations
    rows: pd.DataFrame
    frames: View | None = None

    @property
    def learnt(self) -> View:
        """What dictionaries learn from and are measured on: the frames, where there are any, or these rows."""
        return self if self.frames is None else self.frames

    def layer(self, layer: int | str) -> np.ndarray:
        """Return a layer's [rows, width]; no more than these and a block of rows is in memory."""
        if len(self.rows) == len(self.store.rows):
            return self.store.layer(layer)
        nothing = np.empty((0, self.store.widths[layer]), np.float32)
        return np.concatenate([nothing, *self.blocks(layer)])

    def only(self, *splits: str) -> View:
        """Return the rows of these splits."""
        frames = None if self.frames is None else self.frames.only(*splits)
        return View(self.store, self.rows[self.rows.split.isin(splits)], frames)

    def sample(self, n_rows: int, *, seed: int) -> View:
        """Return as many rows, drawn at random, in order; all where there are no more."""
        if len(self.rows) <= n_rows:
            return self
        chosen = np.random.default_rng(seed).choice(len(self.rows), n_rows, replace=False)
        return View(self.store, self.rows.iloc[np.sort(chosen)])

    def blocks(self, layer: int | str) -> Blocks:
        """Return a layer's rows in order, a block at a time."""
        return Blocks(self, layer)

    def codes(
        self,
        layer: int | str,
        encode: Callable[[np.ndarray], np.ndarray],
        clip_codes: Sequence[str] = ("",),
    ) -> dict[str, np.ndarray]:
        """Return the codes [rows, latents] of a layer, by how they were made from frames; "" where there are none."""
        from otoscope.saes import pooled_codes

        if self.frames is None:
            return dict.fromkeys(clip_codes, encode(self.layer(layer)))
        keys = ["clip_id", "crop"]
        rows = pd.MultiIndex.from_frame(self.rows[keys])
        places = rows.get_indexer(pd.MultiIndex.from_frame(self.frames.rows[keys]))
        return pooled_codes(
            encode, self.frames.blocks(layer), places, n_places=len(rows), clip_codes=clip_codes
        )


@dataclass(frozen=True)
class Blocks:
    """Rows of a layer in order, read anew each time that they are gone through; its length is the number of rows."""

    view: View
    name: int | str

    def __len__(self) -> int:
        return len(self.view.rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        store = self.view.store
        kept = np.zeros(len(store.rows), dtype=bool)
        kept[self.view.rows.index] = True
        for _, values in store.batches(
            [self.name], batch_size=BLOCK_ROWS, seed=None, kept=kept, buffer_rows=BLOCK_ROWS
        ):
            yield values[self.name]


@dataclass(frozen=True)
class Views:
    """An encoder's view for each role. Where all is cut alike, the three are of one store.

    Attributes
    ----------
    train : View
        Of training clips; probes and autoencoders learn from it.
    evaluate : View
        Of validation and test clips; epochs and layers are picked by it, probes scored on it.
    measure : View
        Reconstruction and disentanglement are measured on it.
    in_turn : bool
        Whether an epoch sees one crop of each training clip.
    """

    train: View
    evaluate: View
    measure: View
    in_turn: bool = False

    @property
    def layers(self) -> list[int]:
        """The layers to probe: 0..L."""
        return [layer for layer in self.train.store.layers if isinstance(layer, int)]

    @cached_property
    def probed(self) -> pd.DataFrame:
        """The rows that probes see: training, validation and test; of crops in turn the first."""
        train = self.train.rows.iloc[self._turns[0]] if self.in_turn else self.train.rows
        if self.train.store is self.evaluate.store:  # as they lie in the store
            return pd.concat([train, self.evaluate.rows]).sort_index()
        return pd.concat([train, self.evaluate.rows], ignore_index=True)

    def layer(self, layer: int | str) -> np.ndarray:
        """Return a layer's [probed rows, width]."""
        if self.train.store is self.evaluate.store:
            return self.train.store.layer(layer)[self.probed.index]
        train = self.train.layer(layer)
        train = train[self._turns[0]] if self.in_turn else train
        return np.concatenate([train, self.evaluate.layer(layer)])

    def codes(
        self,
        layer: int | str,
        encode: Callable[[np.ndarray], np.ndarray],
        clip_codes: Sequence[str] = ("",),
    ) -> dict[str, np.ndarray]:
        """Return the codes [probed rows, latents] of a layer, by how they were made from frames."""
        if self.train.frames is None:
            return dict.fromkeys(clip_codes, encode(self.layer(layer)))
        sides = [view.codes(layer, encode, clip_codes) for view in (self.train, self.evaluate)]
        found = {name: np.concatenate([side[name] for side in sides]) for name in clip_codes}
        if self.train.store is not self.evaluate.store:
            return found
        order = np.argsort(np.concatenate([self.train.rows.index, self.evaluate.rows.index]))
        return {name: codes[order] for name, codes in found.items()}

    def turns(self, layer: int | str) -> np.ndarray | None:
        """Return training clips' crops [crops, clips, width] for epochs to take in turn, None for all at once."""
        return self.train.layer(layer)[self._turns] if self.in_turn else None

    @cached_property
    def _turns(self) -> np.ndarray:
        """Places [crops, clips] in the training view; a clip with fewer crops than others begins again."""
        places = pd.Series(np.arange(len(self.train.rows)))
        of_clip = [
            own.to_numpy() for _, own in places.groupby(self.train.rows.clip_id.to_numpy(), sort=False)
        ]
        n_crops = max(len(own) for own in of_clip)
        return np.stack([own[np.arange(n_crops) % len(own)] for own in of_clip], axis=1)
