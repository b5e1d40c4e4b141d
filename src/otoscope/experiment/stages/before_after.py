"""What the model says before and after single latents are switched off or on: what the explorer shows of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from otoscope.activations.store import array_name
from otoscope.compute import progress
from otoscope.experiment.latents_folder import read_latents
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.sounds import waveforms_of
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.interventions import encoder_and_readout
from otoscope.experiment.stages.latents import chosen
from otoscope.experiment.stages.saes import Trained, load
from otoscope.experiment.stages.views import Views
from otoscope.results import table_of

if TYPE_CHECKING:
    import numpy as np

    from otoscope.encoders import Encoder
    from otoscope.interventions import Readout, Switched
    from otoscope.latents import Description
    from otoscope.saes import SparseAutoencoder

FOLDER = "before_after"
"""Of a run: where sounds lie, where the readout is a sound."""
MOST_SHARES = 5
"""So many probabilities of a clip are kept of before and of after, the largest."""

Case = tuple[int, Literal["off", "on"], list[str]]


def before_after(run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views], trained: Trained) -> None:
    """Write before_after.csv and before_after_shares.csv and, of a codec, the sounds, where the spec asks for them."""
    settings = run.spec.interventions
    if not settings.switch:
        return
    after = ["clips", "reconstruction"]
    for name in views:
        after += [f"saes-{name}", f"latents-{name}"]
        after += [view_name(name, role) for role in ("train", "evaluate", "measure")]
    asked = [settings.switch, settings.switch_clips, settings.readout, settings.clips, run.spec.seed]
    with run.stage("before_after", [*asked, run.spec.dataset.label], after=after) as stage:
        if not stage.needed:
            return
        shutil.rmtree(run.root / FOLDER, ignore_errors=True)
        rows: list[dict[str, Any]] = []
        shares: list[dict[str, Any]] = []
        for name in views:
            encoder, readout, _ = encoder_and_readout(run, clips, name, views)
            for layer, folders in trained[name].items():
                for own, _ in chosen(run, load(run, name, layer, folders)):
                    place = Path(name) / array_name(layer) / own.name
                    found, parts = switched(
                        read_latents(run.root / "latents" / place), encoder, readout, layer, own.sae,
                        n_latents=settings.switch, n_clips=settings.switch_clips, seed=run.spec.seed,
                        root=run.root, folder=f"{FOLDER}/{place.as_posix()}",
                    )  # fmt: skip
                    about = {"encoder": name, "layer": layer, **own.columns}
                    rows += [about | row for row in found]
                    shares += [about | row for row in parts]
        for name, table in (("before_after", rows), ("before_after_shares", shares)):
            columns = list(table_of(name).names)
            run.write_table(name, pd.DataFrame(table, columns=None if table else columns)[columns])
        if (run.root / FOLDER).is_dir():
            stage.keep(FOLDER)


def switched(
    described: Description,
    encoder: Encoder,
    readout: Readout,
    layer: int,
    sae: SparseAutoencoder,
    *,
    n_latents: int,
    n_clips: int,
    seed: int,
    root: Path,
    folder: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of both tables of one described dictionary, and write its sounds into `folder` below `root`."""
    from otoscope.interventions import switch

    cases = _cases(described, n_latents, n_clips)
    used = {clip for _, _, clips in cases for clip in clips}
    heard = described.clips[described.clips.clip_id.isin(used)].reset_index(drop=True)
    place_of = {clip_id: row for row, clip_id in enumerate(heard.clip_id)}
    on = described.latents.set_index("latent").mean_active
    with progress(f"switching latents of layer {layer}", len(cases), unit="switches") as bar:
        found = switch(
            encoder,
            waveforms_of(heard, encoder),
            readout,
            layer,
            sae,
            [(latent, to, [place_of[clip] for clip in clips]) for latent, to, clips in cases],
            on=on.to_dict(),
            seed=seed,
            on_done=lambda: bar.advance(),
        )
    ids = heard.clip_id.astype(str).tolist()
    return _rows(found, readout, ids, encoder.sample_rate, root, folder)


def _rows(
    found: list[Switched], readout: Readout, ids: list[str], sample_rate: int, root: Path, folder: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows, shares = [], []
    for one in found:
        before, after = readout.tell(one.before), readout.tell(one.after)  # type: ignore[attr-defined]  # checked
        about = {"latent": one.latent, "switched": one.to, "clip_id": ids[one.clip]}
        sound = ""
        if before.sound is not None:
            sound = f"{folder}/{one.latent}-{one.to}-{one.clip}"
            for side, wave in (("before", before.sound), ("after", after.sound)):
                _write_sound(root / f"{sound}-{side}.flac", wave, sample_rate)
        rows.append(
            {
                **about,
                "readout": readout.name,
                "before": before.says,
                "after": after.says,
                "measure": one.measure,
                "change": one.change,
                "change_random": one.change_random,
                "sound": sound,
            }
        )
        for output in _largest(before.shares, after.shares):
            two = {"before": before.shares[output], "after": after.shares[output]}
            shares.append({**about, "output": output, **two})
    return rows, shares


def _cases(described: Description, n_latents: int, n_clips: int) -> list[Case]:
    """Return which latents are switched where: off in their strongest clips, on in controls that are silent."""
    latents = described.latents[described.latents.alive]
    best = latents.sort_values("confidence", ascending=False, kind="stable").latent.head(n_latents)
    examples = described.examples.sort_values("rank", kind="stable")
    cases: list[Case] = []
    for latent in best:
        own = examples[examples.latent == latent]
        top = own[own.kind == "top"].clip_id.head(n_clips)
        silent = own[(own.kind == "control") & (own.value == 0)].clip_id.head(n_clips)
        cases += [(int(latent), "off", list(top)), (int(latent), "on", list(silent))]
    return [case for case in cases if case[2]]


def _largest(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Return the outputs that are among the largest before or after, the largest of before first."""
    kept = {name for side in (before, after) for name in sorted(side, key=side.__getitem__)[-MOST_SHARES:]}
    return sorted(kept, key=lambda name: -before[name])


def _write_sound(path: Path, wave: np.ndarray, sample_rate: int) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.clip(-1, 1), sample_rate)
