"""Is the task still there? Probes of every layer, the choice of layers, and probes of codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.activations.store import array_name
from otoscope.errors import SpecError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import kind_of_label, view_name
from otoscope.experiment.stages.nulls import encoders_of_nulls
from otoscope.experiment.stages.saes import Dictionary, load, nearest, nearest_of_kinds
from otoscope.experiment.stages.views import Views
from otoscope.experiment.units import Unit
from otoscope.results import BEST_LAYER, CODES, DENSE, pick_column

if TYPE_CHECKING:
    from otoscope.experiment.stages.nulls import TrainedNulls
    from otoscope.experiment.stages.saes import Trained
    from otoscope.probing import Probe


def layer_probing(
    run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views]
) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Probe every layer and write layer_probing.csv, predictions and the best layer's confusion.

    Returns
    -------
    best : dict of encoder -> int
        The layer each encoder is judged by.
    studied : dict of encoder -> list of int
        The layers to split into latents.
    """
    with run.stage("layer_probing", _settings(run), after=["clips", *_judged(views)], in_units=True) as stage:
        if stage.needed:
            read = run.units(
                [Unit(name, partial(_probe_layers, run, name, own)) for name, own in views.items()]
            )
            made = {encoder: read(encoder) for encoder in views}
            run.write_table(
                "layer_probing", pd.DataFrame([row for own in made.values() for row in own["rows"]])
            )
            for table, key in (
                ("predictions", "predictions"),
                ("confusion", "confusion"),
                ("layer_guide", "guide"),
            ):
                parts = [own[key] for own in made.values() if key in own]
                if parts:
                    run.write_table(table, pd.concat(parts, ignore_index=True))
            stage.outputs = {"best": {encoder: own["best"] for encoder, own in made.items()}}
    asked = dict(zip(views, (encoder.layers for encoder in run.spec.encoders)))
    best = stage.outputs["best"]
    return best, {
        encoder: _studied(asked[encoder], best[encoder], own.layers) for encoder, own in views.items()
    }


def _probe_layers(run: RunDirectory, encoder: str, views: Views) -> dict[str, Any]:
    """Return what probes of all layers of an encoder find: rows, predictions, the best layer and its confusion."""
    from otoscope.probing import best_layer, confusion_table, probe_row

    layers = {layer: views.layer(layer) for layer in views.layers}
    fitted = _probes(run, layers, views.probed, turns={layer: views.turns(layer) for layer in layers})
    places = [{"encoder": encoder, "layer": layer, "seed": run.spec.seed} for layer in fitted]
    rows = [where | probe_row(result) for where, result in zip(places, fitted.values())]
    best = int(best_layer(pd.DataFrame(rows), by=pick_column(run.spec.probing.pick_layer))[0])
    predictions = [_predictions(where, views.probed, own) for where, own in zip(places, fitted.values())]
    made = {"rows": rows, "best": best, "predictions": pd.concat(predictions, ignore_index=True)}
    if fitted[best].kind == "class":
        made["confusion"] = _long(confusion_table(fitted[best]), {"encoder": encoder, "layer": best})
    if run.spec.probing.guide and run.spec.probing.probe == "logistic":
        made["guide"] = _guide(run, encoder, layers, views.probed, fitted)
    return made


