"""From recordings to tables: clips, activations, factors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from otoscope.clips import LabelKind, check_label, clips_hash, label_kind, label_notes
from otoscope.datasets import DATASETS, load_clips
from otoscope.errors import InputError, SpecError, nearest
from otoscope.experiment.records import digest
from otoscope.experiment.roles import splits_of, store_plans
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import ROW_PER_CROP, EncoderSpec
from otoscope.experiment.stages.views import View, Views
from otoscope.experiment.units import Unit
from otoscope.tables import SUFFIXES as TABLES

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.factors import Factors

BY_CLIP = ("descriptors", "egemaps")
"""Factor sets that measure each clip by itself; of others it is not known."""
CLIPS_OF_A_UNIT = 200


def clips(run: RunDirectory) -> pd.DataFrame:
    """Load the data set's clips, check the label, and write clips.parquet.

    Always done, since files may have changed. "recordings" stands for the sound itself (spans, names, and what the
    files hold, wherever they lie), "clips" for that and all labels and splits.
    """
    spec = run.spec.dataset
    loader = DATASETS.get(spec.name).options
    unknown = [name for name in spec.options if name not in loader]
    if unknown:
        raise SpecError(
            f"data set '{spec.name}' has no option '{unknown[0]}'{nearest(unknown[0], loader)} "
            f"(options: {', '.join(loader)})"
        )
    if spec.group is not None and "group" not in loader:
        raise SpecError(f"data set '{spec.name}' has groups of its own; leave dataset.group out")
    ours = {"label": spec.label, "group": spec.group, "split_seed": run.spec.seed}
    ours |= {"skip_unreadable": spec.skip_unreadable}
    options = {name: value for name, value in ours.items() if name in loader} | spec.options
    with run.alone("clips"):  # a data set may be rendered or fetched the first time
        table = load_clips(spec.name, root=spec.root, **options)
    kind = check_label(table, spec.label, spec.label_kind)
    table.attrs["notes"] = [*table.attrs.get("notes", []), *label_notes(table, spec.label, kind)]
    for note in table.attrs["notes"]:
        run.say(f"note: {note}")
    paths = list(table.path.unique())
    with run.alone("recordings"):  # the first process of a run reads them all, the others what it noted
        if run.share is not None:
            run.read_inputs()
        run.recordings = dict(zip(paths, run.hashes(paths)))
    heard = digest([clips_hash(table), list(run.recordings.values())])
    _check_moved(run, heard)
    table.attrs["recordings"] = heard
    with run.alone("clips"):
        run.write_frame("clips", table)
    run.fingerprints["recordings"] = heard
    labelled = table.drop(columns="path").to_csv(index=False)
    run.fingerprints["clips"] = digest([labelled, run.fingerprints["recordings"]])
    return table


def _check_moved(run: RunDirectory, heard: str) -> None:
    """Raise ProvenanceError where the data set's folder is another one, and does not hold the same recordings."""
    now = run.spec.dataset.root
    if run.old_root is None or run.old_root == now:
        return
    try:
        before = run.frame("clips").attrs.get("recordings")
    except (OSError, ValueError):  # of a file that is lost or damaged
        before = None
    if before != heard:
        raise run.another("dataset.root", run.old_root, now)
    run.write_spec()


def kind_of_label(run: RunDirectory, clips: pd.DataFrame) -> LabelKind:
    """Return what the label is: as the spec says, or as it looks."""
    return run.spec.dataset.label_kind or label_kind(clips[run.spec.dataset.label])


def activations(run: RunDirectory, table: pd.DataFrame) -> dict[str, Views]:
    """Extract all layers of every encoder; return encoder name -> views of its stores."""
    from otoscope.activations import layer_rows

    found: dict[str, Views] = {}
    with run.together() as turn:
        for encoder in run.spec.encoders:
            with turn():
                name, stores = _stores(run, table, encoder)
                if name in found:
                    raise SpecError(
                        f"two encoders of the spec are called '{name}'; their results could not be told apart"
                    )
                rows = {id(store): layer_rows(store, table) for store in stores.values()}
                views = {
                    role: View(store, rows[id(store)]).only(*splits_of(run.spec, role))
                    for role, store in stores.items()
                }
                found[name] = Views(**views, in_turn=run.spec.extraction.crops == "in_turn")
    return found


def frames(
    run: RunDirectory, table: pd.DataFrame, views: dict[str, Views], studied: dict[str, list[int]]
) -> dict[str, Views]:
    """Return the same views with the frames of the studied layers, where dictionaries learn from frames.

    A second pass over the sound: which layers are studied is known only after the probes, and all of them framewise
    would be some hundred times the pooled ones on disk. No layer past the deepest studied one is computed.
    """
    from otoscope.activations import layer_rows

    if not run.spec.on_frames:
        return views
    found: dict[str, Views] = {}
    with run.together() as turn:
        for encoder, (name, own) in zip(run.spec.encoders, views.items()):
            with turn():
                layers = [*sorted(studied[name]), *run.spec.beside]
                _, stores = _stores(run, table, encoder, frames_of=layers)
                rows = {id(store): layer_rows(store, table) for store in stores.values()}
                sides = {
                    role: replace(
                        getattr(own, role),
                        frames=View(store, rows[id(store)]).only(*splits_of(run.spec, role)),
                    )
                    for role, store in stores.items()
                }
                found[name] = replace(own, **sides)
    return found


