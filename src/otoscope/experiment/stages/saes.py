"""Sparse autoencoders on the chosen layers: training as one bank, and how well they reconstruct."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.activations.store import array_name
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.views import Views

if TYPE_CHECKING:
    from otoscope.encoders import Layer
    from otoscope.saes import SparseAutoencoder

Trained = dict[str, dict[int, list[Path]]]
"""Encoder -> layer -> folders of its autoencoders, sparsities in order and seeds within."""


def saes(run: RunDirectory, views: dict[str, Views], chosen: dict[str, list[int]]) -> Trained:
    """Train an autoencoder per chosen layer, sparsity and seed; write reconstruction.csv on the test rows."""
    settings = run.spec.saes
    trained: Trained = {}
    for encoder, own in views.items():
        needs = ["clips", view_name(encoder, "train"), view_name(encoder, "evaluate")]
        asked = [chosen[encoder], settings.model_dump(), run.spec.extraction.crops, run.spec.seed]
        with run.stage(f"saes-{encoder}", asked, after=needs) as stage:
            if stage.needed:
                checkpoint = run.root / "checkpoints" / f"{stage.name}-{stage.fingerprint}"
                stage.outputs = {"folders": _train(run, encoder, own, chosen[encoder], checkpoint)}
                stage.keep(*(folder for folders in stage.outputs["folders"].values() for folder in folders))
                shutil.rmtree(checkpoint, ignore_errors=True)
        folders = stage.outputs["folders"]
        trained[encoder] = {
            layer: [run.root / name for name in folders[str(layer)]] for layer in chosen[encoder]
        }
    needs = [name for encoder in views for name in (f"saes-{encoder}", view_name(encoder, "measure"))]
    with run.stage("reconstruction", after=needs) as stage:
        if stage.needed:
            run.write_table("reconstruction", _reconstruction(views, trained))
    return trained


def load(folders: list[Path]) -> list[SparseAutoencoder]:
    """Return the autoencoders of `folders`, in order."""
    from otoscope.saes import SparseAutoencoder

    return [SparseAutoencoder.from_pretrained(folder) for folder in folders]


def describe(sae: SparseAutoencoder) -> dict:
    """Return the columns that say which autoencoder a result is of."""
    return {
        "sae": sae.config.name,
        "sparsity": sae.config.sparsity_target,
        "k": sae.config.active,
        "seed": sae.seed,
    }


def _train(
    run: RunDirectory, encoder: str, views: Views, layers: list[int], checkpoint: Path
) -> dict[str, list[str]]:
    """Train, save, and return layer -> folders, from the run's root."""
    from otoscope.saes import make_config, train_saes

    settings = run.spec.saes
    configs = [
        make_config(settings.kind, n_latents=settings.n_latents, sparsity=s) for s in settings.sparsities
    ]
    valid = views.evaluate.only("valid")
    both: list[Layer] = [*layers, *settings.beside]
    made = train_saes(
        **_rows(views, both),
        configs=configs,
        layers=both,
        seeds=settings.seeds,
        validation=valid.store,
        validation_rows=valid.rows.index.to_numpy(),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        select=settings.select,
        data_seed=run.spec.seed,
        checkpoint=checkpoint,
    )
    folders: dict[str, list[str]] = {str(layer): [] for layer in layers}
    for sae in made:
        if sae.layer is None or sae.layer in settings.beside:
            continue
        sae.about |= {
            "encoder": encoder,
            "dataset": run.spec.dataset.name,
            "rows": len(views.train.rows),
            "activations": views.train.store.provenance,
        }
        folder = Path("saes") / encoder / array_name(sae.layer) / sae.name
        sae.save_pretrained(run.root / folder)
        folders[str(sae.layer)].append(folder.as_posix())
    return folders


def _rows(views: Views, layers: list) -> dict[str, Any]:
    """Return what `train_saes` learns from: places in the store or, of crops in turn, arrays with equal counts."""
    if not views.in_turn:
        return {"activations": views.train.store, "rows": views.train.rows.index.to_numpy()}
    turns = {layer: views.turns(layer) for layer in layers}
    arrays = {
        layer: array.reshape(-1, array.shape[-1]) for layer, array in turns.items() if array is not None
    }
    n_crops, n_clips = next(array.shape[:2] for array in turns.values() if array is not None)
    return {"activations": arrays, "crop": np.repeat(np.arange(n_crops), n_clips)}


def _reconstruction(views: dict[str, Views], trained: Trained) -> pd.DataFrame:
    from otoscope.saes import reconstruction_metrics

    rows = []
    for encoder, layers in trained.items():
        test = views[encoder].measure.only("test")
        for layer, folders in layers.items():
            x = test.layer(layer)
            for sae in load(folders):
                found = reconstruction_metrics(sae, x)
                where = {"encoder": encoder, "layer": layer, **describe(sae)}
                numbers = {
                    "mse": found.mse,
                    "fvu": found.fvu,
                    "l0": found.l0,
                    "dead_fraction": found.dead_fraction,
                }
                rows.append(where | numbers)
    return pd.DataFrame(rows)