def sae_probing(
    run: RunDirectory,
    clips: pd.DataFrame,
    views: dict[str, Views],
    trained: Trained,
    nulls: TrainedNulls,
    best: dict[str, int],
) -> None:
    """Probe the codes of every autoencoder and null; write two tables and, for classes, two more."""
    measured = run.spec.disentanglement
    needs = ["layer_probing", "reconstruction", *(f"nulls-{encoder}" for encoder in views)]
    settings = [_settings(run), measured.null_sparsity, measured.nulls, measured.null_seeds]
    with run.stage("sae_probing", settings, after=needs, in_units=True) as stage:
        if not stage.needed:
            return
        layers = run.table("predictions")
        kind = kind_of_label(run, clips)
        correct = {
            encoder: _correct_by_layer(layers[layers.encoder == encoder]) if kind == "class" else {}
            for encoder in views
        }
        parts: dict[str, Callable[[str, int, list[Dictionary]], dict[str, Any]]] = {
            "codes": lambda encoder, layer, saes: _code_probes(
                run, encoder, layer, views[encoder], saes, correct[encoder].get(layer)
            ),
            "nulls": lambda encoder, layer, saes: {
                "rows": _null_probes(run, encoder, layer, views[encoder], saes, nulls[encoder][layer])
            },
        }
        if kind != "number":
            parts["few"] = lambda encoder, layer, saes: _few_latents(
                run, {"encoder": encoder, "layer": layer}, views[encoder], saes
            )

        def make(encoder: str, layer: int, part: str) -> dict[str, Any]:
            return parts[part](encoder, layer, load(run, encoder, layer, trained[encoder][layer]))

        places = [(encoder, layer) for encoder, found in trained.items() for layer in found]
        names = {
            (*place, part): f"{place[0]}.{array_name(place[1])}.{part}" for place in places for part in parts
        }
        read = run.units([Unit(name, partial(make, *key)) for key, name in names.items()])
        made = {key: read(name) for key, name in names.items()}
        comparisons = []
        for encoder, found in trained.items():
            if correct[encoder]:
                probed = views[encoder].probed
                comparisons.append(_layer_comparison(run, encoder, best[encoder], correct[encoder], probed))
                comparisons += [
                    row for layer in found for row in made[encoder, layer, "codes"]["comparisons"]
                ]
        for table, rows in (
            ("sae_probing", [row for place in places for row in made[*place, "codes"]["rows"]]),
            ("null_probing", [row for place in places for row in made[*place, "nulls"]["rows"]]),
            ("comparisons", comparisons),
        ):
            if rows:
                run.write_table(table, pd.DataFrame(rows))
        few = [table for key, own in made.items() if key[-1] == "few" for table in own.values()]
        if few:
            run.write_table("sparse_probing", pd.concat(few, ignore_index=True))


def _settings(run: RunDirectory) -> list:
    crops = run.spec.extraction.crops
    dataset = run.spec.dataset
    kind = [dataset.label_kind] if dataset.label_kind else []
    return [run.spec.probing.model_dump(), dataset.label, *kind, crops, run.spec.seed]


def _judged(views: dict[str, Views]) -> list[str]:
    return [view_name(encoder, role) for encoder in views for role in ("train", "evaluate")]


def _code_probes(
    run: RunDirectory,
    encoder: str,
    layer: int,
    views: Views,
    saes: list[Dictionary],
    dense: np.ndarray | None,
) -> dict[str, Any]:
    """Return a row for each of a layer's dictionaries and ways to make a clip's code, and how codes compare to `dense`.

    `dense` says where the layer's own probe was right; None where the label is no class.
    """
    from otoscope.probing import probe_row
    from otoscope.saes import codes_of

    crops = views.turns(layer)
    fitted: dict[tuple[str, str], Probe] = {}
    for some in _batches(saes, 1 if run.spec.on_frames else len(saes)):  # each brings several codes
        codes, turns = {}, {}
        for own in some:
            for name, values in views.codes(layer, partial(codes_of, own.sae), _clip_codes(run)).items():
                codes[own.name, name] = values
                turns[own.name, name] = None if crops is None else codes_of(own.sae, crops)
        fitted |= _probes(run, codes, views.probed, turns=turns)
    rows, comparisons = [], []
    for dictionary in saes:
        where = {"encoder": encoder, "layer": layer, **dictionary.columns}
        for clip_code in _clip_codes(run):
            rows.append(where | probe_row(fitted[dictionary.name, clip_code]) | _of_clip(run, clip_code))
        if dense is not None:
            right = fitted[dictionary.name, run.spec.clip_code].correct
            comparisons.append(_code_comparison(run, where, right, dense, views.probed))
    return {"rows": rows, "comparisons": comparisons}


def _clip_codes(run: RunDirectory) -> list[str]:
    """Return all ways to make a clip's code from frames; "" where rows are clips."""
    from otoscope.saes import CLIP_CODES

    return list(CLIP_CODES) if run.spec.on_frames else [""]