def view_name(encoder: str, role: str) -> str:
    """Return the name under which a stage depends on an encoder's view for `role`."""
    return f"view-{encoder}-{role}"


def _stores(
    run: RunDirectory, table: pd.DataFrame, encoder: EncoderSpec, *, frames_of: list | None = None
) -> tuple[str, dict[str, Activations]]:
    """Return the encoder's name and role -> store; roles that cut alike share one.

    Of all layers, pooled, or with `frames_of` of these layers' frames.
    """
    from otoscope.activations import Activations
    from otoscope.activations.reader import is_whole
    from otoscope.activations.records import FORMAT
    from otoscope.encoders.load import folder_files

    name = ""
    stores: dict[str, Activations] = {}
    plans = store_plans(run.spec, encoder)
    for plan in plans:
        clips = table[table.split.isin(plan.splits)]
        kind = "activations" if frames_of is None else "frames"
        stage_name = "-".join([kind, _slug(encoder.name), *(plan.roles if len(plans) > 1 else [])])
        wanted: dict[str, Any] = {
            "name": encoder.name,
            "revision": encoder.revision,
            "as_family": encoder.as_family,
        }
        wanted |= {"window_s": encoder.window_s} if encoder.window_s is not None else {}
        fixed = run.spec.extraction.model_dump(include={"pool", "dtype", "device", "precision"}) | {
            "crop": plan.crop
        }
        if frames_of is not None:
            fixed |= {"pool": run.spec.saes[0].rows, "layers": frames_of}
        beside = [] if plan.roles == ("measure",) else run.spec.beside
        skip = run.spec.dataset.skip_unreadable
        settings = [
            FORMAT,
            wanted,
            run.hashes(folder_files(encoder.name)),
            fixed,
            beside,
            clips_hash(clips),
            skip,
        ]
        with run.stage(stage_name, settings, after=["recordings"], in_units=True) as stage:
            if stage.needed:
                stage.outputs = _extract(run, stage_name, clips, wanted, fixed, beside)
                stage.keep(stage.outputs["store"])
            elif not is_whole(run.root / stage.outputs["store"]):  # what is lost is made anew, the same
                _extract(run, stage_name, clips, wanted, fixed, beside)
        name = stage.outputs["encoder"]
        for role in plan.roles:  # from here on, what reads a view depends on its frames too
            before = [] if frames_of is None else [run.fingerprints[view_name(name, role)]]
            made = run.fingerprints[stage_name]
            run.fingerprints[view_name(name, role)] = digest([*before, made]) if before else made
        store = Activations.open(run.root / stage.outputs["store"])
        stores |= dict.fromkeys(plan.roles, store)
    return name, stores


def _extract(
    run: RunDirectory,
    stage_name: str,
    clips: pd.DataFrame,
    wanted: dict[str, Any],
    settings: dict[str, Any],
    beside: list,
) -> dict[str, Any]:
    from otoscope.activations import Activations, extract
    from otoscope.activations.store import Store
    from otoscope.datasets.annotations import band_notes
    from otoscope.encoders import load_encoder

    with run.apart() as turn:
        encoder = load_encoder(
            wanted["name"],
            revision=wanted["revision"],
            as_family=wanted["as_family"],
            window_s=wanted.get("window_s"),
            device=settings["device"],
            precision=settings["precision"],
        )
        for note in band_notes(clips, encoder.sample_rate, encoder.name):
            run.say(f"note: {note}")
        layers = settings.get("layers") or [*range(encoder.n_layers + 1), *beside]
        made_from = digest(
            [encoder.provenance(), settings, layers, clips_hash(clips), run.fingerprints["recordings"]]
        )
        path = run.root / "activations" / f"{encoder.name}-{made_from[:8]}"
        run.note_store(path)
        if run.fresh:
            shutil.rmtree(path, ignore_errors=True)
        _withdraw_changed(run, path, clips)
        if turn:
            extract(
                clips,
                encoder,
                out=path,
                layers=layers,
                crop=settings["crop"],
                pool=settings["pool"],
                dtype=settings["dtype"],
                skip_unreadable=run.spec.dataset.skip_unreadable,
                shard=None if run.share is None else str(run.share),
            )
    n_shards = Store(path).provenance()["shards"] if Store(path).exists() else 1
    missing = n_shards - len(Store(path).done())
    if missing:
        raise run.waiting(stage_name, missing, n_shards)
    _check_unchanged(run, clips, _changed(run, path, clips))
    n_rows = len(Activations.open(path).rows)
    return {"encoder": encoder.name, "store": path.relative_to(run.root).as_posix(), "rows": n_rows}


