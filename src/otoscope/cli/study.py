"""Commands that study a store: ``probe``, ``train``, ``disentangle``, ``latents``."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otoscope.cli.app import app
from otoscope.cli.tables import (
    ClipsOption,
    GroupOption,
    StoreArgument,
    check_out,
    layer_of,
    numbers,
    read_clips,
    say_notes,
    write_table,
)
from otoscope.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from otoscope.activations import Activations
    from otoscope.encoders.tokens import Layer


class LabelKindName(StrEnum):
    """What a label may be."""

    class_ = "class"
    number = "number"
    multi = "multi"


@app.command()
def probe(
    store: StoreArgument,
    clips: ClipsOption,
    label: Annotated[str, typer.Option(help="Column of the clips table to predict.")],
    out: Annotated[Path | None, typer.Option(help="Also write the table to this .csv file.")] = None,
    group: GroupOption = None,
    guide: Annotated[
        bool,
        typer.Option(
            "--guide",
            help="Say which layer to take, and what a weighted sum of layers, attention over layers and, where the "
            "store has frames, attention over time add to it.",
        ),
    ] = False,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="Score all groups, each by a probe that has not heard it, instead of those of the test side: for "
            "tables of few groups.",
        ),
    ] = False,
    label_kind: Annotated[
        LabelKindName | None,
        typer.Option(
            help="What the label is. Default: whole numbers and text are classes, ; separates several."
        ),
    ] = None,
) -> None:
    """Probe every layer of a store for a label; test clips are of groups the probe has not heard."""
    import pandas as pd

    from otoscope.activations import Activations
    from otoscope.clips import check_label, label_notes
    from otoscope.compute import progress
    from otoscope.probing import fold_table, layer_guide, probe_all, probe_folds, probe_row

    if guide and folds:
        raise InputError("--guide picks a layer on the validation side, --folds has none: give one of them")
    check_out(out)
    activations = Activations.open(store)
    table = read_clips(clips, group=group, label=label)
    kind = check_label(table, label, None if label_kind is None else label_kind.value)
    say_notes(label_notes(table, label, kind))
    rows = activations.labelled(table)
    layers: dict[Any, Any] = {layer: activations.layer(layer) for layer in activations.layers}
    sides = {"split": rows.split.to_numpy(), "groups": rows.group.to_numpy()}
    if guide:
        frames = rows.clip_id + "#" + rows.crop.astype(str) if "time_s" in rows else None
        result = layer_guide(layers, rows[label], kind=kind, clips=frames, **sides)
    elif folds:
        with progress("probing layers", len(layers), unit="layers") as bar:
            scored = []
            for layer, x in layers.items():
                found = fold_table(probe_folds(x, rows[label], groups=rows.group.to_numpy(), kind=kind))
                scored.append(found.assign(layer=layer))
                bar.advance(1)
        result = pd.concat(scored, ignore_index=True)
        result.insert(0, "layer", result.pop("layer"))
    else:
        found = probe_all(layers, rows[label], kind=kind, **sides)
        result = pd.DataFrame([{"layer": layer, **probe_row(fitted)} for layer, fitted in found.items()])
    if out is not None:
        write_table(result, out)
    print(result.round(4).to_string(index=False))


@app.command()
def train(
    store: StoreArgument,
    out: Annotated[Path, typer.Option(help="Folder for the autoencoders: layer_06/<config name>-seed0.")],
    clips: Annotated[
        str | None,
        typer.Option(help="The store's clips: train on their training side, validate on the other."),
    ] = None,
    kind: Annotated[str, typer.Option(help="Kind of autoencoder (otoscope list saes).")] = "topk",
    latents: Annotated[int, typer.Option(help="Latents of each dictionary.")] = 2048,
    sparsity: Annotated[
        str | None,
        typer.Option(
            help="Shares of silent latents, such as 0.75,0.95; for kinds that can be told. Default: 0.95."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the kind, such as l1=0.3 for relu."),
    ] = None,
    layers: Annotated[str, typer.Option(help="all, or such as 3,6,final.")] = "all",
    seeds: Annotated[str, typer.Option(help="Such as 0,1,2.")] = "0",
    epochs: Annotated[int, typer.Option(help="Passes over the rows.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Rows per step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    normalise: Annotated[
        str,
        typer.Option(help="auto, none, center, scale or whiten; folded into the weights that are saved."),
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="What is computed in: float32, float64, or bf16 (products in bfloat16).")
    ] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    group: GroupOption = None,
) -> None:
    """Train sparse autoencoders on a store's layers, all together. Killed, it goes on at its last checkpoint."""
    import shutil

    import numpy as np

    from otoscope.activations import Activations
    from otoscope.activations.store import array_name
    from otoscope.files import check_writable
    from otoscope.saes import reconstruction_metrics, train_saes

    check_writable(out / "log" if out.exists() else out)
    activations = Activations.open(store)
    configs = _configs(kind, latents, sparsity, settings or [])
    options: dict = {}
    if clips is not None:
        split = activations.labelled(read_clips(clips, group=group)).split
        options["rows"] = np.flatnonzero(split == "train")
        if not len(options["rows"]):
            raise InputError(
                f"no clip of '{clips}' is in 'train' (its split has {', '.join(sorted(set(split)))})"
            )
        if (split == "valid").any():
            options["validation_rows"] = np.flatnonzero(split == "valid")
    saes = train_saes(
        activations,
        configs,
        layers=None if layers == "all" else [layer_of(part) for part in layers.split(",")],
        seeds=numbers(seeds, int, "--seeds"),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        normalise=normalise,
        precision=precision,
        device=device,
        checkpoint=out / "checkpoint",
        log=out,
        **options,
    )
    measured = "validation rows" if "validation_rows" in options else "the rows it was trained on"
    kept = options.get("validation_rows", options.get("rows"))
    for sae in saes:
        assert sae.layer is not None  # of a store
        folder = sae.save_pretrained(out / array_name(sae.layer) / sae.name)
        metrics = reconstruction_metrics(sae, _chunks(activations, sae.layer, kept))
        print(f"{folder}: FVU {metrics.fvu:.4f}, L0 {metrics.l0:.1f} on {measured}")
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


