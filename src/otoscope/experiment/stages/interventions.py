"""What if it is switched off? Layers replaced by their reconstructions, labels erased, classes pushed towards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from otoscope.compute import progress
from otoscope.errors import SpecError, nearest
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.sounds import waveforms_of
from otoscope.experiment.stages.data import kind_of_label, view_name
from otoscope.experiment.stages.saes import Dictionary, Trained, load
from otoscope.experiment.stages.saes import nearest as nearest_dictionaries
from otoscope.experiment.stages.views import View, Views
from otoscope.experiment.units import Unit
from otoscope.results import RECONSTRUCTION, table_of

if TYPE_CHECKING:
    from otoscope.encoders import Encoder
    from otoscope.interventions import Readout


def check(run: RunDirectory, clips: pd.DataFrame) -> None:
    """Raise SpecError where the interventions that are asked for cannot be made: before the hours, not after."""
    from otoscope.interventions import READOUTS

    settings = run.spec.interventions
    for name in [*filter(None, (settings.erase, settings.truth)), *settings.keep]:
        if name not in clips:
            raise SpecError(
                f"interventions: the clips have no column '{name}'{nearest(name, list(clips))} "
                f"(columns: {', '.join(clips)})"
            )
    if (settings.splice or settings.steer or settings.switch) and settings.readout != "probe":
        readout = READOUTS.get(settings.readout)
        if settings.switch and not hasattr(readout, "tell"):
            raise SpecError(f"interventions.switch: people cannot be shown what '{settings.readout}' says")
    if settings.switch and run.spec.latents.describe == "none":
        raise SpecError(
            "interventions.switch switches described latents, and latents.describe is none: make it headline"
        )
    if settings.steer:
        column, _, wanted = settings.steer.partition("=")
        known = clips[column].astype(str).unique() if column in clips else []
        if wanted not in known:
            raise SpecError(
                f"interventions.steer takes COLUMN=CLASS of the clips; got '{settings.steer}' "
                f"({'classes: ' + ', '.join(known[:8]) if len(known) else 'columns: ' + ', '.join(clips)})"
            )


def interventions(run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views], trained: Trained) -> None:
    """Write splice.csv, erasure.csv and steering.csv, those that the spec asks for."""
    settings = run.spec.interventions
    before = ["clips", "reconstruction"]
    before += [name for encoder in views for name in (f"saes-{encoder}", *_view_names(encoder))]
    asked = [
        settings.model_dump(exclude={"switch", "switch_clips"}),
        run.spec.disentanglement.null_sparsity,
        run.spec.dataset.label,
        run.spec.seed,
    ]
    measures = {
        "splice": (settings.splice, _splice),
        "erasure": (settings.erase, _erase),
        "steering": (settings.steer, _steer),
    }
    with run.together() as turn:
        for name, (wanted, measure) in measures.items():
            if not wanted:
                continue
            with turn(), run.stage(name, asked, after=before, in_units=True) as stage:
                if stage.needed:
                    table = _measured(run, clips, views, trained, measure)[list(table_of(name).names)]
                    run.write_table(name, table)
                    if name == "splice":
                        _write_cards(run, trained, table)
                    if name == "erasure":
                        run.write_table("erasure_summary", _summary(table))


def _measured(
    run: RunDirectory,
    clips: pd.DataFrame,
    views: dict[str, Views],
    trained: Trained,
    measure: Callable[[RunDirectory, pd.DataFrame, str, dict[str, Views], Trained], list[pd.DataFrame]],
) -> pd.DataFrame:
    """Return what is measured of all encoders, a unit each: it prepares the model once for all of its layers."""

    def make(encoder: str) -> dict[str, Any]:
        parts = measure(run, clips, encoder, views, trained)
        return {f"part{number}": part for number, part in enumerate(parts)}

    read = run.units([Unit(encoder, partial(make, encoder)) for encoder in views], show=False)
    return pd.concat([part for encoder in views for part in read(encoder).values()], ignore_index=True)


def _splice(
    run: RunDirectory, clips: pd.DataFrame, name: str, views: dict[str, Views], trained: Trained
) -> list[pd.DataFrame]:
    """Replace each studied layer by what each architecture, first seed, makes of it."""
    from otoscope.interventions import answers, splice
    from otoscope.saes.nulls import fit_pca

    encoder, readout, heard = encoder_and_readout(run, clips, name, views)
    waveforms, truth = waveforms_of(heard, encoder), _truth(run, heard)
    plain = answers(encoder, waveforms, readout)
    found = []
    for layer, folders in trained[name].items():
        dictionaries = load(run, name, layer, folders)
        first = {own.sae.config.name: own for own in reversed(dictionaries)}
        n_linear = len({own.sae.config.active for own in first.values()} - {None})
        with progress(f"splicing layer {layer}", len(first) + n_linear + 3, unit="replacements") as bar:
            table = splice(
                encoder,
                waveforms,
                readout,
                layer,
                {key: own.sae for key, own in reversed(first.items())},
                pca=fit_pca(views[name].train.layer(layer)),
                groups=heard.group.to_numpy(),
                truth=truth,
                plain=plain,
                on_done=lambda *_: bar.advance(),
            )
        known = table.sae.map({key: own.sparsity for key, own in first.items()})
        found.append(table.assign(encoder=name, sparsity=known.fillna(table.sparsity)))
    return found


def _erase(
    run: RunDirectory, clips: pd.DataFrame, name: str, views: dict[str, Views], trained: Trained
) -> list[pd.DataFrame]:
    """Erase the label from each studied layer by the dictionaries nearest to `null_sparsity`, all their seeds."""
    from otoscope.interventions import Concept, clip_means, erase

    settings, erased = run.spec.interventions, str(run.spec.interventions.erase)
    view = views[name].measure
    found = []
    for layer, folders in trained[name].items():
        for own in _headline(run, name, layer, folders):
            rows, x, codes = clip_means(own.sae, view.rows, view.layer(layer))
            with progress(f"erasing from layer {layer}", None, unit="edits") as bar:
                table = erase(
                    x,
                    codes,
                    own.sae,
                    target=Concept.of(rows, erased),
                    keep={label: Concept.of(rows, label) for label in settings.keep},
                    shares=settings.shares,
                    seed=own.sae.seed or 0,
                    on_rows=lambda _: bar.advance(),
                )
            about = {"encoder": name, "layer": layer, "target": erased, **own.columns}
            found.append(table.assign(**about))
    return found


def _steer(
    run: RunDirectory, clips: pd.DataFrame, name: str, views: dict[str, Views], trained: Trained
) -> list[pd.DataFrame]:
    """Push each studied layer towards a class, in doses, by the first dictionary nearest to `null_sparsity`."""
    from otoscope.interventions import answers, pushes, steer
    from otoscope.saes import codes_of

    settings = run.spec.interventions
    column, _, wanted = str(settings.steer).partition("=")
    encoder, readout, heard = encoder_and_readout(run, clips, name, views)
    waveforms, truth = waveforms_of(heard, encoder), _truth(run, heard)
    asked = [(readout, truth), *((probe, None) for probe in _bystanders(run, clips, encoder, views[name]))]
    plain = [answers(encoder, waveforms, each) for each, _ in asked]
    train = views[name].train
    found = []
    for layer, folders in trained[name].items():
        own = _headline(run, name, layer, folders)[0]
        x = train.layer(layer)
        by = pushes(
            own.sae, x, codes_of(own.sae, x), towards=(train.rows[column].astype(str) == wanted).to_numpy(),
            n_latents=settings.n_latents, seed=run.spec.seed,
        )  # fmt: skip
        for (each, known), before in zip(asked, plain, strict=True):
            table = steer(
                encoder, waveforms, each, layer, by, settings.doses, groups=heard.group.to_numpy(), truth=known,
                plain=before,
            )  # fmt: skip
            found.append(table.assign(encoder=name, **own.columns))
    return found


def _bystanders(run: RunDirectory, clips: pd.DataFrame, encoder: Encoder, own: Views) -> list[Readout]:
    """Return a probe of each label that is to stay: what steering does to it is a side effect."""
    from otoscope.interventions import fit_probe

    learnt = _clips(own.train, clips, None, run.spec.seed)
    labels = run.spec.interventions.keep
    waveforms = waveforms_of(learnt, encoder) if labels else []
    found: list[Readout] = []
    for label in labels:
        kind: Literal["class", "number"] = "number" if learnt[label].dtype.kind == "f" else "class"
        probe = fit_probe(
            encoder, waveforms, learnt[label], layer=own.layers[-1], kind=kind, groups=learnt.group.to_numpy()
        )
        probe.name = f"probe of {label}"
        found.append(probe)
    return found


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return what each method takes and leaves, a row for each dictionary and method."""
    from otoscope.interventions import erasure_summary

    about = ["encoder", "layer", "sae", "sparsity", "k", "seed", "target"]
    parts = [
        erasure_summary(own).assign(**dict(zip(about, key, strict=True)))
        for key, own in table.groupby(about, sort=False, dropna=False)
    ]
    return pd.concat(parts, ignore_index=True)[list(table_of("erasure_summary").names)]


