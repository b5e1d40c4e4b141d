"""Is the task still there? Probes of every layer, the choice of layers, and probes of codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.clips import label_kind
from otoscope.compute import Progress, progress
from otoscope.errors import SpecError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.saes import Dictionary, load, nearest_of_kinds
from otoscope.experiment.stages.views import Views

if TYPE_CHECKING:
    from otoscope.experiment.stages.saes import Trained
    from otoscope.probing import Probe


def layer_probing(run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views]) -> dict[str, list[int]]:
    """Probe every layer and write layer_probing.csv, predictions and the best layer's confusion.

    Returns
    -------
    dict of encoder -> list of int
        The layers to split into latents.
    """
    from otoscope.probing import best_layer, confusion_table, probe_row

    pick = {"valid": "valid_accuracy", "test": "accuracy"}[run.spec.probing.pick_layer]
    with run.stage("layer_probing", _settings(run), after=["clips", *_judged(views)]) as stage:
        if stage.needed:
            rows, predictions, confusions, best = [], [], [], {}
            with progress(
                "probing layers", sum(len(own.layers) for own in views.values()), unit="layers"
            ) as bar:
                for encoder, own in views.items():
                    layers = {layer: own.layer(layer) for layer in own.layers}
                    turns = {layer: own.turns(layer) for layer in own.layers}
                    pools = dict.fromkeys(layers, encoder)
                    fitted = _probes(run, layers, own.probed, bar, turns=turns, pools=pools)
                    for layer, result in fitted.items():
                        where = {"encoder": encoder, "layer": layer, "seed": run.spec.seed}
                        rows.append(where | probe_row(result))
                        predictions.append(_predictions(where, own.probed, result))
                    table = pd.DataFrame([row for row in rows if row["encoder"] == encoder])
                    best[encoder] = int(best_layer(table, by=pick)[0])
                    if fitted[best[encoder]].kind == "class":
                        counts = confusion_table(fitted[best[encoder]])
                        confusions.append(_long(counts, {"encoder": encoder, "layer": best[encoder]}))
            run.write_table("layer_probing", pd.DataFrame(rows))
            run.write_table("predictions", pd.concat(predictions, ignore_index=True))
            if confusions:
                run.write_table("confusion", pd.concat(confusions, ignore_index=True))
            stage.outputs = {"best": best}
    asked = dict(zip(views, (encoder.layers for encoder in run.spec.encoders)))
    return {
        encoder: _chosen(asked[encoder], stage.outputs["best"][encoder], own.layers)
        for encoder, own in views.items()
    }


def sae_probing(run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views], trained: Trained) -> None:
    """Probe the codes of every autoencoder; write sae_probing.csv and, for classes, two tables more."""
    from otoscope.probing import probe_row

    needs = ["layer_probing", "reconstruction", *(f"saes-{encoder}" for encoder in views)]
    with run.stage(
        "sae_probing", [_settings(run), run.spec.disentanglement.null_sparsity], after=needs
    ) as stage:
        if not stage.needed:
            return
        layers = run.table("predictions", text=["truth", "predicted"])
        kind = label_kind(clips[run.spec.dataset.label])
        rows, comparisons, few = [], [], []
        total = sum(len(folders) for found in trained.values() for folders in found.values())
        with progress("probing codes", total, unit="codes") as bar:
            for encoder, found in trained.items():
                own = views[encoder]
                correct = _correct_by_layer(layers[layers.encoder == encoder]) if kind == "class" else {}
                if correct:
                    comparisons.append(_layer_comparison(run, encoder, correct, own.probed))
                for layer, saes, fitted in _code_probes(run, encoder, own, found, bar):
                    for dictionary in saes:
                        where = {"encoder": encoder, "layer": layer, **dictionary.columns}
                        rows.append(where | probe_row(fitted[dictionary.name]))
                        if correct:
                            right = fitted[dictionary.name].correct
                            comparisons.append(
                                _code_comparison(run, where, right, correct[layer], own.probed)
                            )
                    if kind != "number":
                        few += _few_latents(run, {"encoder": encoder, "layer": layer}, own, saes)
        run.write_table("sae_probing", pd.DataFrame(rows))
        if comparisons:
            run.write_table("comparisons", pd.DataFrame(comparisons))
        if few:
            run.write_table("sparse_probing", pd.concat(few, ignore_index=True))


def _settings(run: RunDirectory) -> list:
    crops = run.spec.extraction.crops
    return [run.spec.probing.model_dump(), run.spec.dataset.label, crops, run.spec.seed]


def _judged(views: dict[str, Views]) -> list[str]:
    return [view_name(encoder, role) for encoder in views for role in ("train", "evaluate")]


def _code_probes(
    run: RunDirectory, encoder: str, views: Views, folders: dict[int, list], bar: Progress
) -> Iterator[tuple[int, list[Dictionary], dict[str, Probe]]]:
    """Yield layer, its dictionaries, and name -> probe. A shared epoch is that of all layers at one sparsity."""
    from otoscope.saes import codes_of

    saes = {layer: load(run, encoder, layer, found) for layer, found in folders.items()}
    batches = [list(saes)] if run.spec.probing.shared_epoch else [[layer] for layer in saes]
    for batch in batches:
        codes: dict[tuple[int, str], np.ndarray] = {}
        turns: dict[tuple[int, str], np.ndarray | None] = {}
        for layer in batch:
            dense, crops = views.layer(layer), views.turns(layer)
            for sae in saes[layer]:
                codes[layer, sae.name] = codes_of(sae.sae, dense)
                turns[layer, sae.name] = None if crops is None else codes_of(sae.sae, crops)
        pools = {key: key[1] for key in codes}
        fitted = _probes(run, codes, views.probed, bar, turns=turns, pools=pools)
        for layer in batch:
            yield layer, saes[layer], {sae.name: fitted[layer, sae.name] for sae in saes[layer]}


def _probes(
    run: RunDirectory, representations: dict, table: pd.DataFrame, bar: Progress, *, turns: dict, pools: dict
) -> dict[Any, Probe]:
    """Return the fitted probe of each representation of the rows of `table`."""
    from otoscope.probing import linear_probes, probe_all, wilson

    settings = run.spec.probing
    labels = table[run.spec.dataset.label]
    rows = {"split": table.split.to_numpy(), "groups": table.group.to_numpy()}
    if settings.probe == "linear":
        return linear_probes(
            representations,
            labels,
            **rows,
            train_crops={key: crops for key, crops in turns.items() if crops is not None} or None,
            pools=pools if settings.shared_epoch else None,
            keep=settings.keep,
            interval=settings.interval,
            epochs=settings.epochs,
            lr=settings.lr,
            batch_size=settings.batch_size,
            seed=run.spec.seed,
            on_done=lambda name: bar.advance(),
        )
    found = probe_all(
        representations,
        labels,
        **rows,
        strengths=settings.regularisation,
        n_folds=settings.folds,
        n_bootstrap=settings.n_bootstrap,
        seed=run.spec.seed,
        on_done=lambda name: bar.advance(),
    )
    if settings.interval == "wilson":
        for key, result in found.items():
            if result.kind == "class":
                low, high = wilson(int(result.correct.sum()), result.n_test)
                found[key] = replace(result, low=low, high=high)
    return found


def _few_latents(run: RunDirectory, where: dict, views: Views, saes: list[Dictionary]) -> list[pd.DataFrame]:
    """Return how well few latents tell a class: of the dense layer, and of each kind's codes at one sparsity."""
    from otoscope.probing import sparse_probes
    from otoscope.saes import codes_of

    settings = run.spec.probing
    if not settings.few_latents:
        return []
    dense, table = views.layer(where["layer"]), views.probed
    wanted = run.spec.disentanglement.null_sparsity
    representations: list[tuple[dict, np.ndarray]] = [
        ({"representation": "dense", "sparsity": None, "seed": 0}, dense)
    ]
    representations += [
        (
            {"representation": own.kind, "sparsity": own.sparsity, "seed": own.sae.seed},
            codes_of(own.sae, dense),
        )
        for own in nearest_of_kinds(saes, wanted)
    ]
    found = []
    for about, codes in representations:
        result = sparse_probes(
            codes,
            table[run.spec.dataset.label],
            split=table.split.to_numpy(),
            groups=_paired_groups(run, table, table.split.to_numpy() != ""),
            ks=settings.few_latents,
            seed=run.spec.seed,
            n_bootstrap=settings.n_bootstrap,
        )
        found.append(pd.DataFrame([where | about] * len(result)).join(result))
    return found