@app.command()
def disentangle(
    store: StoreArgument,
    factors_file: Annotated[
        Path, typer.Argument(help="Factors (otoscope factors), .csv, .tsv, .jsonl or .parquet.")
    ],
    clips: ClipsOption,
    out: Annotated[Path, typer.Option(help="A .csv file.")],
    layer: Annotated[str, typer.Option(help="Layer of the store: 6, or final.")],
    sae: Annotated[
        Path | None, typer.Option(help="An autoencoder: measure its codes beside the dense layer.")
    ] = None,
    group: GroupOption = None,
    whole_clip: Annotated[
        bool, typer.Option(help="Let a factor of a clip stand for each of its rows.")
    ] = False,
) -> None:
    """Measure how well, and by how many dimensions, a layer and its codes hold each factor."""
    import pandas as pd

    from otoscope.activations import Activations
    from otoscope.disentanglement import measure_all
    from otoscope.factors import compute_factors, join_factors
    from otoscope.saes import SparseAutoencoder, codes_of

    check_out(out)
    activations = Activations.open(store)
    table = read_clips(clips, group=group)
    rows = activations.labelled(table)
    known = compute_factors("csv", table, path=factors_file)
    say_notes(known.notes)
    dense = activations.layer(layer_of(layer))
    representations = {"dense": dense}
    if sae is not None:
        loaded = SparseAutoencoder.from_pretrained(sae)
        representations[loaded.name] = codes_of(loaded, dense)
    found = measure_all(
        representations,
        join_factors(rows, known, whole_clip=whole_clip),
        groups=rows.group.to_numpy(),
        families=known.families,
    )
    parts = [result.factors.assign(layer=layer, representation=name) for name, result in found.items()]
    result = pd.concat(parts, ignore_index=True)
    write_table(result, out)
    best = result.sort_values("r2_cv", ascending=False)
    columns = ["representation", "factor", "family", "r2_cv", "completeness", "effective_dims"]
    print(best.groupby("representation", sort=False).head(10)[columns].round(3).to_string(index=False))


