"""Are rows fit to train on, dictionaries fit to make claims about, and their latents the same from seed to seed?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.nulls import TrainedNulls
from otoscope.experiment.stages.saes import Dictionary, Trained, load, nearest
from otoscope.experiment.stages.views import Blocks, Views
from otoscope.results import TABLES


def preflight(run: RunDirectory, views: dict[str, Views], chosen: dict[str, list[int]]) -> None:
    """Look at the training rows of each chosen layer, say what was seen, and write preflight.csv."""
    from otoscope.saes.training.preflight import moments, preflight, preflight_table

    needs = [view_name(encoder, "train") for encoder in views]
    with run.stage("preflight", [chosen], after=needs) as stage:
        if not stage.needed:
            return
        tables = []
        for encoder, own in views.items():
            found = {}
            for layer in chosen[encoder]:
                found[layer] = preflight(moments(own.train.learnt.blocks(layer)))
                run.say(f"{encoder} layer {layer}: {found[layer].advice}")
            table = preflight_table(found)
            table.insert(0, "encoder", encoder)
            tables.append(table)
        run.write_table("preflight", pd.concat(tables, ignore_index=True))


def health(run: RunDirectory, views: dict[str, Views], trained: Trained) -> None:
    """Examine each dictionary on training rows and on test rows; write health.csv, and warn of those that collapsed."""
    from otoscope.saes import health
    from otoscope.saes.nulls import fit_pca

    needs = [
        "reconstruction",
        *(name for encoder in views for name in (f"saes-{encoder}", view_name(encoder, "train"))),
    ]
    with run.stage("health", after=needs) as stage:
        if stage.needed:
            rows = []
            for encoder, layers in trained.items():
                own = views[encoder]
                for layer, folders in layers.items():
                    train = own.train.learnt.blocks(layer)
                    test = own.measure.only("test").learnt.blocks(layer)
                    pca = fit_pca(train)
                    for one in load(run, encoder, layer, folders):
                        where = {"encoder": encoder, "layer": layer, **one.columns}
                        rows.append(where | vars(health(one.sae, train, test, pca=pca)))
            run.write_table("health", pd.DataFrame(rows))
    for row in run.table("health").itertuples():
        if row.state == "collapsed":
            run.say(f"warning: {row.encoder} layer {row.layer}, {row.sae}, seed {row.seed}: {row.verdict}")


def stability(run: RunDirectory, views: dict[str, Views], trained: Trained, nulls: TrainedNulls) -> None:
    """Match the latents of dictionaries that differ in their seed; write stability.csv and latent_stability.csv.

    Beside them stand the untrained and those trained on permuted activations. Nothing is written where each
    dictionary has one seed.
    """
    if all(len(section.seeds) < 2 for section in run.spec.saes):
        return
    needs = [
        name
        for encoder in views
        for name in (f"saes-{encoder}", f"nulls-{encoder}", view_name(encoder, "train"))
    ]
    with run.stage("stability", after=["reconstruction", *needs]) as stage:
        if not stage.needed:
            return
        pairs: list[pd.DataFrame] = []
        latents: list[pd.DataFrame] = []
        for encoder, layers in trained.items():
            for layer, folders in layers.items():
                rows = views[encoder].train.learnt.blocks(layer)
                where = {"encoder": encoder, "layer": layer}
                dictionaries = load(run, encoder, layer, folders)
                _match_trained(where, dictionaries, rows, pairs, latents)
                shared = nearest(dictionaries, run.spec.disentanglement.null_sparsity)
                _match_nulls(run, where, shared, nulls[encoder][layer], rows, pairs)
        if pairs:
            run.write_table("stability", _ordered("stability", pairs))
        if latents:
            run.write_table("latent_stability", _ordered("latent_stability", latents))


def _match_trained(
    where: dict[str, Any], dictionaries: list[Dictionary], rows: Blocks, pairs: list, latents: list
) -> None:
    """Append the pairs of each architecture's seeds, and its latents."""
    for name in dict.fromkeys(own.sae.config.name for own in dictionaries):
        own = [one for one in dictionaries if one.sae.config.name == name]
        found = _stability([one.sae for one in own], rows)
        if found is not None:
            about = where | {key: own[0].columns[key] for key in ("sae", "sparsity", "k")}
            pairs.append(found.pairs.assign(**about, representation=own[0].kind))
            latents.append(found.latents.assign(**about))


def _match_nulls(
    run: RunDirectory,
    where: dict[str, Any],
    shared: list[Dictionary],
    folders: dict,
    rows: Blocks,
    pairs: list,
) -> None:
    """Append the pairs of the untrained, whose latents are all matched, and of those of permuted activations."""
    from otoscope.saes import SparseAutoencoder, build_sae

    about = where | {key: shared[0].columns[key] for key in ("sae", "sparsity", "k")}
    if "untrained" in run.spec.disentanglement.nulls:
        drawn = [build_sae(own.sae.config, own.sae.n_inputs, seed=own.sae.seed) for own in shared]
        found = _stability(drawn, None)
        if found is not None:
            pairs.append(found.pairs.assign(**about, representation="untrained"))
    found = _stability(
        [SparseAutoencoder.from_pretrained(folder) for folder in folders.get("permuted", [])], rows
    )
    if found is not None:
        pairs.append(found.pairs.assign(**about, representation="permuted"))


def _stability(saes: list, rows: Blocks | None) -> Any:
    """Match the latents that fire in `rows`, all without; None where fewer than two dictionaries have any.

    None too for a kind whose decoder has no atoms to compare.
    """
    from otoscope.saes import reconstruction_metrics, stability

    if any(getattr(sae, "decoder_weight", None) is None for sae in saes):
        return None
    alive = None
    if rows is not None:
        living = [reconstruction_metrics(sae, rows).density > 0 for sae in saes]
        saes = [sae for sae, mask in zip(saes, living) if mask.any()]
        alive = [mask for mask in living if mask.any()]
    return stability(saes, alive=alive) if len(saes) > 1 else None


def _ordered(name: str, parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)[list(TABLES[name].names)]