def _headline(run: RunDirectory, encoder: str, layer: int, folders: list) -> list[Dictionary]:
    return nearest_dictionaries(load(run, encoder, layer, folders), run.spec.disentanglement.null_sparsity)


def encoder_and_readout(
    run: RunDirectory, clips: pd.DataFrame, name: str, views: dict[str, Views]
) -> tuple[Encoder, Readout, pd.DataFrame]:
    """Return the encoder, a readout that is ready, and the test clips it is asked about."""
    from otoscope.encoders import load_encoder
    from otoscope.interventions import READOUTS, fit_probe

    settings, own = run.spec.interventions, views[name]
    asked = dict(zip(views, run.spec.encoders))[name]
    encoder = load_encoder(
        asked.name,
        revision=asked.revision,
        as_family=asked.as_family,
        device=run.spec.extraction.device,
        precision="float32",
    )
    heard = _clips(own.evaluate.only("test"), clips, settings.clips, run.spec.seed)
    if settings.readout != "probe":
        readout = READOUTS.get(settings.readout)()
        readout.prepare(encoder)
        return encoder, readout, heard
    kind = kind_of_label(run, clips)
    if kind == "multi":
        raise SpecError(
            "interventions.readout: a probe of several classes at once is not read out; name a head"
        )
    label = run.spec.dataset.label
    learnt = _clips(own.train, clips, None, run.spec.seed)
    readout = fit_probe(
        encoder, waveforms_of(learnt, encoder), learnt[label], layer=own.layers[-1], kind=kind,
        groups=learnt.group.to_numpy(),
    )  # fmt: skip
    return encoder, readout, heard


