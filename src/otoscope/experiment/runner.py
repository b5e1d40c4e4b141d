"""Run an experiment: every stage in order, each only if its inputs changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from otoscope import __version__, files
from otoscope.encoders.load import check_encoder
from otoscope.errors import InputError, nearest
from otoscope.experiment.needs import needs
from otoscope.experiment.records import digest
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import Spec, load_spec
from otoscope.experiment.stages import (
    before_after,
    claims,
    data,
    disentanglement,
    health,
    interventions,
    latents,
    moments,
    nulls,
    probing,
    saes,
    summary,
)
from otoscope.experiment.units import WORK, Share

UNIT_STAGES = (
    "factors", "activations", "layer_probing", "frames", "saes", "nulls", "latents", "sae_probing", "disentanglement",
    "frame_disentanglement", "splice", "erasure", "steering",
)  # fmt: skip
"""The stages that are made in units, in their order; where a run has several encoders, ``<stage>-<encoder>`` each."""


def run(
    recipe_or_spec: str | Path | Spec,
    *,
    out: str | Path | None = None,
    settings: list[str] | None = None,
    reuse: Sequence[str | Path] = (),
    fresh: bool = False,
    shard: str | None = None,
    stages: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> RunDirectory:
    """Run a recipe or spec from clips to result tables.

    A run that was killed goes on where it was; a stage whose inputs and settings have not changed is kept.

    Parameters
    ----------
    recipe_or_spec : str, Path or Spec
        A recipe's name, a YAML file, or a resolved spec.
    out : str or Path, optional
        The run's directory. Default: ``runs/<name>``.
    settings : list of str, optional
        Changes to the spec, such as ``["saes.epochs=10"]``; not for a resolved `Spec`.
    reuse : sequence of path
        Other runs' directories: a stage that one of them made from the same inputs is taken over, not made again.
    fresh : bool
        Make all stages anew, whatever lies there.
    shard : str, optional
        "i/n", i from 1 to n: make every n-th unit of each stage whose inputs are complete, and return when nothing is
        left to do before others have done theirs; ``.waits`` of what is returned says for what. Processes with other
        i may run at the same time, on this machine or others. "/n": i is the number of this Slurm array task.
    stages : sequence of str
        With `shard`: units of these stages only, given by the beginnings of their names (`UNIT_STAGES`).
    say : callable
        Takes a line on what was done.

    Returns
    -------
    RunDirectory
        With ``.root`` and ``.table("layer_probing")``; ``otoscope.write_report(run)`` makes figures and a page.

    Raises
    ------
    OtoscopeError
        If the spec, the data or the directory cannot be used; nothing that was made before is lost.
    """
    spec = (
        recipe_or_spec if isinstance(recipe_or_spec, Spec) else load_spec(recipe_or_spec, settings=settings)
    )
    root = Path(out) if out is not None else Path("runs") / spec.name
    share = None if shard is None else Share.parse(shard)
    if share is None and stages:
        raise InputError("stages can be chosen for a shard only: give shard i/n")
    if share is not None and fresh:
        raise InputError(
            "processes that share a run cannot make it anew: each would undo what the others did. Name a new folder "
            "with --out"
        )
    directory = RunDirectory(
        root,
        spec,
        say,
        lenders=[_lender(path) for path in reuse],
        fresh=fresh,
        share=share,
        only=_known_stages(stages),
    )
    together = None if share is None else digest([__version__, spec.model_dump(mode="json")])
    with files.locked(root, shared_by=together):
        _run(directory)
    return directory


def _known_stages(names: Sequence[str]) -> list[str]:
    for name in names:
        if not any(name == stage or name.startswith(f"{stage}-") for stage in UNIT_STAGES):
            raise InputError(
                f"no stage of units is called '{name}'{nearest(name, UNIT_STAGES)} ({', '.join(UNIT_STAGES)})"
            )
    return list(names)


def _run(directory: RunDirectory) -> None:
    """Make all stages, each after those that it reads; of a shared run, what can be made by now."""
    spec, attempt = directory.spec, directory.attempt
    directory.open()
    clips = data.clips(directory)
    if not directory.lenders and not (directory.root / "stages" / "layer_probing.json").exists():
        for line in needs(spec, clips, out=directory.root).lines():
            directory.say(line)
        for encoder in spec.encoders:  # before the factors: a model that is not there shows now
            check_encoder(encoder.name, revision=encoder.revision)
    interventions.check(directory, clips)
    factors = attempt(data.factors, clips)  # before the hours of extraction: a missing package shows now
    attempt(data.check_fit, clips, factors)
    views = attempt(data.activations, clips)
    best, studied = attempt(probing.layer_probing, clips, views) or (None, None)
    views = attempt(data.frames, clips, views, studied)
    attempt(health.preflight, views, studied)
    trained = attempt(saes.saes, views, studied)
    attempt(health.health, views, trained)
    null_saes = attempt(nulls.trained_nulls, views, trained)
    attempt(health.stability, views, trained, null_saes)
    attempt(latents.latents, clips, views, trained, factors)  # one can listen while the rest is measured
    attempt(probing.sae_probing, clips, views, trained, null_saes, best)
    attempt(disentanglement.disentanglement, views, trained, null_saes, factors)
    attempt(moments.frame_disentanglement, clips, views, trained, null_saes)
    attempt(interventions.interventions, clips, views, trained)
    attempt(before_after.before_after, clips, views, trained)
    attempt(claims.claims, clips)
    told = attempt(summary.summary, clips, views, best, studied)
    if told is not None and not directory.waits:
        _finish(directory, told)
    for line in directory.older_versions():
        directory.say(line)


def _finish(directory: RunDirectory, told: dict[str, Any]) -> None:
    """Write what the run is, once all of it is there."""
    directory.write_spec()
    directory.write_text("run.json", json.dumps(told, indent=2) + "\n")
    with contextlib.suppress(OSError):  # where other processes are still there
        (directory.root / WORK).rmdir()
    left_out = told["summary"]["n_left_out"]
    if left_out:
        directory.say(
            f"left out {left_out} recordings that could not be read; run.json and the report name them"
        )


def _lender(path: str | Path) -> Path:
    if not (Path(path) / "stages").is_dir():
        raise InputError(
            f"'{path}' is no run to take anything over from; give the --out folder of 'otoscope run'"
        )
    return Path(path)
