"""Is the task still there? Probes of every layer, the choice of layers, and probes of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.clips import label_kind
from otoscope.compute import Progress, progress
from otoscope.errors import SpecError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.rows import codes_of, layer_rows
from otoscope.experiment.stages.saes import describe, load

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.experiment.stages.saes import Trained
    from otoscope.probing import Probe


def layer_probing(
    run: RunDirectory, clips: pd.DataFrame, stores: dict[str, Activations]
) -> dict[str, list[int]]:
    """Probe every layer and write layer_probing.csv, predictions and the best layer's confusion.

    Returns
    -------
    dict of encoder -> list of int
        The layers to split into latents.
    """
    from otoscope.probing import best_layer, confusion_table, probe_row

    needs = ["clips", *(f"activations-{encoder}" for encoder in stores)]
    with run.stage("layer_probing", [_settings(run)], after=needs) as stage:
        if stage.needed:
            rows, predictions, confusions, best = [], [], [], {}
            with progress(
                "probing layers", sum(len(s.layers) for s in stores.values()), unit="layers"
            ) as bar:
                for encoder, store in stores.items():
                    table = layer_rows(store, clips)
                    fitted = _probes(run, {layer: store.layer(layer) for layer in store.layers}, table, bar)
                    for layer, result in fitted.items():
                        where = {"encoder": encoder, "layer": layer, "seed": run.spec.seed}
                        rows.append(where | probe_row(result))
                        predictions.append(_predictions(where, table, result))
                    own = pd.DataFrame([row for row in rows if row["encoder"] == encoder])
                    best[encoder] = int(best_layer(own)[0])
                    if fitted[best[encoder]].kind == "class":
                        counts = confusion_table(fitted[best[encoder]])
                        confusions.append(_long(counts, {"encoder": encoder, "layer": best[encoder]}))
            run.write_table("layer_probing", pd.DataFrame(rows))
            run.write_table("predictions", pd.concat(predictions, ignore_index=True))
            if confusions:
                run.write_table("confusion", pd.concat(confusions, ignore_index=True))
            stage.outputs = {"best": best}
    asked = {spec_name: spec.layers for spec_name, spec in zip(stores, run.spec.encoders)}
    return {
        encoder: _chosen(asked[encoder], stage.outputs["best"][encoder], store)
        for encoder, store in stores.items()
    }


def sae_probing(
    run: RunDirectory, clips: pd.DataFrame, stores: dict[str, Activations], trained: Trained
) -> None:
    """Probe the codes of every autoencoder; write sae_probing.csv and, for classes, the paired comparisons."""
    from otoscope.probing import probe_row

    with run.stage(
        "sae_probing", [_settings(run)], after=["layer_probing", *(f"saes-{encoder}" for encoder in stores)]
    ) as stage:
        if not stage.needed:
            return
        layers, kind = (
            run.table("predictions", text=["truth", "predicted"]),
            label_kind(clips[run.spec.dataset.label]),
        )
        rows, comparisons = [], []
        total = sum(len(folders) for found in trained.values() for folders in found.values())
        with progress("probing codes", total, unit="codes") as bar:
            for encoder, found in trained.items():
                table = layer_rows(stores[encoder], clips)
                correct = _correct_by_layer(layers[layers.encoder == encoder]) if kind == "class" else {}
                if correct:
                    comparisons.append(_layer_comparison(run, encoder, correct, table))
                for layer, folders in found.items():
                    saes = load(folders)
                    dense = stores[encoder].layer(layer)
                    fitted = _probes(run, {sae.name: codes_of(sae, dense) for sae in saes}, table, bar)
                    for sae in saes:
                        result = fitted[sae.name]
                        where = {"encoder": encoder, "layer": layer, **describe(sae)}
                        rows.append(where | probe_row(result))
                        if correct:
                            name = f"layer {layer} codes {100 * where['sparsity']:g}% seed {sae.seed}"
                            names = {
                                "comparison": "codes minus dense",
                                "a": name,
                                "b": f"layer {layer} dense",
                            }
                            difference = _difference(run, result.correct, correct[layer], table)
                            place = {"layer": layer, "sparsity": where["sparsity"]}
                            comparisons.append({"encoder": encoder} | names | difference | place)
        run.write_table("sae_probing", pd.DataFrame(rows))
        if comparisons:
            run.write_table("comparisons", pd.DataFrame(comparisons))


def _settings(run: RunDirectory) -> list:
    return [run.spec.probing.model_dump(), run.spec.dataset.label, run.spec.seed]


def _probes(run: RunDirectory, representations: dict, table: pd.DataFrame, bar: Progress) -> dict:
    """Return the fitted probe of each representation of the rows of `table`."""
    from otoscope.probing import probe_all

    settings = run.spec.probing
    return probe_all(
        representations,
        table[run.spec.dataset.label],
        split=table.split.to_numpy(),
        groups=table.group.to_numpy(),
        strengths=settings.regularisation,
        n_folds=settings.folds,
        n_bootstrap=settings.n_bootstrap,
        seed=run.spec.seed,
        on_done=lambda name: bar.advance(),
    )


def _chosen(asked: list, best: int, store: Activations) -> list[int]:
    """Return the layers asked for, "best" and "last" resolved, each once."""
    last = max(layer for layer in store.layers if isinstance(layer, int))
    layers = list(dict.fromkeys({"best": best, "last": last}.get(layer, layer) for layer in asked))
    unknown = [layer for layer in layers if layer not in store.layers]
    if unknown:
        raise SpecError(f"encoders.layers: there is no layer {unknown[0]}; this encoder has 0 to {last}")
    return layers


def _predictions(where: dict, table: pd.DataFrame, fitted: Probe) -> pd.DataFrame:
    """Return a row per test row: what it is, and what the probe took it for."""
    test = table[table.split == "test"]
    truth, predicted = fitted.truth, fitted.predictions
    if fitted.kind == "class":
        names = np.array(fitted.classes)
        truth, predicted = names[truth], names[predicted]
    elif fitted.kind == "multi":
        return pd.DataFrame(columns=[*where, "clip_id", "crop", "truth", "predicted"])
    about = pd.DataFrame({"clip_id": test.clip_id, "crop": test.crop, "truth": truth, "predicted": predicted})
    return about.assign(**where)[[*where, *about.columns]]


def _correct_by_layer(predictions: pd.DataFrame) -> dict[int, np.ndarray]:
    """Return layer -> 1.0 where the probe was right, in the order of the test rows."""
    right = predictions.assign(
        right=(predictions.truth.astype(str) == predictions.predicted.astype(str)).astype(float)
    )
    return {int(layer): own.right.to_numpy() for layer, own in right.groupby("layer", sort=False)}


def _layer_comparison(
    run: RunDirectory, encoder: str, correct: dict[int, np.ndarray], table: pd.DataFrame
) -> dict:
    """Return the row best layer minus layer 0."""
    probes = run.table("layer_probing")
    own = probes[probes.encoder == encoder]
    best = int(own.layer[own.valid_accuracy.idxmax()])
    names = {
        "encoder": encoder,
        "comparison": "best layer minus layer 0",
        "a": f"layer {best}",
        "b": "layer 0",
    }
    return names | _difference(run, correct[best], correct[0], table) | {"layer": best, "sparsity": None}


def _difference(run: RunDirectory, a: np.ndarray, b: np.ndarray, table: pd.DataFrame) -> dict:
    """Return what `a` is right about more often than `b`, test row by test row."""
    from otoscope.probing import paired_difference

    groups = table.group[table.split == "test"].to_numpy()
    found, low, high = paired_difference(
        a, b, groups, seed=run.spec.seed, n_bootstrap=run.spec.probing.n_bootstrap
    )
    return {"difference": found, "difference_low": low, "difference_high": high, "n_test": len(groups)}


def _long(counts: pd.DataFrame, where: dict) -> pd.DataFrame:
    """Return a square table of counts as rows ``truth, predicted, count``."""
    long = counts.rename_axis("truth").reset_index().melt("truth", var_name="predicted", value_name="count")
    return long.assign(**where)[[*where, "truth", "predicted", "count"]]
