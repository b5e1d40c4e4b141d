"""Banks of autoencoders: what learns alike, trained in units, one for each layer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from otoscope.activations.store import array_name
from otoscope.experiment.records import digest
from otoscope.experiment.run_directory import RunDirectory, Stage
from otoscope.experiment.stages.views import View, Views
from otoscope.experiment.units import FOLDERS, Unit

if TYPE_CHECKING:
    from otoscope.encoders import Layer
    from otoscope.experiment.spec import SaesSpec
    from otoscope.saes import SAEConfig, SparseAutoencoder

PERMUTED_NUMBERS = 250_000_000
"""Of activations, 1 GB, that the null of permuted ones learns from at most."""
SMALL_NUMBERS = 50_000_000
"""Activations and weights, 200 MB, up to which units train together: well below what `PERMUTED_NUMBERS` and
`otoscope.saes.train_saes` (memory_gb) hold of rows at a time, where a layer would learn from others beside others."""


@dataclass(frozen=True)
class Bank:
    """Autoencoders that learn alike.

    Attributes
    ----------
    name : str
        Its units' names begin with it.
    section : SaesSpec
        By whose options and seeds it trains.
    configs : list of SAEConfig
    layers : list of int
    null : str
        The null that they are; empty for dictionaries.
    changes : dict
        What `fit` is told of the null.
    """

    name: str
    section: SaesSpec
    configs: list[SAEConfig]
    layers: list[int]
    null: str = ""
    changes: dict[str, Any] = field(default_factory=dict)

    def units(self) -> dict[str, list[int]]:
        """Return unit -> its layers: every layer by itself, or all where they share an epoch."""
        alone = self.section.select != "paper"
        groups = [[layer] for layer in self.layers] if alone else [self.layers]
        return {f"{self.name}.{'-'.join(array_name(layer) for layer in group)}": group for group in groups}


class Made(NamedTuple):
    """The autoencoders of one bank on one layer."""

    bank: Bank
    layer: int
    folders: list[str]
    """From the run's root, configs in order and seeds within."""


def train_banks(
    run: RunDirectory, encoder: str, views: Views, banks: Sequence[Bank], stage: Stage
) -> list[Made]:
    """Train and save banks in units.

    A step has a fixed cost, which small autoencoders would pay once for every layer. So a process that has the run to
    itself trains all small units of a bank that are missing together; each comes out the same, to the last bit.
    """
    made: dict[str, dict[str, Any]] = {}

    def make(bank: Bank, name: str) -> dict[str, Any]:
        if name not in made:
            units = bank.units()
            names = _together(run, views, bank, name)
            layers = [layer for own in names for layer in units[own]]
            mark = name if len(names) == 1 else f"{name}+{digest(names)}"
            checkpoint = stage.folder(run.root) / f"{mark}.checkpoint"
            saes = fit(run, views, layers, bank.section, bank.configs, checkpoint=checkpoint, **bank.changes)
            saved = [(sae.layer, save(run, encoder, views, sae, null=bank.null)) for sae in saes]
            shutil.rmtree(checkpoint, ignore_errors=True)
            for own in names:
                mine = [(layer, folder) for layer, folder in saved if layer in units[own]]
                made[own] = {FOLDERS: [folder for _, folder in mine], "layers": [str(at) for at, _ in mine]}
        return made.pop(name)

    all_units = [Unit(name, partial(make, bank, name)) for bank in banks for name in bank.units()]
    read = run.units(all_units, show=False)
    found = []
    for bank in banks:
        for name, layers in bank.units().items():
            told = read(name)
            for layer in layers:
                own = [folder for at, folder in zip(told["layers"], told[FOLDERS]) if at == str(layer)]
                found.append(Made(bank, layer, own))
    return found


def _together(run: RunDirectory, views: Views, bank: Bank, name: str) -> list[str]:
    """Return a unit's name and those of others that are missing and to be trained with it."""
    if run.share is not None:
        return [name]
    units, store = bank.units(), views.train.learnt.store
    n_rows = len(store.rows) + len(views.evaluate.learnt.store.rows)
    n_latents = len(bank.section.seeds) * sum(config.n_latents for config in bank.configs)

    def numbers(own: str) -> int:
        layers: list[Layer] = [*units[own], *bank.section.beside]
        return (n_rows + 2 * n_latents) * sum(store.widths[layer] for layer in layers)

    names = [name]
    for other in run.missing(list(units)):
        if other != name and sum(map(numbers, [*names, other])) <= SMALL_NUMBERS:
            names.append(other)
    return names