def _of_clip(run: RunDirectory, clip_code: str) -> dict[str, Any]:
    """Return the columns that say how a clip's code was made, and whether all other tables are of such codes."""
    return {"clip_code": clip_code, "main": clip_code == run.spec.clip_code}


def _null_probes(
    run: RunDirectory,
    encoder: str,
    layer: int,
    views: Views,
    saes: list[Dictionary],
    folders: dict[str, list],
) -> list[dict[str, Any]]:
    """Return a row for the codes of each null, as sparse as the dictionary that they stand beside.

    That of PCA is its first k components.
    """
    from otoscope.probing import probe_row
    from otoscope.saes.nulls import fit_pca

    settings = run.spec.disentanglement
    shared = nearest(saes, settings.null_sparsity)
    k = shared[0].k
    encode = {(null, seed): own for null, seed, own in encoders_of_nulls(run, views, layer, saes, folders)}
    if "pca" in settings.nulls:
        pca = fit_pca(views.train.learnt.blocks(layer))
        encode["pca", 0] = lambda x: pca.codes(x)[:, :k]
    crops = views.turns(layer)
    fitted: dict[tuple[str, int, str], Probe] = {}
    for keys in _batches(list(encode), 1 if run.spec.on_frames else len(encode)):
        codes = {
            (*key, name): values
            for key in keys
            for name, values in views.codes(layer, encode[key], _clip_codes(run)).items()
        }
        turns = {
            key: None if crops is None else np.stack([encode[key[:2]](crop) for crop in crops])
            for key in codes
        }
        fitted |= _probes(run, codes, views.probed, turns=turns)
    return [
        {"encoder": encoder, "layer": layer, "representation": null, "sparsity": shared[0].sparsity}
        | {"k": k, "seed": seed, **probe_row(result), **_of_clip(run, clip_code)}
        for (null, seed, clip_code), result in fitted.items()
    ]


def _batches(items: list, size: int) -> Iterator[list]:
    """Yield the items, so many at a time: those whose codes are in memory together."""
    for start in range(0, len(items), max(size, 1)):
        yield items[start : start + size]


def _probes(
    run: RunDirectory, representations: dict, table: pd.DataFrame, *, turns: dict
) -> dict[Any, Probe]:
    """Return the fitted probe of each representation of the rows of `table`."""
    from otoscope.probing import linear_probes, probe_all, wilson_interval

    settings = run.spec.probing
    labels = table[run.spec.dataset.label]
    rows = {"split": table.split.to_numpy(), "groups": table.group.to_numpy()}
    kind = run.spec.dataset.label_kind
    if settings.probe == "linear":
        return linear_probes(
            representations,
            labels,
            **rows,
            kind=kind,
            train_crops={key: crops for key, crops in turns.items() if crops is not None} or None,
            keep=settings.keep,
            interval=settings.interval,
            epochs=settings.epochs,
            lr=settings.lr,
            batch_size=settings.batch_size,
            seed=run.spec.seed,
        )
    found = probe_all(
        representations,
        labels,
        **rows,
        strengths=settings.regularisation,
        n_folds=settings.folds,
    )
    if settings.interval == "wilson":
        for key, result in found.items():
            if result.kind == "class":
                own = wilson_interval(result.correct, rows["groups"][rows["split"] == "test"])
                found[key] = replace(result, score_low=own.low, score_high=own.high, trusted=own.trusted)
    return found


def _guide(
    run: RunDirectory, encoder: str, layers: dict, table: pd.DataFrame, fitted: dict[int, Probe]
) -> pd.DataFrame:
    """Return what layers together add to the best one, beside the layers' own probes."""
    from otoscope.probing import layer_guide

    settings = run.spec.probing
    found = layer_guide(
        layers,
        table[run.spec.dataset.label],
        split=table.split.to_numpy(),
        groups=table.group.to_numpy(),
        kind=run.spec.dataset.label_kind,
        strengths=settings.regularisation,
        n_folds=settings.folds,
        seed=run.spec.seed,
        probes=fitted,
    )
    found.insert(0, "encoder", encoder)
    return found.assign(layer=found.layer.where(found.layer.notna(), "all").astype(str))