def _withdraw_changed(run: RunDirectory, store: Path, clips: pd.DataFrame) -> None:
    """Take back this process's shards that heard a recording while it held something else, to be made anew."""
    from otoscope.activations.store import Store

    for shard in _changed(run, store, clips):
        if run.share is None or run.share.has(int(shard)):
            Store(store).withdraw(shard)


def _changed(run: RunDirectory, path: Path, clips: pd.DataFrame) -> list[str]:
    """Return the shards of a store that heard what no recording of the clips held when this process began."""
    from otoscope.activations.store import Store

    store = Store(path)
    if not store.exists():
        return []
    held = {run.recordings[name] for name in clips.path.unique()}
    done = store.done()
    return [
        record.shard
        for record in store.records(done - set(store.damage(done)))  # those are made anew anyhow
        if any(content not in held for _, content in record.recordings)
    ]


def _check_unchanged(run: RunDirectory, clips: pd.DataFrame, shards: Sequence[str] = ()) -> None:
    """Raise InputError if a recording holds, or held when a shard was made, something else than at the beginning."""
    paths = list(clips.path.unique())
    changed = [name for name, now in zip(paths, run.hashes(paths)) if now != run.recordings[name]]
    if changed or shards:
        what = f"'{changed[0]}' was" if changed else f"recordings that shard {shards[0]} heard were"
        raise InputError(
            f"{what} changed while the run was at work; run the same command again, once it is as it should be: what "
            "was made of anything else is made anew"
        )


def factors(run: RunDirectory, table: pd.DataFrame) -> Factors:
    """Compute or read the factors of the clips to be measured; write factors.parquet and two result tables."""
    from otoscope.factors import Factors, compute_factors

    name = run.spec.factors.name
    dataset = run.spec.dataset.name
    if name == "auto":
        name = "ground_truth" if DATASETS.get(dataset).true_factors else "descriptors"
    options: dict[str, Any] = {"families": run.spec.factors.families} if name == "egemaps" else {}
    clips = table[table.split.isin(splits_of(run.spec, "measure"))].reset_index(drop=True)
    skip = run.spec.dataset.skip_unreadable
    settings = [name, options, clips_hash(clips), *run.hashes([name]), *([skip] if skip else [])]
    with run.stage("factors", settings, after=["recordings"], in_units=True) as stage:
        if stage.needed:

            def make(some: pd.DataFrame) -> dict[str, Any]:
                if name == "ground_truth":
                    found = Factors(*DATASETS.get(dataset).true_factors(some))
                elif Path(name).suffix.lower() in TABLES:
                    found = compute_factors("csv", some, path=name)
                else:
                    found = compute_factors(name, some, skip_unreadable=skip, **options)
                _check_unchanged(run, some)
                return {
                    "factors": found.table,
                    "factors_info": found.info,
                    "factor_problems": found.problems,
                    "notes": list(found.notes),
                }

            size = CLIPS_OF_A_UNIT if name in BY_CLIP else max(len(clips), 1)
            parts = {
                f"clips-{start:07d}": clips.iloc[start : start + size].reset_index(drop=True)
                for start in range(0, max(len(clips), 1), size)
            }
            read = run.units([Unit(key, partial(make, some)) for key, some in parts.items()], show=False)
            made = [read(key) for key in parts]
            for note in made[0]["notes"]:
                run.say(f"note: {note}")
            run.write_frame("factors", pd.concat([own["factors"] for own in made], ignore_index=True))
            run.write_table("factors_info", made[0]["factors_info"])
            problems = [own["factor_problems"] for own in made if len(own["factor_problems"])]
            run.write_table(
                "factor_problems", pd.concat(problems or [made[0]["factor_problems"]], ignore_index=True)
            )
    return Factors(run.frame("factors"), run.table("factors_info"))


def check_fit(run: RunDirectory, table: pd.DataFrame, factors: Factors) -> None:
    """Raise InputError where a crop to be measured has no factors, as far as the clips tell: before it is extracted."""
    from otoscope.activations.crops import cut, parse_crop
    from otoscope.factors import join_factors

    if run.spec.extraction.pool not in ROW_PER_CROP:  # what rows there will be, the model says
        return
    clips = table[table.split.isin(splits_of(run.spec, "measure"))]
    for encoder in run.spec.encoders:
        for plan in store_plans(run.spec, encoder):
            if "measure" in plan.roles:
                join_factors(
                    cut(clips, parse_crop(plan.crop)), factors, whole_clip=run.spec.factors.whole_clip
                )


def _slug(name: str) -> str:
    return Path(name).name if os.path.isdir(name) else name.replace("/", "--")