def _clips(view: View, clips: pd.DataFrame, most: int | None, seed: int) -> pd.DataFrame:
    """Return a row a clip, with its path and its first crop, at most `most` evenly drawn; of frames the whole clip."""
    first = view.rows.drop_duplicates("clip_id")
    if "time_s" in view.rows:
        found = clips[clips.clip_id.isin(first.clip_id)]
    else:
        spans = first[["clip_id", "start_s", "stop_s"]]
        found = clips.drop(columns=["start_s", "stop_s"]).merge(spans, on="clip_id")
    if most is not None and len(found) > most:
        found = found.sample(most, random_state=seed).sort_index()
    return found.reset_index(drop=True)


def _truth(run: RunDirectory, heard: pd.DataFrame) -> list[Any] | None:
    """Return what the readout should say, where that is known."""
    settings = run.spec.interventions
    if settings.truth is not None:
        return heard[settings.truth].astype(str).tolist()
    if settings.readout != "probe":
        return None
    label = heard[run.spec.dataset.label]
    return label.tolist() if label.dtype.kind == "f" else label.astype(str).tolist()


def _view_names(encoder: str) -> list[str]:
    return [view_name(encoder, role) for role in ("train", "evaluate", "measure")]


def _write_cards(run: RunDirectory, trained: Trained, table: pd.DataFrame) -> None:
    """Put what the model does on reconstructions into each dictionary's card."""
    from otoscope.saes import SparseAutoencoder
    from otoscope.saes.files.own import write_card

    own = table[table.replaced_by == RECONSTRUCTION]
    for encoder, layers in trained.items():
        for layer, folders in layers.items():
            for folder in folders:
                sae = SparseAutoencoder.from_pretrained(folder)
                rows = own[
                    (own.encoder == encoder)
                    & (own.layer == layer)
                    & (own.sae == sae.config.name)
                    & (own.seed == sae.seed)
                ]
                if len(rows) and run.root.resolve() in folder.resolve().parents:  # not another run's
                    write_card(folder, sae, rows)
