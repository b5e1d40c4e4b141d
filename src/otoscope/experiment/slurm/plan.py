"""Which jobs a run needs: an array for each stage that has units to make, and a last job that gathers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from otoscope.errors import InputError
from otoscope.experiment.roles import store_plans
from otoscope.experiment.runner import UNIT_STAGES
from otoscope.experiment.slurm.scripts import Job
from otoscope.experiment.spec import Spec, load_spec
from otoscope.experiment.status import StageStatus, run_status

AFTER = {
    "factors": (),
    "activations": (),
    "layer_probing": ("activations",),
    "frames": ("layer_probing",),
    "saes": ("layer_probing", "frames"),
    "nulls": ("saes",),
    "latents": ("factors", "saes"),
    "sae_probing": ("nulls",),
    "disentanglement": ("factors", "nulls"),
    "frame_disentanglement": ("nulls",),
    "splice": ("saes",),
    "erasure": ("saes",),
    "steering": ("saes",),
}
"""Stage -> those that must be complete before its units are known."""
GATHER = "gather"


def plan_jobs(spec: Spec, command: Sequence[str], root: Path, *, n_tasks: int) -> list[Job]:
    """Return the jobs of a run in order: an array for each stage of which something is missing, and one that gathers.

    Parameters
    ----------
    spec : Spec
    command : sequence of str
        The words of ``otoscope run ...`` that make the whole run.
    root : Path
        The run's directory; it need not be there.
    n_tasks : int
        Tasks of each array; fewer where a stage is known to have fewer units. Those whose units are all there are
        left out.
    """
    found: list[StageStatus] = []
    with contextlib.suppress(InputError):  # of a run that is not begun
        if (
            load_spec(root / "spec.yaml") == spec
        ):  # else what was made is of other settings, in parts or all of it
            found = run_status(root)
    jobs: list[Job] = []
    for stage in stages_of(spec):
        n, shares = _shares(spec, stage, [each for each in found if is_of(each.stage, stage)], n_tasks)
        if shares:
            after = _submitted_before(stage, {job.name for job in jobs})
            jobs.append(Job(stage, (*command, "--stage", stage), n, tuple(shares), tuple(sorted(after))))
    waited_for = {name for job in jobs for name in job.after}
    ends = tuple(job.name for job in jobs if job.name not in waited_for)
    return [*jobs, Job(GATHER, tuple(command), after=ends)]


def stages_of(spec: Spec) -> list[str]:
    """Return the stages that are made in units, in order, as far as the spec asks for them."""
    asked = {
        "frames": spec.on_frames,
        "latents": spec.latents.describe != "none",
        "frame_disentanglement": spec.on_frames,
        "splice": spec.interventions.splice,
        "erasure": bool(spec.interventions.erase),
        "steering": bool(spec.interventions.steer),
    }
    return [stage for stage in UNIT_STAGES if asked.get(stage, True)]


def is_of(name: str, stage: str) -> bool:
    """Whether a part of a run is a stage's own or, of several encoders, one encoder's."""
    return name == stage or name.startswith(f"{stage}-")


def _shares(spec: Spec, stage: str, parts: Sequence[StageStatus], n_tasks: int) -> tuple[int, Sequence[int]]:
    """Return into how many shards a stage is cut, and which of them, from 1, have something to do."""
    half = [part for part in parts if not part.made]
    if len(parts) < _n_parts(spec, stage, parts) or not all(part.units for part in half):
        n = min(n_tasks, _most_units(spec, stage) or n_tasks)  # nobody knows yet
        return n, range(1, n + 1)
    n = min(n_tasks, max((len(part.units) for part in half), default=1))
    return n, sorted({i for part in half for i in part.lacking(n)})


def _most_units(spec: Spec, stage: str) -> int | None:
    """Return how many units a part of a stage has at most, where the spec tells."""
    if stage in ("layer_probing", "splice", "erasure", "steering"):
        return len(spec.encoders)
    return max(len(encoder.layers) for encoder in spec.encoders) if stage == "saes" else None


def _n_parts(spec: Spec, stage: str, parts: Sequence[StageStatus]) -> int:
    """Return of how many parts a stage consists, each with units of its own."""
    if stage in ("activations", "frames"):
        return sum(len(store_plans(spec, encoder)) for encoder in spec.encoders)
    return 1 if stage == "factors" or stage in [part.stage for part in parts] else len(spec.encoders)


def _submitted_before(stage: str, submitted: set[str]) -> set[str]:
    """Return the jobs among `submitted` that a stage waits for; of a stage that has none, those before it."""
    found: set[str] = set()
    for before in AFTER[stage]:
        found |= {before} if before in submitted else _submitted_before(before, submitted)
    return found