def _chosen(asked: list, best: int, known: list[int]) -> list[int]:
    """Return the layers asked for, "best" and "last" resolved, each once."""
    last = max(known)
    layers = list(dict.fromkeys({"best": best, "last": last}.get(layer, layer) for layer in asked))
    unknown = [layer for layer in layers if layer not in known]
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
    pick = {"valid": "valid_accuracy", "test": "accuracy"}[run.spec.probing.pick_layer]
    best = int(own.layer[own[pick].idxmax()])
    names = {
        "encoder": encoder,
        "comparison": "best layer minus layer 0",
        "a": f"layer {best}",
        "b": "layer 0",
    }
    return names | _difference(run, correct[best], correct[0], table) | {"layer": best, "sparsity": None}


def _code_comparison(
    run: RunDirectory, where: dict, correct: np.ndarray, dense: np.ndarray, table: pd.DataFrame
) -> dict:
    """Return the row codes minus dense."""
    layer, sparsity, seed = where["layer"], where["sparsity"], where["seed"]
    names = {
        "encoder": where["encoder"],
        "comparison": "codes minus dense",
        "a": f"layer {layer} codes {100 * sparsity:g}% seed {seed}",
        "b": f"layer {layer} dense",
    }
    return (
        names | _difference(run, correct, dense, table) | {"layer": layer, "sparsity": sparsity, "seed": seed}
    )


def _difference(run: RunDirectory, a: np.ndarray, b: np.ndarray, table: pd.DataFrame) -> dict:
    """Return what `a` is right about more often than `b`, test row by test row."""
    from otoscope.probing import paired_difference

    groups = _paired_groups(run, table, table.split == "test")
    found, low, high = paired_difference(
        a, b, groups, seed=run.spec.seed, n_bootstrap=run.spec.probing.n_bootstrap
    )
    return {"difference": found, "difference_low": low, "difference_high": high, "n_test": len(groups)}


def _paired_groups(run: RunDirectory, table: pd.DataFrame, rows: Any) -> np.ndarray:
    """Return what a bootstrap draws: groups or, where intervals take clips for independent, clips."""
    return table[rows]["clip_id" if run.spec.probing.interval == "wilson" else "group"].to_numpy()


def _long(counts: pd.DataFrame, where: dict) -> pd.DataFrame:
    """Return a square table of counts as rows ``truth, predicted, count``."""
    long = counts.rename_axis("truth").reset_index().melt("truth", var_name="predicted", value_name="count")
    return long.assign(**where)[[*where, "truth", "predicted", "count"]]
