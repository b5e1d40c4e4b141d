"""One stage each, on files: ``extract``, ``factors``, ``probe``, ``train``, ``encode``, ``disentangle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otoscope.cli.app import app
from otoscope.errors import InputError, ProvenanceError

if TYPE_CHECKING:
    import pandas as pd

ClipsArgument = Annotated[
    str,
    typer.Argument(help="A data set's name, a folder of recordings, or a clips table (.csv, .parquet)."),
]
StoreArgument = Annotated[Path, typer.Argument(help="An activation store (otoscope extract), or its URL.")]
ClipsOption = Annotated[
    str, typer.Option("--clips", help="The clips it was made from: as in otoscope extract.")
]
GroupOption = Annotated[
    str | None, typer.Option(help="Folder's column of what must not cross a split (singer, speaker).")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="Go on without recordings that cannot be read.")
]


@app.command()
def extract(
    clips: ClipsArgument,
    encoder: Annotated[
        str, typer.Option(help="A short name (otoscope list encoders), a hub id, or a folder.")
    ],
    out: Annotated[str, typer.Option(help="The store: a folder or any fsspec URL.")],
    layers: Annotated[str, typer.Option(help="all, or such as 3,6,final.")] = "all",
    pool: Annotated[str, typer.Option(help="mean, frames, bands (AST), tokens, or paper.")] = "mean",
    crop: Annotated[
        str, typer.Option(help="full, first:5, random:8x5 or windows:5/2.5 (seconds); add ,pad or ,seed=1.")
    ] = "full",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="What the model computes in: auto, float32, bfloat16.")] = "auto",
    store_dtype: Annotated[str, typer.Option(help="What is stored: float32 or float16.")] = "float32",
    batch_size: Annotated[
        int | None, typer.Option(help="Crops per pass. Default: as the device allows.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: make every n-th shard only, so that n processes fill one store.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of the model on the hub.")] = None,
    group: GroupOption = None,
    skip_unreadable: SkipOption = False,
) -> None:
    """Run an encoder over all clips, once, and keep its layers. Killed, it goes on where it was."""
    from otoscope.activations import extract as run_extraction
    from otoscope.encoders import load_encoder

    table = _read_clips(clips, group=group, skip_unreadable=skip_unreadable)
    store = run_extraction(
        table,
        load_encoder(encoder, device=device, dtype=dtype, revision=revision),
        out=out,
        layers=layers,
        pool=pool,
        crop=crop,
        dtype=store_dtype,
        batch_size=batch_size,
        shard=shard,
        skip_unreadable=skip_unreadable,
    )
    print(f"{out}: {len(store.rows)} rows of layers {', '.join(map(str, store.layers))}")
    for clip_id, reason in zip(store.skipped.clip_id, store.skipped.reason):
        print(f"left out: {clip_id}: {reason}")


@app.command()
def factors(
    clips: ClipsArgument,
    out: Annotated[Path, typer.Option(help="A .csv or .parquet file.")],
    name: Annotated[str, typer.Option(help="A factor set (otoscope list factors).")] = "descriptors",
    skip_unreadable: SkipOption = False,
) -> None:
    """Measure physical attributes of every clip: pitch, loudness, spectral shape and more."""
    from otoscope.factors import compute_factors

    found = compute_factors(name, _read_clips(clips, skip_unreadable=skip_unreadable))
    _write_table(found.table, out)
    print(f"{out}: {len(found.names)} factors of {len(found.table)} clips")
    for clip_id, problem in zip(found.problems.clip_id, found.problems.problem):
        print(f"note: {clip_id}: {problem}")


@app.command()
def probe(
    store: StoreArgument,
    clips: ClipsOption,
    label: Annotated[str, typer.Option(help="Column of the clips table to predict.")],
    out: Annotated[Path | None, typer.Option(help="Also write the table to this .csv file.")] = None,
    group: GroupOption = None,
) -> None:
    """Probe every layer of a store for a label; test clips are of groups the probe has not heard."""
    import pandas as pd

    from otoscope.activations import Activations
    from otoscope.clips import check_label
    from otoscope.probing import probe_all, probe_row

    activations = Activations.open(store)
    table = _read_clips(clips, group=group, label=label)
    check_label(table, label)
    rows = _rows_of(activations, table)
    found = probe_all(
        {layer: activations.layer(layer) for layer in activations.layers},
        rows[label],
        split=rows.split.to_numpy(),
        groups=rows.group.to_numpy(),
    )
    result = pd.DataFrame([{"layer": layer} | probe_row(fitted) for layer, fitted in found.items()])
    if out is not None:
        _write_table(result, out)
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
    sparsity: Annotated[str, typer.Option(help="Shares of silent latents, such as 0.75,0.95.")] = "0.95",
    layers: Annotated[str, typer.Option(help="all, or such as 3,6.")] = "all",
    seeds: Annotated[str, typer.Option(help="Such as 0,1,2.")] = "0",
    epochs: Annotated[int, typer.Option(help="Passes over the rows.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Rows per step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    group: GroupOption = None,
) -> None:
    """Train sparse autoencoders on a store's layers, all together."""
    import numpy as np

    from otoscope.activations import Activations
    from otoscope.saes import make_config, reconstruction_metrics, train_saes

    activations = Activations.open(store)
    options: dict = {}
    if clips is not None:
        split = _rows_of(activations, _read_clips(clips, group=group)).split
        options = {
            "rows": np.flatnonzero(split == "train"),
            "validation_rows": np.flatnonzero(split == "valid"),
        }
    saes = train_saes(
        activations,
        [
            make_config(kind, n_latents=latents, sparsity=share)
            for share in _numbers(sparsity, float, "--sparsity")
        ],
        layers=None if layers == "all" else _numbers(layers, int, "--layers"),
        seeds=_numbers(seeds, int, "--seeds"),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        **options,
    )
    measured = "validation rows" if options else "the rows it was trained on"
    for sae in saes:
        folder = sae.save_pretrained(out / f"layer_{sae.layer:02d}" / sae.name)
        x = activations.layer(sae.layer)
        metrics = reconstruction_metrics(sae, x[options["validation_rows"]] if options else x)
        print(f"{folder}: FVU {metrics.fvu:.4f}, L0 {metrics.l0:.1f} on {measured}")


