"""Commands that change a model's states and see what it then does: ``splice``, ``erase``, ``steer``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otoscope.cli.app import app
from otoscope.cli.tables import (
    ClipsOption,
    GroupOption,
    SkipOption,
    StoreArgument,
    check_out,
    layer_of,
    numbers,
    read_clips,
    write_table,
)
from otoscope.errors import InputError, ProvenanceError, UnknownNameError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from otoscope.encoders import Encoder
    from otoscope.encoders.tokens import Layer
    from otoscope.interventions import Readout
    from otoscope.saes import SparseAutoencoder
    from otoscope.saes.nulls import Components

SaesArgument = Annotated[
    list[str], typer.Argument(help="Trained autoencoders of one layer: folders or hub ids.", metavar="SAE...")
]
SaeArgument = Annotated[str, typer.Argument(help="A trained autoencoder: its folder, or a hub id.")]
HeardOption = Annotated[
    str,
    typer.Option(
        "--clips", help="The clips to hear, best none that it was trained on: as in otoscope extract."
    ),
]
OutTable = Annotated[Path, typer.Option(help="A .csv or .parquet file.")]
ReadoutOption = Annotated[
    str,
    typer.Option(
        help="What the model is asked: classes, letters (the head of a fine-tuned model), words (Whisper), states, or "
        "another package's."
    ),
]
EncoderOption = Annotated[
    str | None, typer.Option(help="The encoder it was trained on. Default: as its config says.")
]
LayerOption = Annotated[
    str | None, typer.Option(help="Layer: 6, or final. Default: the one it was trained on.")
]
TruthOption = Annotated[
    str | None, typer.Option(help="Column of what the readout should say: a class, or a text.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


class How(StrEnum):
    """What a dose does to latents."""

    add = "add"
    scale = "scale"


@app.command()
def splice(
    saes: SaesArgument,
    clips: HeardOption,
    out: OutTable,
    readout: ReadoutOption,
    store: Annotated[
        str | None,
        typer.Option(
            help="The store they were trained on: mean and components are of its rows. Default: of these clips."
        ),
    ] = None,
    truth: TruthOption = None,
    encoder: EncoderOption = None,
    layer: LayerOption = None,
    device: DeviceOption = "auto",
    group: GroupOption = None,
    skip_unreadable: SkipOption = False,
    card: Annotated[
        bool, typer.Option("--card", help="Put what comes out into the README.md of each autoencoder, too.")
    ] = False,
) -> None:
    """Replace a layer by its reconstruction, components, its mean and zero: how much of what the model does is left?"""
    from otoscope.experiment.sounds import waveforms_of
    from otoscope.interventions import splice as run_splice
    from otoscope.results import RECONSTRUCTION
    from otoscope.saes.files.own import is_own, write_card

    check_out(out)
    others = [sae for sae in saes if not is_own(Path(sae))] if card else []
    if others:
        raise InputError(
            f"--card writes README.md in folders of Otoscope's own format on this machine, and '{others[0]}' is none: "
            "leave --card out, or save the autoencoder in such a folder first"
        )
    loaded = [_load(sae) for sae in saes]
    at = _layer(loaded[0], saes[0], layer)
    model, reads = _model(loaded[0], saes[0], encoder, readout, device)
    table = read_clips(clips, group=group, skip_unreadable=skip_unreadable)
    waveforms = waveforms_of(table, model)
    named = {sae.name: sae for sae in loaded}
    if len(named) < len(loaded):
        raise InputError("two of the autoencoders have one name and seed; splice them one by one")
    found = run_splice(
        model,
        waveforms,
        reads,
        at,
        named,
        pca=_components(model, waveforms, at, store),
        groups=table.group.to_numpy(),
        truth=_truth(table, truth),
        on_done=lambda name, measured: print(f"{name}: {_said(measured.mean())}"),
    )
    names = {name: sae.config.name for name, sae in named.items()}
    _write("splice", found.assign(sae=found.sae.map(names).fillna("")), out)
    for folder, sae in zip(saes, loaded):
        if card:
            write_card(
                Path(folder), sae, found[(found.sae == sae.name) & (found.replaced_by == RECONSTRUCTION)]
            )


@app.command()
def erase(
    sae: SaeArgument,
    store: StoreArgument,
    clips: ClipsOption,
    target: Annotated[str, typer.Option(help="Column of the clips table to take out of the layer.")],
    out: OutTable,
    keep: Annotated[
        list[str] | None, typer.Option(help="Column that should stay; may be given several times.")
    ] = None,
    layer: LayerOption = None,
    seed: Annotated[int, typer.Option(help="Of random latents and directions.")] = 0,
    group: GroupOption = None,
) -> None:
    """Take a label out of a layer, by latents and in closed form (LEACE): what do other labels lose?"""
    from otoscope.activations import Activations
    from otoscope.interventions import Concept, clip_means, erasure_summary
    from otoscope.interventions import erase as run_erase

    check_out(out)
    loaded = _load(sae)
    activations = Activations.open(store)
    at = _layer(loaded, sae, layer)
    _check_rows(loaded, sae, activations, store, at)
    table = read_clips(clips, group=group, label=target)
    _check_columns(table, [target, *(keep or [])])
    about = activations.labelled(table)
    kept = about.split.notna().to_numpy()
    rows, x, codes = clip_means(loaded, about[kept], activations.layer(at)[kept])
    found = run_erase(
        x,
        codes,
        loaded,
        target=Concept.of(rows, target),
        keep={name: Concept.of(rows, name) for name in keep or []},
        seed=seed,
        on_rows=lambda rows: print(_erased(rows)),
    )
    which = {"encoder": activations.provenance["encoder"], "layer": at, "target": target}
    _write("erasure", found.assign(**which, **_columns(loaded)), out)
    print(erasure_summary(found).round(3).to_string(index=False))


@app.command()
def steer(
    sae: SaeArgument,
    store: Annotated[
        str, typer.Argument(help="Its activation store: latents are chosen, and amounts taken, on its rows.")
    ],
    clips: HeardOption,
    out: OutTable,
    readout: ReadoutOption,
    latents: Annotated[
        str | None, typer.Option(help="Latents to push, such as 812,13; or choose them by --towards.")
    ] = None,
    towards: Annotated[
        str | None, typer.Option(metavar="COLUMN=CLASS", help="Push towards a class of --chosen-on.")
    ] = None,
    chosen_on: Annotated[
        str | None,
        typer.Option(
            help="The store's clips, of which the training side alone is used; --towards needs them. Without them, the "
            "amounts of --latents are of all rows."
        ),
    ] = None,
    n_latents: Annotated[int, typer.Option(help="With --towards: how many latents.", min=1)] = 20,
    doses: Annotated[str, typer.Option(help="Such as -1,0,0.5,1,2; 0 leaves all as it is.")] = "0,0.5,1,2,4",
    how: Annotated[
        How, typer.Option(help="A dose adds amounts to latents, or multiplies them by 1 + dose (-1: off).")
    ] = How.add,
    truth: TruthOption = None,
    encoder: EncoderOption = None,
    layer: LayerOption = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option(help="Of random latents and directions.")] = 0,
    group: GroupOption = None,
    skip_unreadable: SkipOption = False,
) -> None:
    """Push latents, or a class's direction, in doses: what does the model then say, and where does it break?"""
    from otoscope.activations import Activations
    from otoscope.experiment.sounds import waveforms_of
    from otoscope.interventions import pushes
    from otoscope.interventions import steer as run_steer
    from otoscope.saes import codes_of

    check_out(out)
    if (latents is None) == (towards is None):
        raise InputError("give either --latents or --towards: what is pushed?")
    amounts = numbers(doses, float, "--doses")
    loaded = _load(sae)
    activations = Activations.open(store)
    at = _layer(loaded, sae, layer)
    _check_rows(loaded, sae, activations, store, at)
    # Clips that are chosen on and heard are split in one way: else a group may be on both sides.
    rows, side = _chosen_rows(activations, towards, chosen_on, group if chosen_on == clips else None)
    x = activations.layer(at)[rows]
    by = pushes(
        loaded,
        x,
        codes_of(loaded, x),
        latents=None if latents is None else numbers(latents, int, "--latents"),
        towards=side,
        n_latents=n_latents,
        how=how.value,
        seed=seed,
    )
    model, reads = _model(loaded, sae, encoder, readout, device)
    table = read_clips(clips, group=group, skip_unreadable=skip_unreadable)
    found = run_steer(
        model,
        waveforms_of(table, model),
        reads,
        at,
        by,
        amounts,
        groups=table.group.to_numpy(),
        truth=_truth(table, truth),
        on_done=lambda part: print(
            f"{part.by.iloc[0]}, dose {part.dose.iloc[0]:g}: {_said(part.set_index('measure').value)}"
        ),
    )
    _write("steering", found.assign(encoder=model.name, **_columns(loaded)), out)


