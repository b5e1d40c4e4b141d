"""Commands that study a store: ``probe``, ``train``, ``disentangle``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from otoscope.cli.app import app
from otoscope.cli.tables import (
    ClipsOption,
    GroupOption,
    StoreArgument,
    layer_of,
    numbers,
    read_clips,
    say_notes,
    write_table,
)
from otoscope.errors import InputError


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
    from otoscope.probing import layer_guide, probe_all, probe_row

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
    from otoscope.saes import reconstruction_metrics, train_saes

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
    for sae in saes:
        assert sae.layer is not None  # of a store
        folder = sae.save_pretrained(out / array_name(sae.layer) / sae.name)
        x = activations.layer(sae.layer)
        metrics = reconstruction_metrics(
            sae, x[options.get("validation_rows", options.get("rows", slice(None)))]
        )
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


def _configs(kind: str, latents: int, sparsity: str | None, settings: list[str]) -> list:
    """Return a config for each sparsity, or one where the kind has none."""
    import yaml

    from otoscope.saes import make_config, make_configs

    options: dict = {"n_latents": latents}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set takes KEY=VALUE, such as l1=0.3; got '{setting}'")
        options[key.strip()] = yaml.safe_load(value)
    if sparsity is None:
        return make_configs(kind, [0.95], **options)
    shares = numbers(sparsity, float, "--sparsity")
    return [make_config(kind, **options, sparsity=share) for share in shares]