@app.command()
def encode(
    sae: Annotated[str, typer.Argument(help="A trained autoencoder: its folder, or a hub id.")],
    clips: ClipsArgument,
    out: Annotated[
        Path, typer.Option(help="A .parquet or .csv file: clip_id, start_s, stop_s, latent, value.")
    ],
    encoder: Annotated[
        str | None, typer.Option(help="The encoder it was trained on. Default: as its config says.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer. Default: the one it was trained on.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    skip_unreadable: SkipOption = False,
) -> None:
    """Apply a trained autoencoder to new sound: which latents are active, where, and how strongly."""
    import tempfile

    from otoscope.activations import extract as run_extraction
    from otoscope.encoders import load_encoder
    from otoscope.saes import SparseAutoencoder, encode_rows

    trained = SparseAutoencoder.from_pretrained(sae)
    layer = trained.layer if layer is None else layer
    heard = trained.about.get("activations", {})
    name = encoder or heard.get("model")
    if name is None or layer is None:
        raise InputError(
            f"{sae} does not say which encoder and layer it was trained on; give --encoder and --layer"
        )
    model = load_encoder(name, device=device, dtype=heard.get("compute_dtype", "auto"))
    now = model.provenance()
    for key in ("weights_sha256", "revision"):
        if key in heard and key in now and heard[key] != now[key]:
            raise ProvenanceError(
                f"{sae} was trained on other weights of '{name}' ({key} {heard[key]}, here {now[key]}); "
                "its latents would mean nothing on these"
            )
    table = _read_clips(clips, skip_unreadable=skip_unreadable)
    with tempfile.TemporaryDirectory() as folder:
        store = run_extraction(
            table,
            model,
            out=Path(folder) / "store",
            layers=[layer],
            pool=heard.get("pool", "mean"),
            crop=heard.get("crop", "full"),
            skip_unreadable=skip_unreadable,
        )
        codes = encode_rows(trained, store, layer=layer)
    _write_table(codes, out)
    print(
        f"{out}: {len(codes)} active latents in {len(store.rows)} rows, {codes.latent.nunique()} different ones"
    )


@app.command()
def disentangle(
    store: StoreArgument,
    factors_file: Annotated[Path, typer.Argument(help="Factors (otoscope factors), .csv or .parquet.")],
    clips: ClipsOption,
    out: Annotated[Path, typer.Option(help="A .csv file.")],
    layer: Annotated[int, typer.Option(help="Layer of the store.")],
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
    from otoscope.experiment.stages.rows import codes_of
    from otoscope.factors import compute_factors, join_factors
    from otoscope.saes import SparseAutoencoder

    activations = Activations.open(store)
    table = _read_clips(clips, group=group)
    rows = _rows_of(activations, table)
    known = compute_factors("csv", table, path=factors_file)
    dense = activations.layer(layer)
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
    _write_table(result, out)
    best = result.sort_values("r2_cv", ascending=False)
    columns = ["representation", "factor", "family", "r2_cv", "completeness", "effective_dims"]
    print(best.groupby("representation", sort=False).head(10)[columns].round(3).to_string(index=False))


def _read_clips(clips: str, **options) -> pd.DataFrame:
    """Return the clips table of a data set's name, a folder, or a table on disk."""
    import pandas as pd

    from otoscope.clips import check_clips, split_clips
    from otoscope.datasets import load_clips

    path = Path(clips)
    if path.suffix in (".csv", ".parquet"):
        if not path.is_file():
            raise InputError(f"no such clips table: '{clips}'")
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        return check_clips(table if "split" in table else split_clips(table))
    if path.is_dir():
        return load_clips(clips, **{name: value for name, value in options.items() if value is not None})
    return load_clips(clips)


def _rows_of(activations, table: pd.DataFrame) -> pd.DataFrame:
    from otoscope.experiment.stages.rows import layer_rows

    return layer_rows(activations, table)


def _write_table(table: pd.DataFrame, out: Path) -> None:
    try:
        if out.suffix == ".parquet":
            table.to_parquet(out, index=False)
        elif out.suffix == ".csv":
            table.to_csv(out, index=False)
        else:
            raise InputError(f"--out must end in .csv or .parquet; got '{out}'")
    except OSError as error:
        raise InputError(f"cannot write '{out}' ({error.strerror or error})") from error


def _numbers(text: str, kind: type, option: str) -> list:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} takes numbers with commas between, such as 1,2; got '{text}'") from error