def _load(sae: str) -> SparseAutoencoder:
    from otoscope.saes import SparseAutoencoder

    return SparseAutoencoder.from_pretrained(sae)


def _layer(loaded: SparseAutoencoder, sae: str, layer: str | None) -> Layer:
    at = loaded.layer if layer is None else layer_of(layer)
    if at is None:
        raise InputError(f"{sae} does not say which layer it was trained on; give --layer")
    return at


def _model(
    loaded: SparseAutoencoder, sae: str, encoder: str | None, readout: str, device: str
) -> tuple[Encoder, Readout]:
    """Return the encoder that an autoencoder was trained on, and a readout that is ready to be asked."""
    from otoscope.encoders.load import load_encoder, load_recorded
    from otoscope.interventions import READOUTS

    reads = READOUTS.get(readout)()
    heard = loaded.about.get("activations", {})
    try:
        if encoder is None:
            model = load_recorded(heard | {"precision": "float32"}, device=device)
        else:
            model = load_encoder(
                encoder, device=device, precision="float32", as_family=heard.get("as_family")
            )
    except UnknownNameError as error:
        if encoder is not None:
            raise
        raise InputError(f"{sae}: {error}; give its folder or hub id with --encoder") from error
    except ProvenanceError as error:
        raise ProvenanceError(f"{sae}: {error}") from error
    reads.prepare(model)
    return model, reads


