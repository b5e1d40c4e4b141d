"""What is measured of a layer: its activations as they are, the code of each dictionary, and nulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.nulls import encoders_of_nulls
from otoscope.experiment.stages.saes import Dictionary, nearest, nearest_of_kinds
from otoscope.experiment.stages.views import Views
from otoscope.results import DENSE, NULLS

ICA_FRAMES = 20_000
"""Frames that independent components are learnt from at most: the iteration goes through them hundreds of times."""


@dataclass(frozen=True)
class Representation:
    """Codes to be measured, and the factors they are measured against (shuffled for one null)."""

    key: str
    """Tells it from the others of its layer."""
    name: str
    sparsity: float | None
    seed: int
    code: Callable[[], np.ndarray]
    """Returns the codes [rows, latents]; nothing is computed before."""
    factors: pd.DataFrame
    in_focus: bool = True
    """Whether the slower measures are taken of it: the dense layer, codes at one sparsity, nulls."""

    @property
    def is_main_code(self) -> bool:
        """Whether it is the code of a dictionary, at the sparsity that stands for all."""
        return self.in_focus and self.name not in (DENSE, *NULLS)

    @property
    def about(self) -> dict:
        """The columns that name it."""
        return {"representation": self.name, "sparsity": self.sparsity, "seed": self.seed}


def twin(item: Representation, items: dict[str, Representation]) -> Representation | None:
    """Return the one that may well have the same numbers, so that they are measured once.

    With top-k, a random encoder that stays as it was drawn has the codes of the untrained autoencoder.
    """
    if item.name != "frozen_encoder":
        return None
    same = [own for own in items.values() if own.name == "untrained" and own.seed == item.seed]
    return same[0] if same else None


def representations(
    run: RunDirectory,
    views: Views,
    layer: int,
    factors: pd.DataFrame,
    dictionaries: list[Dictionary],
    folders: dict[str, list[Path]],
) -> dict[str, Representation]:
    """Return key -> the dense layer, every trained code, and the nulls, which share one dictionary's width and L0."""
    found = _representations(run, views, layer, factors, dictionaries, folders)
    return {item.key: item for item in found}


def _representations(
    run: RunDirectory,
    views: Views,
    layer: int,
    factors: pd.DataFrame,
    dictionaries: list[Dictionary],
    folders: dict[str, list[Path]],
) -> Iterator[Representation]:
    from otoscope.disentanglement import shuffle_factors
    from otoscope.saes import codes_of

    settings, clip_code, view = run.spec.disentanglement, run.spec.clip_code, views.measure
    dense = cache(lambda: view.layer(layer))

    def code(encode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        if view.frames is None:
            return encode(dense())
        return view.codes(layer, encode, [clip_code])[clip_code]

    def by(sae) -> Callable[[], np.ndarray]:
        return lambda: code(partial(codes_of, sae))

    yield Representation(DENSE, DENSE, None, 0, dense, factors)
    focus = nearest_of_kinds(dictionaries, settings.null_sparsity)
    for own in dictionaries:
        yield Representation(
            own.name, own.kind, own.sparsity, own.sae.seed, by(own.sae), factors, in_focus=own in focus
        )
    shared = nearest(dictionaries, settings.null_sparsity)[: settings.null_seeds]
    width, sparsity = shared[0].sae.n_latents, shared[0].sparsity
    if "pca" in settings.nulls:  # nothing is drawn, so once for all seeds
        yield Representation("pca", "pca", None, 0, lambda: _pca(views, layer, dense, width, code), factors)
    if "ica" in settings.nulls:  # its start alone is drawn
        yield Representation("ica", "ica", None, 0, lambda: code(_ica(run, views, layer, width)), factors)
    for null, seed, encode in encoders_of_nulls(run, views, layer, dictionaries, folders):
        yield Representation(f"{null}-seed{seed}", null, sparsity, seed, partial(code, encode), factors)
    if "shuffled" in settings.nulls:
        for own in shared:
            seed = own.sae.seed
            mixed = shuffle_factors(factors, seed=seed)
            yield Representation(f"shuffled-seed{seed}", "shuffled", own.sparsity, seed, by(own.sae), mixed)


def _pca(
    views: Views,
    layer: int,
    dense: Callable[[], np.ndarray],
    width: int,
    code: Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray],
) -> np.ndarray:
    from otoscope.disentanglement import pca_codes
    from otoscope.saes.nulls import fit_pca

    if views.measure.frames is not None:  # what a dictionary learns from, components learn from
        pca = fit_pca(views.train.learnt.blocks(layer))
        return code(lambda x: pca.codes(x)[:, :width])
    train = (views.measure.rows.split == "train").to_numpy()
    return pca_codes(dense(), width, train=train if train.any() else None)


def _ica(run: RunDirectory, views: Views, layer: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
    from otoscope.saes.nulls import fit_ica

    some = views.train.learnt.sample(ICA_FRAMES, seed=run.spec.seed) if views.measure.frames else views.train
    return fit_ica(some.layer(layer), width).codes
