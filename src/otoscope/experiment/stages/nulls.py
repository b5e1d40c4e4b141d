"""Nulls that are sparse autoencoders: untrained, or trained as the dictionary they stand beside with a part frozen at
random, or on activations permuted within each dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.experiment.run_directory import RunDirectory, Stage
from otoscope.experiment.stages.banks import Bank, train_banks
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.saes import Dictionary, Trained, load, nearest
from otoscope.experiment.stages.views import Views

if TYPE_CHECKING:
    from otoscope.experiment.spec import SaesSpec
    from otoscope.saes import SAEConfig
    from otoscope.saes.training.preflight import Moments

FROZEN = {"frozen_decoder": "decoder", "frozen_encoder": "encoder"}
"""Null -> the part of the autoencoder that stays as it was drawn."""
TRAINED = (*FROZEN, "permuted")
"""Nulls that are trained."""

TrainedNulls = dict[str, dict[int, dict[str, list[Path]]]]
"""Encoder -> layer -> null -> folders of its autoencoders, a seed each."""


def trained_nulls(run: RunDirectory, views: dict[str, Views], trained: Trained) -> TrainedNulls:
    """Train nulls beside each layer's dictionary at `null_sparsity`, with its options; write null_reconstruction.csv.

    Their folders lie beside the dictionaries', called ``<null>-<dictionary>``.
    """
    settings = run.spec.disentanglement
    wanted = [null for null in settings.nulls if null in TRAINED]
    found: TrainedNulls = {}
    with run.together() as turn:
        for encoder, own in views.items():
            with turn():
                needs = [f"saes-{encoder}", "reconstruction"]
                with run.stage(
                    f"nulls-{encoder}", [wanted, settings.null_sparsity], after=needs, in_units=True
                ) as stage:
                    if stage.needed:
                        stage.outputs = _train(run, encoder, own, trained[encoder], wanted, stage)
                        kept = [names for nulls in stage.outputs.values() for names in nulls.values()]
                        stage.keep(*(name for names in kept for name in names))
                found[encoder] = {
                    int(layer): {null: [run.root / name for name in names] for null, names in nulls.items()}
                    for layer, nulls in stage.outputs.items()
                }
    needs = [name for encoder in views for name in (f"nulls-{encoder}", view_name(encoder, "measure"))]
    with run.stage("null_reconstruction", settings.nulls, after=needs) as stage:
        if stage.needed:
            rows = [row for encoder in views for row in _reconstruction(run, encoder, views, trained, found)]
            if rows:
                run.write_table("null_reconstruction", pd.DataFrame(rows))
    return found


def encoders_of_nulls(
    run: RunDirectory,
    views: Views,
    layer: int,
    dictionaries: list[Dictionary],
    folders: dict[str, list[Path]],
) -> Iterator[tuple[str, int, Callable[[np.ndarray], np.ndarray]]]:
    """Yield null, seed and what turns activations ``[..., width]`` into its codes ``[..., latents]``.

    All that have the width and the sparsity of one dictionary, the one nearest to `null_sparsity`, a seed each: the
    autoencoders, and the largest entries of a random projection.

    Parameters
    ----------
    dictionaries : list of Dictionary
        Those of the layer.
    folders : dict
        Null -> folders of those that were trained; of other seeds than are measured, they are passed over.
    """
    from otoscope.saes import SparseAutoencoder, codes_of
    from otoscope.saes.nulls import random_topk
    from otoscope.saes.training.preflight import moments

    settings = run.spec.disentanglement
    shared = nearest(dictionaries, settings.null_sparsity)[: settings.null_seeds]
    seeds = [own.sae.seed for own in shared]
    train = views.train.learnt.blocks(layer)
    section, _ = _section_of(run.spec.saes, shared[0].sae.config.name)

    @cache
    def seen() -> Moments:
        return moments(train)

    def random(own: Dictionary) -> Callable[[np.ndarray], np.ndarray]:
        options: dict[str, Any] = {"n_latents": own.sae.n_latents, "k": own.k, "seed": own.sae.seed}
        scale = np.sqrt(np.diagonal(seen().covariance))
        return partial(random_topk, **options, mean=seen().mean, scale=scale)

    for null in settings.nulls:
        if null == "untrained":
            for own in shared:
                yield null, own.sae.seed, _later(partial(_untrained, own, train, section.normalise))
        if null == "random":
            for own in shared:
                yield null, own.sae.seed, _later(partial(random, own))
        for folder in folders.get(null, []):
            sae = SparseAutoencoder.from_pretrained(folder)
            if sae.seed in seeds:
                yield null, sae.seed, partial(codes_of, sae)


def _later(
    build: Callable[[], Callable[[np.ndarray], np.ndarray]],
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what encodes as what `build` returns, which is called the first time."""
    built = cache(build)
    return lambda x: built()(x)