def _few_latents(
    run: RunDirectory, where: dict, views: Views, saes: list[Dictionary]
) -> dict[str, pd.DataFrame]:
    """Return how well few latents tell a class: of the dense layer, and of each kind's codes at one sparsity."""
    from otoscope.probing import sparse_probes

    settings = run.spec.probing
    if not settings.few_latents:
        return {}
    dense, table = views.layer(where["layer"]), views.probed
    wanted = run.spec.disentanglement.null_sparsity
    representations: list[tuple[dict, np.ndarray]] = [
        ({"representation": DENSE, "sparsity": None, "seed": 0}, dense)
    ]
    representations += [
        (
            {"representation": own.kind, "sparsity": own.sparsity, "seed": own.sae.seed},
            _code(run, views, where["layer"], own),
        )
        for own in nearest_of_kinds(saes, wanted)
    ]
    found: dict[str, pd.DataFrame] = {}
    for about, codes in representations:
        result = sparse_probes(
            codes,
            table[run.spec.dataset.label],
            split=table.split.to_numpy(),
            groups=_paired_groups(run, table, table.split.to_numpy() != ""),
            kind=run.spec.dataset.label_kind,
            ks=settings.few_latents,
        )
        found[f"table{len(found)}"] = pd.DataFrame([where | about] * len(result)).join(result)
    return found


def _code(run: RunDirectory, views: Views, layer: int, own: Dictionary) -> np.ndarray:
    """Return a dictionary's codes [probed rows, latents]."""
    from otoscope.saes import codes_of

    clip_code = run.spec.clip_code
    return views.codes(layer, partial(codes_of, own.sae), [clip_code])[clip_code]


def _studied(asked: list, best: int, known: list[int]) -> list[int]:
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
    right = predictions.assign(right=(predictions.truth == predictions.predicted).astype(float))
    return {int(layer): own.right.to_numpy() for layer, own in right.groupby("layer", sort=False)}


def _layer_comparison(
    run: RunDirectory, encoder: str, best: int, correct: dict[int, np.ndarray], table: pd.DataFrame
) -> dict:
    """Return the row best layer minus layer 0."""
    where: dict[str, Any] = {"encoder": encoder, "layer": best, "sae": "", "sparsity": None, "seed": None}
    sides = {"comparison": BEST_LAYER, "side": "best_layer", "against": "layer_0"}
    return where | sides | _difference(run, correct[best], correct[0], table)


def _code_comparison(
    run: RunDirectory, where: dict, correct: np.ndarray, dense: np.ndarray, table: pd.DataFrame
) -> dict:
    """Return the row codes minus dense."""
    where = {name: where[name] for name in ("encoder", "layer", "sae", "sparsity", "seed")}
    sides = {"comparison": CODES, "side": "codes", "against": DENSE}
    return where | sides | _difference(run, correct, dense, table)


def _difference(run: RunDirectory, a: np.ndarray, b: np.ndarray, table: pd.DataFrame) -> dict:
    """Return what `a` is right about more often than `b`, test row by test row."""
    from otoscope.probing import p_value, paired_difference

    found = paired_difference(a, b, _paired_groups(run, table, table.split == "test"))
    return {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "n_test": len(a),
        "n_groups": found.n_groups,
        "difference_se": found.se,
        "difference_df": found.df,
        "difference_p": p_value(found),
        "trusted": found.trusted,
    }


def _paired_groups(run: RunDirectory, table: pd.DataFrame, rows: Any) -> np.ndarray:
    """Return what an interval is over: groups or, where intervals take clips for independent, clips."""
    return table[rows]["clip_id" if run.spec.probing.interval == "wilson" else "group"].to_numpy()


def _long(counts: pd.DataFrame, where: dict) -> pd.DataFrame:
    """Return a square table of counts as rows ``truth, predicted, count``."""
    long = counts.rename_axis("truth").reset_index().melt("truth", var_name="predicted", value_name="count")
    return long.assign(**where)[[*where, "truth", "predicted", "count"]]
