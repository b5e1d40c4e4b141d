"""Views of an encoder's stores, one for each role: learning, judging, measuring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from otoscope.activations import Activations


@dataclass(frozen=True)
class View:
    """Rows of a store, and whose they are.

    Attributes
    ----------
    store : Activations
    rows : DataFrame
        clip_id, crop, start_s, stop_s, then the clip's split, group and labels; the index is the place in the store.
    """

    store: Activations
    rows: pd.DataFrame

    def layer(self, layer: int | str) -> np.ndarray:
        """Return a layer's [rows, width]."""
        whole = self.store.layer(layer)
        return whole if len(self.rows) == len(whole) else whole[self.rows.index]

    def only(self, *splits: str) -> View:
        """Return the rows of these splits."""
        return View(self.store, self.rows[self.rows.split.isin(splits)])


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
