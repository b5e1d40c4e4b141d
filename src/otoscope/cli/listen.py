"""Commands that listen: ``extract``, ``encode``, ``factors``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otoscope.cli.app import app
from otoscope.cli.tables import (
    ClipsArgument,
    GroupOption,
    SkipOption,
    check_out,
    layer_of,
    read_clips,
    say_notes,
    write_table,
)
from otoscope.errors import InputError, ProvenanceError, UnknownNameError


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
    precision: Annotated[
        str, typer.Option(help="What the model computes in: auto, float32, bfloat16.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="What is stored: float32 or float16.")] = "float32",
    batch_size: Annotated[
        int | None, typer.Option(help="Crops per pass. Default: as the device allows.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: make every n-th shard only, so that n processes fill one store.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of the model on the hub.")] = None,
    window_s: Annotated[
        float | None,
        typer.Option(help="Whisper's only: give it so many seconds, not 30; its states are others."),
    ] = None,
    group: GroupOption = None,
    skip_unreadable: SkipOption = False,
) -> None:
    """Run an encoder over all clips, once, and keep its layers. Killed, it goes on where it was."""
    from otoscope.activations import extract as run_extraction
    from otoscope.datasets.annotations import band_notes
    from otoscope.encoders import load_encoder

    table = read_clips(clips, group=group, skip_unreadable=skip_unreadable)
    model = load_encoder(encoder, device=device, precision=precision, revision=revision, window_s=window_s)
    say_notes(band_notes(table, model.sample_rate, encoder))
    store = run_extraction(
        table,
        model,
        out=out,
        layers=layers,
        pool=pool,
        crop=crop,
        dtype=dtype,
        batch_size=batch_size,
        shard=shard,
        skip_unreadable=skip_unreadable,
    )
    print(f"{out}: {len(store)} rows of layers {', '.join(map(str, store.layers))}")
    for path, reason in zip(store.skipped.path, store.skipped.reason):
        print(f"left out: {path}: {reason}")


@app.command()
def encode(
    sae: Annotated[str, typer.Argument(help="A trained autoencoder: its folder, or a hub id.")],
    clips: ClipsArgument,
    out: Annotated[
        Path,
        typer.Option(
            help="A .parquet or .csv file: clip_id, start_s, stop_s (of frames time_s), latent, value."
        ),
    ],
    encoder: Annotated[
        str | None, typer.Option(help="The encoder it was trained on. Default: as its config says.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer: 6, or final. Default: the one it was trained on.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    skip_unreadable: SkipOption = False,
) -> None:
    """Apply a trained autoencoder to new sound: which latents are active, where, and how strongly."""
    import tempfile

    from otoscope.activations import extract as run_extraction
    from otoscope.encoders.load import check_weights, load_encoder, load_recorded
    from otoscope.saes import SparseAutoencoder, encode_rows

    check_out(out)
    trained = SparseAutoencoder.from_pretrained(sae)
    at = trained.layer if layer is None else layer_of(layer)
    heard = trained.about.get("activations", {})
    if at is None:
        raise InputError(f"{sae} does not say which layer it was trained on; give --layer")
    try:
        if encoder is None:
            model = load_recorded(heard, device=device)
        else:
            precision = heard.get("precision", "float32")
            model = load_encoder(
                encoder, device=device, precision=precision, as_family=heard.get("as_family")
            )
            check_weights(model, heard)
    except UnknownNameError as error:
        if encoder is not None:
            raise
        raise InputError(f"{sae}: {error}; give its folder or hub id with --encoder") from error
    except ProvenanceError as error:
        raise ProvenanceError(f"{sae}: {error}") from error
    table = read_clips(clips, skip_unreadable=skip_unreadable)
    with tempfile.TemporaryDirectory() as folder:
        store = run_extraction(
            table,
            model,
            out=Path(folder) / "store",
            layers=[at],
            pool=heard.get("pool", "mean"),
            crop=heard.get("crop", "full"),
            skip_unreadable=skip_unreadable,
        )
        codes = encode_rows(trained, store, layer=at)
    write_table(codes, out)
    print(
        f"{out}: {len(codes)} active latents in {len(store.rows)} rows, {codes.latent.nunique()} different ones"
    )


@app.command()
def factors(
    clips: ClipsArgument,
    out: Annotated[Path, typer.Option(help="A .csv or .parquet file.")],
    name: Annotated[str, typer.Option(help="A factor set (otoscope list factors).")] = "descriptors",
    skip_unreadable: SkipOption = False,
) -> None:
    """Measure physical attributes of every clip: pitch, loudness, spectral shape and more."""
    from otoscope.factors import compute_factors

    check_out(out)
    table = read_clips(clips, skip_unreadable=skip_unreadable)
    found = compute_factors(name, table, skip_unreadable=skip_unreadable)
    write_table(found.table, out)
    print(f"{out}: {len(found.names)} factors of {len(found.table)} clips")
    for clip_id, problem in zip(found.problems.clip_id, found.problems.problem):
        print(f"note: {clip_id}: {problem}")