@app.command()
def latents(
    sae: Annotated[str, typer.Argument(help="A trained autoencoder: its folder, or a hub id.")],
    store: StoreArgument,
    clips: ClipsOption,
    out: Annotated[Path, typer.Option(help="Folder for the tables; latents that lie there are replaced.")],
    factors_of: Annotated[
        str | None,
        typer.Option(
            "--factors", help="Factors of the clips: a table (otoscope factors), or a set to compute."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Column of classes: what goes with a factor must do so within a class."),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(help="The same autoencoder of another seed, to see which latents recur; repeatable."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer: 6, or final. Default: the one it was trained on.")
    ] = None,
    moments: Annotated[
        bool, typer.Option(help="Where rows are frames: measure level, pitch and spectrum at their moments.")
    ] = True,
    permutations: Annotated[
        int, typer.Option(help="Draws of chance; no p is below one in so many.", min=20)
    ] = 200,
    group: GroupOption = None,
) -> None:
    """Say of each latent when it fires, what it goes with, and what it may be called."""
    from otoscope.activations import Activations
    from otoscope.experiment import write_latents
    from otoscope.factors import compute_factors, moment_factors
    from otoscope.latents import describe_latents, sampled_rows
    from otoscope.saes import SparseAutoencoder
    from otoscope.tables import SUFFIXES

    activations = Activations.open(store)
    table = read_clips(clips, group=group)
    loaded = SparseAutoencoder.from_pretrained(sae)
    known = None
    if factors_of is not None:
        is_file = Path(factors_of).suffix.lower() in SUFFIXES
        options: dict[str, Any] = {"path": factors_of} if is_file else {}
        known = compute_factors("csv" if is_file else factors_of, table, **options)
        say_notes(known.notes)
    at_moments = None
    if moments and "time_s" in activations.rows:
        at_moments = moment_factors(table, activations.rows.iloc[sampled_rows(activations.rows)])
    found = describe_latents(
        loaded,
        activations,
        table,
        layer=None if layer is None else layer_of(layer),
        factors=known,
        moments=at_moments,
        label=label,
        others=[SparseAutoencoder.from_pretrained(one) for one in other or []],
        n_draws=permutations,
    )
    found.about["sae"]["folder"] = sae
    found.about["dataset"] = clips
    write_latents(found, out)
    named = found.latents[found.latents.rule != ""].sort_values("confidence", ascending=False)
    print(f"{out}: {found.about['n_alive']} of {len(found.latents)} latents fire, {len(named)} have a name")
    if len(named):
        columns = ["latent", "name", "confidence", "name_auc", "held_out_auc", "frequency"]
        print(named[columns].head(20).round(3).to_string(index=False))


def _chunks(activations: Activations, layer: Layer, kept: np.ndarray | None) -> Iterator[np.ndarray]:
    """Yield a layer's rows in order, those at the places `kept`, never all at once."""
    import numpy as np

    mask = None
    if kept is not None:
        mask = np.zeros(len(activations), dtype=bool)
        mask[kept] = True
    for _, values in activations.batches([layer], batch_size=8192, seed=None, kept=mask):
        yield values[layer]


def _configs(kind: str, latents: int, sparsity: str | None, settings: list[str]) -> list:
    """Return a config for each sparsity, or one where the kind has none."""
    from otoscope.files import parse_yaml
    from otoscope.saes import make_config, make_configs

    options: dict = {"n_latents": latents}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set takes KEY=VALUE, such as l1=0.3; got '{setting}'")
        options[key.strip()] = parse_yaml(value, f"--set {key}")
    if sparsity is None:
        return make_configs(kind, [0.95], **options)
    shares = numbers(sparsity, float, "--sparsity")
    return [make_config(kind, **options, sparsity=share) for share in shares]