def _untrained(
    dictionary: Dictionary, train: np.ndarray | Iterable[np.ndarray], normalise: str
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what encodes by the same architecture untrained: of each row as many codes as `dictionary` has."""
    import torch

    from otoscope.saes import codes_of
    from otoscope.saes.nulls import untrained
    from otoscope.saes.selection import keep_largest

    sae = untrained(dictionary.sae.config, train, seed=dictionary.sae.seed, normalise=normalise)
    return lambda x: keep_largest(torch.from_numpy(codes_of(sae, x)), round(dictionary.l0)).numpy()


def _train(
    run: RunDirectory,
    encoder: str,
    views: Views,
    folders: dict[int, list[Path]],
    wanted: list[str],
    stage: Stage,
) -> dict[str, dict[str, list[str]]]:
    """Train and save, in units; return layer -> null -> folders, from the run's root."""
    banks = []
    for name, layers in _beside(run, encoder, folders).items():
        section, config = _section_of(run.spec.saes, name)
        for null in wanted:
            if not _can_freeze(config, FROZEN.get(null)):
                run.say(f"no null {null} of kind '{config.kind}': it has no {FROZEN[null]} of its own")
                continue
            changes = {"permuted": null == "permuted", "frozen": FROZEN.get(null, "nothing")}
            banks.append(Bank(null, section, [config], layers, null, changes))
    found: dict[str, dict[str, list[str]]] = {str(layer): {} for layer in folders}
    for bank, layer, own in train_banks(run, encoder, views, banks, stage):
        found[str(layer)].setdefault(bank.null, []).extend(own)
    return found


def _beside(run: RunDirectory, encoder: str, folders: dict[int, list[Path]]) -> dict[str, list[int]]:
    """Return the dictionary that nulls stand beside -> the layers where it is the one."""
    found: dict[str, list[int]] = {}
    for layer, own in folders.items():
        shared = nearest(load(run, encoder, layer, own), run.spec.disentanglement.null_sparsity)
        found.setdefault(shared[0].sae.config.name, []).append(layer)
    return found


def _section_of(sections: list[SaesSpec], name: str) -> tuple[SaesSpec, SAEConfig]:
    return next(
        (section, config) for section in sections for config in section.configs() if config.name == name
    )


def _can_freeze(config: SAEConfig, part: str | None) -> bool:
    """Whether the kind has the part: a tied one has no encoder of its own."""
    from otoscope.saes import build_sae

    names = [name for name, _ in build_sae(config, 2, seed=0).named_parameters()] if part else []
    return part is None or any(name.startswith(f"{part}_") and name != "decoder_bias" for name in names)


def _reconstruction(
    run: RunDirectory, encoder: str, views: dict[str, Views], trained: Trained, nulls: TrainedNulls
) -> Iterator[dict[str, Any]]:
    """Yield a row for each trained null, and for PCA with as many components as each dictionary has active latents."""
    from otoscope.saes import SparseAutoencoder, reconstruction_metrics
    from otoscope.saes.nulls import fit_pca
    from otoscope.saes.training.preflight import moments

    test = views[encoder].measure.only("test").learnt
    for layer, folders in trained[encoder].items():
        where, x = {"encoder": encoder, "layer": layer}, test.blocks(layer)
        dictionaries = load(run, encoder, layer, folders)
        shared = nearest(dictionaries, run.spec.disentanglement.null_sparsity)[0]
        for null, own in nulls[encoder][layer].items():
            for folder in own:
                sae = SparseAutoencoder.from_pretrained(folder)
                found = reconstruction_metrics(sae, x)
                about = {"representation": null, "sparsity": shared.sparsity, "k": shared.k, "seed": sae.seed}
                numbers = {"mse": found.mse, "fvu": found.fvu, "l0": found.l0}
                yield where | about | numbers | {"dead_fraction": found.dead_fraction}
        if "pca" in run.spec.disentanglement.nulls:
            pca = fit_pca(views[encoder].train.learnt.blocks(layer))
            spread = float(np.diagonal(moments(x).covariance).mean())
            for k, sparsity in sorted({(own.k, own.sparsity) for own in dictionaries}):
                about = {"representation": "pca", "sparsity": sparsity, "k": k, "seed": 0}
                fvu = pca.fvu(x, k)
                yield where | about | {"mse": fvu * spread, "fvu": fvu, "l0": k, "dead_fraction": None}