def fit(
    run: RunDirectory,
    views: Views,
    layers: list[int],
    section: SaesSpec,
    configs: list[SAEConfig],
    *,
    permuted: bool = False,
    frozen: str = "nothing",
    checkpoint: Path | None = None,
) -> list[SparseAutoencoder]:
    """Return autoencoders of `layers`, one for each config and seed, trained by the options of `section`.

    Parameters
    ----------
    permuted : bool
        Train and validate on rows whose dimensions were each shuffled: a null.
    frozen : {"nothing", "encoder", "decoder"}
        The part that stays as it was drawn: a null.
    """
    from otoscope.saes import TrainingOptions, train_saes

    valid = views.evaluate.only("valid")
    both: list[Layer] = [*layers, *section.beside]
    if permuted:
        rows = _permuted(views, both, run.spec.seed)
    else:
        held_out = valid.learnt
        rows = _rows(views, both)
        rows |= {"validation": held_out.store, "validation_rows": held_out.rows.index.to_numpy()}
    made = train_saes(
        **rows,
        configs=configs,
        layers=both,
        seeds=section.seeds,
        options=TrainingOptions(**section.training, data_seed=run.spec.seed, frozen=frozen),
        checkpoint=checkpoint,
    )
    return [sae for sae in made if sae.layer is not None and sae.layer not in section.beside]


def save(run: RunDirectory, encoder: str, views: Views, sae: SparseAutoencoder, *, null: str = "") -> str:
    """Save an autoencoder with a note on what it learnt from; return its folder, from the run's root.

    A null's is called ``<null>-<dictionary>``.
    """
    assert sae.layer is not None
    sae.about |= {"null": null} if null else {}
    sae.about |= {
        "encoder": encoder,
        "dataset": run.spec.dataset.name,
        "rows": len(views.train.learnt.rows),
        "activations": views.train.learnt.store.provenance,
    }
    folder = Path("saes") / encoder / array_name(sae.layer) / (f"{null}-{sae.name}" if null else sae.name)
    sae.save_pretrained(run.root / folder)
    return folder.as_posix()


def _rows(views: Views, layers: list) -> dict[str, Any]:
    """Return what `train_saes` learns from: places in the store or, of crops in turn, arrays with equal counts."""
    if not views.in_turn:
        learnt = views.train.learnt
        return {"activations": learnt.store, "rows": learnt.rows.index.to_numpy()}
    turns = {layer: views.turns(layer) for layer in layers}
    arrays = {
        layer: array.reshape(-1, array.shape[-1]) for layer, array in turns.items() if array is not None
    }
    n_crops, n_clips = next(array.shape[:2] for array in turns.values() if array is not None)
    return {"activations": arrays, "crop": np.repeat(np.arange(n_crops), n_clips)}


def _permuted(views: Views, layers: list, seed: int) -> dict[str, Any]:
    """Return what `train_saes` learns from, each dimension's values in an order of its own, both sides apart.

    It is held in memory: of more rows than `PERMUTED_NUMBERS` allow, as many are drawn.
    """
    from otoscope.saes.nulls import permuted

    def arrays(view: View) -> dict:
        width = sum(view.store.widths[layer] for layer in layers)
        own = view.sample(max(PERMUTED_NUMBERS // width, 2), seed=seed)
        return {layer: permuted(own.layer(layer), seed=seed) for layer in layers}

    valid = views.evaluate.only("valid").learnt
    if views.in_turn:
        rows = _rows(views, layers)
        mixed = {layer: permuted(array, seed=seed) for layer, array in rows["activations"].items()}
        return {"activations": mixed, "crop": rows["crop"], "validation": arrays(valid)}
    mixed = arrays(views.train.learnt)
    no_time = np.zeros(len(next(iter(mixed.values()))))  # any row is any other's neighbour
    return {"activations": mixed, "sequence": no_time, "validation": arrays(valid)}