def _check_rows(loaded: SparseAutoencoder, sae: str, activations: Any, store: str, at: Layer) -> None:
    """Raise unless a store has the layer, of the autoencoder's width, and of the model that it was trained on."""
    x = activations.layer(at)
    if x.shape[1] != loaded.n_inputs:
        raise InputError(
            f"{sae} reads states of width {loaded.n_inputs}, and layer {at} of {store} has width "
            f"{x.shape[1]}: it was trained on another layer or model; take one of this layer"
        )
    heard, here = loaded.about.get("activations", {}), activations.provenance
    for key in ("model", "weights_sha256"):
        if key in heard and key in here and heard[key] != here[key]:
            raise ProvenanceError(
                f"{sae} was trained on states of '{heard.get('model')}' ({key} {heard[key]}), and {store} "
                f"holds those of '{here.get('model')}' ({here[key]}): take the store it was trained on"
            )


def _components(model: Encoder, waveforms: list[np.ndarray], at: Layer, store: str | None) -> Components:
    from otoscope.activations import Activations
    from otoscope.interventions import states_of
    from otoscope.saes.nulls import fit_pca

    rows = states_of(model, waveforms, at) if store is None else Activations.open(store).layer(at)
    return fit_pca(rows)


def _truth(table: pd.DataFrame, column: str | None) -> list[str] | None:
    if column is None:
        return None
    _check_columns(table, [column])
    return table[column].astype(str).tolist()


def _check_columns(table: pd.DataFrame, names: list[str]) -> None:
    from otoscope.errors import nearest

    for name in names:
        if name not in table:
            raise InputError(
                f"the clips have no column '{name}'{nearest(name, list(table))} (columns: {', '.join(table)})"
            )


def _chosen_rows(
    activations: Any, towards: str | None, chosen_on: str | None, group: str | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows that latents are chosen on, and which of them are of the class that is pushed towards."""
    import numpy as np

    if towards is None:
        if chosen_on is None:
            return np.arange(len(activations)), None
        rows = activations.labelled(read_clips(chosen_on, group=group))
        return np.flatnonzero(rows.split == "train"), None
    column, equals, wanted = towards.partition("=")
    if not equals or chosen_on is None:
        raise InputError(
            f"--towards takes COLUMN=CLASS, and --chosen-on the clips that have the column; got '{towards}'"
        )
    rows = activations.labelled(read_clips(chosen_on, group=group, label=column))
    rows = rows[rows.split == "train"]
    side = (rows[column].astype(str) == wanted).to_numpy()
    if not side.any() or side.all():
        raise InputError(
            f"--towards {towards}: of {len(rows)} training rows {side.sum()} are of '{wanted}'; some must be, and some "
            f"not. The column holds {', '.join(sorted(rows[column].astype(str).unique())[:8])}"
        )
    return rows.index.to_numpy(), side


def _columns(sae: SparseAutoencoder) -> dict[str, Any]:
    from otoscope.interventions import sae_columns

    return sae_columns(sae)


def _write(name: str, table: pd.DataFrame, out: Path) -> None:
    from otoscope.results import check_table, table_of

    table = table[list(table_of(name).names)]
    check_table(name, table)
    write_table(table, out)
    print(f"{out}: {len(table)} rows")


def _said(measures: pd.Series) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in measures.items())


def _erased(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    scores = ", ".join(f"{row.label} {row.score:.3f}" for row in rows.itertuples())
    return f"{first.method}, {first.n}: {scores} (chance {first.chance:.3f})"
