"""What does each latent respond to? A described dictionary for each studied layer, and more where the spec asks."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from otoscope.activations.store import array_name
from otoscope.experiment.latents_folder import write_latents
from otoscope.experiment.run_directory import RunDirectory, versions
from otoscope.experiment.stages.data import kind_of_label, view_name
from otoscope.experiment.stages.moments import moments_of
from otoscope.experiment.stages.saes import Dictionary, Trained, load, nearest
from otoscope.experiment.stages.views import Views
from otoscope.experiment.units import FOLDERS, Unit

if TYPE_CHECKING:
    from otoscope.factors import Factors


def latents(
    run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views], trained: Trained, factors: Factors
) -> None:
    """Write ``latents/<encoder>/layer_NN/<dictionary>/``, one folder a described dictionary.

    Rows are those that disentanglement is measured on. A layer has one description, of the dictionary nearest to
    `disentanglement.null_sparsity` with its first seed, or one of each dictionary.
    """
    settings = run.spec.latents
    if settings.describe == "none":
        return
    with run.together() as turn:
        for encoder, layers in trained.items():
            needs = ["clips", "factors", "reconstruction", "health"]
            needs += [f"saes-{encoder}", view_name(encoder, "measure")]
            asked = [settings.model_dump(), run.spec.disentanglement.null_sparsity, run.spec.dataset.label]
            asked += [run.spec.dataset.licence] if run.spec.dataset.licence else []
            with (
                turn(),
                run.stage(f"latents-{encoder}", [*asked, run.spec.seed], after=needs, in_units=True) as stage,
            ):
                if stage.needed:
                    stage.keep(*_described(run, encoder, clips, views[encoder], layers, factors))


def _described(
    run: RunDirectory,
    encoder: str,
    clips: pd.DataFrame,
    views: Views,
    layers: dict[int, list[Path]],
    factors: Factors,
) -> list[str]:
    """Describe an encoder's dictionaries, a unit each; return their folders, from the run's root."""
    from otoscope.latents import describe_latents

    store = views.measure.learnt.store
    moments = cache(partial(moments_of, run, store, clips))
    label = run.spec.dataset.label if kind_of_label(run, clips) == "class" else None

    def make(layer: int, number: int) -> dict[str, Any]:
        own, others = chosen(run, load(run, encoder, layer, layers[layer]))[number]
        found = describe_latents(
            own.sae,
            store,
            clips,
            layer=layer,
            factors=factors,
            moments=moments(),
            label=label,
            others=[other.sae for other in others],
            n_draws=run.spec.latents.permutations,
            seed=run.spec.seed,
        )
        found.about.update(_about(run, encoder, layer, own))
        folder = Path("latents") / encoder / array_name(layer) / own.name
        write_latents(found, run.root / folder)
        return {FOLDERS: [folder.as_posix()]}

    names = {
        f"{array_name(layer)}.{own.name}": (layer, number)
        for layer, folders in layers.items()
        for number, (own, _) in enumerate(chosen(run, load(run, encoder, layer, folders)))
    }
    read = run.units([Unit(name, partial(make, *place)) for name, place in names.items()], show=False)
    return [folder for name in names for folder in read(name)[FOLDERS]]


def chosen(run: RunDirectory, dictionaries: list[Dictionary]) -> list[tuple[Dictionary, list[Dictionary]]]:
    """Return the dictionaries to describe, each with those of its architecture that have other seeds."""
    if run.spec.latents.describe == "headline":
        first, *others = nearest(dictionaries, run.spec.disentanglement.null_sparsity)
        return [(first, others)]
    return [
        (own, [o for o in dictionaries if o.sae.config.name == own.sae.config.name and o is not own])
        for own in dictionaries
    ]


def _about(run: RunDirectory, encoder: str, layer: int, own: Dictionary) -> dict[str, Any]:
    """Return what a run knows of a dictionary beside its codes."""
    health = run.table("health")
    row = health[
        (health.encoder == encoder)
        & (health.layer == layer)
        & (health.sae == own.sae.config.name)
        & (health.seed == own.sae.seed)
    ]
    folder = Path("saes") / encoder / array_name(layer) / own.name
    return {
        "encoder": encoder,
        "dataset": run.spec.dataset.name,
        "licence": run.spec.dataset.licence or _licence(run.spec.dataset.name),
        "health": None if row.empty else str(row.verdict.iloc[0]),
        "sae": {
            "folder": folder.as_posix(),
            "kind": own.kind,
            "name": own.sae.config.name,
            "n_latents": own.sae.n_latents,
            "k": own.k,
            "sparsity": own.sparsity,
            "seed": own.sae.seed,
        },
        "versions": versions(),
    }


def _licence(dataset: str) -> str | None:
    """Return the licence of a built-in data set, None where it is not known."""
    from otoscope.datasets import DATASETS

    source = DATASETS.get(dataset).source
    return source.licence if source is not None else None
