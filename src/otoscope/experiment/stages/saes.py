"""Sparse autoencoders on the chosen layers: training as one bank, and how well they reconstruct."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.rows import layer_rows

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.saes import SparseAutoencoder

Trained = dict[str, dict[int, list[Path]]]
"""Encoder -> layer -> folders of its autoencoders, sparsities in order and seeds within."""


def saes(
    run: RunDirectory, clips: pd.DataFrame, stores: dict[str, Activations], chosen: dict[str, list[int]]
) -> Trained:
    """Train an autoencoder per chosen layer, sparsity and seed; write reconstruction.csv on the test rows."""
    settings = run.spec.saes
    trained: Trained = {}
    for encoder, store in stores.items():
        needs = ["clips", f"activations-{encoder}"]
        with run.stage(
            f"saes-{encoder}", [chosen[encoder], settings.model_dump(), run.spec.seed], after=needs
        ) as stage:
            if stage.needed:
                checkpoint = run.root / "checkpoints" / f"{stage.name}-{stage.fingerprint}"
                stage.outputs = {"folders": _train(run, clips, encoder, store, chosen[encoder], checkpoint)}
                shutil.rmtree(checkpoint, ignore_errors=True)
        folders = stage.outputs["folders"]
        trained[encoder] = {
            layer: [run.root / name for name in folders[str(layer)]] for layer in chosen[encoder]
        }
    with run.stage("reconstruction", after=[f"saes-{encoder}" for encoder in stores]) as stage:
        if stage.needed:
            run.write_table("reconstruction", _reconstruction(clips, stores, trained))
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
    run: RunDirectory,
    clips: pd.DataFrame,
    encoder: str,
    store: Activations,
    layers: list[int],
    checkpoint: Path,
) -> dict[str, list[str]]:
    """Train, save, and return layer -> folders, from the run's root."""
    from otoscope.saes import make_config, train_saes

    settings = run.spec.saes
    rows = layer_rows(store, clips)
    configs = [
        make_config(settings.kind, n_latents=settings.n_latents, sparsity=s) for s in settings.sparsities
    ]
    made = train_saes(
        store,
        configs,
        layers=layers,
        seeds=settings.seeds,
        rows=np.flatnonzero(rows.split == "train"),
        validation_rows=np.flatnonzero(rows.split == "valid"),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        data_seed=run.spec.seed,
        checkpoint=checkpoint,
    )
    folders: dict[str, list[str]] = {str(layer): [] for layer in layers}
    for sae in made:
        sae.about |= {
            "encoder": encoder,
            "dataset": run.spec.dataset.name,
            "rows": int((rows.split == "train").sum()),
        }
        folder = Path("saes") / encoder / f"layer_{sae.layer:02d}" / sae.name
        sae.save_pretrained(run.root / folder)
        folders[str(sae.layer)].append(folder.as_posix())
    return folders


def _reconstruction(clips: pd.DataFrame, stores: dict[str, Activations], trained: Trained) -> pd.DataFrame:
    from otoscope.saes import reconstruction_metrics

    rows = []
    for encoder, layers in trained.items():
        test = np.flatnonzero(layer_rows(stores[encoder], clips).split == "test")
        for layer, folders in layers.items():
            x = stores[encoder].layer(layer)[test]
            for sae in load(folders):
                metrics = reconstruction_metrics(sae, x)
                rows.append(
                    {
                        "encoder": encoder,
                        "layer": layer,
                        **describe(sae),
                        "mse": metrics.mse,
                        "fvu": metrics.fvu,
                    }
                    | {"l0": metrics.l0, "dead_fraction": metrics.dead_fraction}
                )
    return pd.DataFrame(rows)
