"""Which jobs a run needs: an array for each stage that has units to make, and a last job that gathers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from otoscope.experiment.roles import store_plans
from otoscope.experiment.runner import UNIT_STAGES
from otoscope.experiment.slurm.scripts import Job
from otoscope.experiment.spec import Spec
from otoscope.experiment.units import SUFFIX, UNITS, WORK

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
    jobs: list[Job] = []
    for stage in stages_of(spec):
        missing, n_units = missing_units(spec, root, stage)
        n = min(n_tasks, n_units or n_tasks)
        shares = range(1, n + 1) if missing is None else sorted({number % n + 1 for number in missing})
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


def missing_units(spec: Spec, root: Path, stage: str) -> tuple[set[int] | None, int | None]:
    """Return which units of a stage are missing, by number from 0, and how many it has; None where nobody knows."""
    own = re.compile(rf"{re.escape(stage)}(-.*)?")
    made = [path for path in (root / "stages").glob("*.json") if own.fullmatch(path.stem)]
    begun = [
        path
        for path in (root / WORK).glob(f"*/{UNITS}")
        if own.fullmatch(re.sub("-[0-9a-f]{16}$", "", path.parent.name))
    ]
    if len(made) + len(begun) < _n_parts(spec, stage, [path.stem for path in made]):
        return None, None
    found = [_units(path, root) for path in begun]
    return set().union(*(missing for missing, _ in found)), max((n for _, n in found), default=None)


def _n_parts(spec: Spec, stage: str, made: Sequence[str]) -> int:
    """Return how many records a stage leaves when it is complete."""
    if stage in ("activations", "frames"):
        return sum(len(store_plans(spec, encoder)) for encoder in spec.encoders)
    return len(spec.encoders) if stage not in made and stage != "factors" else 1


def _units(noted: Path, root: Path) -> tuple[set[int], int]:
    """Return the numbers of the units that are not there, of a stage that is half made, and how many it has."""
    told = json.loads(noted.read_text())
    if "store" in told:
        from otoscope.activations.store import Store

        store = Store(root / told["store"])
        if not store.exists():
            return {0}, 1
        n = store.provenance()["shards"]
        return set(range(n)) - {int(name) for name in store.done()}, n
    there = set(os.listdir(noted.parent))
    missing = {number for number, name in enumerate(told["units"]) if f"{name}{SUFFIX}" not in there}
    return missing, len(told["units"])


def _submitted_before(stage: str, submitted: set[str]) -> set[str]:
    """Return the jobs among `submitted` that a stage waits for; of a stage that has none, those before it."""
    found: set[str] = set()
    for before in AFTER[stage]:
        found |= {before} if before in submitted else _submitted_before(before, submitted)
    return found
