"""Submit a run to Slurm, or show what would be submitted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from otoscope import files
from otoscope.errors import InputError
from otoscope.experiment.slurm.plan import GATHER, plan_jobs
from otoscope.experiment.slurm.queue import JOBS, live_jobs, submitted
from otoscope.experiment.slurm.scripts import Job, Resources, at_least, script, submit_script
from otoscope.experiment.spec import load_spec, recipes


def submit_run(
    recipe_or_spec: str | Path,
    *,
    out: str | Path | None = None,
    settings: Sequence[str] = (),
    resources: Resources,
    n_tasks: int = 8,
    retry_missing: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Submit what is missing of a run: an array of tasks for each long stage, and a last job that gathers.

    Parameters
    ----------
    recipe_or_spec, out, settings
        As `otoscope.experiment.run` takes them. The directory must lie where all machines of the cluster see it.
    resources : Resources
        What each task asks for.
    n_tasks : int
        Tasks of each array.
    retry_missing : bool
        Whether it is known that the run was submitted before; else that is refused.
    dry_run : bool
        Write and submit nothing; say a bash script that would.
    say : callable
        Takes a line for the person who watches.

    Returns
    -------
    dict
        Job's name -> Slurm's number of it; empty where nothing was submitted.

    Raises
    ------
    OtoscopeError
        If the spec or an option cannot be used, jobs of this run are in the queue, or Slurm refuses one.
    """
    at_least("--tasks", n_tasks, 1)
    spec = load_spec(recipe_or_spec, settings=list(settings))
    root = Path(out if out is not None else Path("runs") / spec.name).absolute()
    name = str(recipe_or_spec) if str(recipe_or_spec) in recipes() else os.path.abspath(recipe_or_spec)
    changes = [word for setting in settings for word in ("--set", setting)]
    jobs = plan_jobs(spec, ["run", name, "--out", str(root), *changes], root, n_tasks=n_tasks)
    folder, here = root / "slurm", Path.cwd()
    scripts = [script(job, resources, folder=folder, here=here, python=sys.executable) for job in jobs]
    if dry_run:
        say(submit_script(jobs, scripts, folder).rstrip("\n"))
        return {}
    if [job.name for job in jobs] == [GATHER] and (root / "stages" / "report.json").exists():
        say("nothing is missing")
        return {}
    _check_not_submitted(root, retry_missing)
    return submit(jobs, scripts, root, say)


def submit(
    jobs: Sequence[Job], scripts: Sequence[str], root: Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, str]:
    """Write a run's sbatch files to ``slurm/`` and submit them, each to begin when those before it ended well.

    Returns
    -------
    dict
        Job's name -> Slurm's number of it. ``slurm/jobs.json`` holds them too, after each one.

    Raises
    ------
    InputError
        If there is no Slurm here, or it refuses a job; the message then says what was submitted before that one, and
        how to take it back.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "sbatch was not found: jobs are submitted on a machine of a Slurm cluster, mostly its login node; "
            "--dry-run shows anywhere what would be submitted"
        )
    folder = root / "slurm"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    before = submitted(root)
    numbers: dict[str, str] = {}
    for job, text in zip(jobs, scripts):
        path = files.write_text(folder / f"{job.name}.sbatch", text)
        asked = ["sbatch", "--parsable"]
        if job.after:
            waits = ":".join(numbers[name] for name in job.after)
            asked += ["--kill-on-invalid-dep=yes", f"--dependency=afterok:{waits}"]
        done = subprocess.run([*asked, str(path)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InputError(_refused(path, done.stderr, numbers))
        numbers[job.name] = done.stdout.strip().partition(";")[0]  # "number;cluster" where there are several
        before.append(
            {
                "name": job.name,
                "job": numbers[job.name],
                "indices": list(job.indices),
                "after": list(job.after),
                "submitted": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        files.write_json(root / JOBS, {"jobs": before})
        say(f"{job.name}: job {numbers[job.name]}" + (f", {len(job.indices)} tasks" if job.indices else ""))
    return numbers


def _check_not_submitted(root: Path, retry_missing: bool) -> None:
    """Raise InputError where the run has jobs in the queue, or had some and nobody said that this is known."""
    live = live_jobs(root)
    if live:
        raise InputError(
            f"jobs of this run are still in the queue: {', '.join(live)}. Wait for them (otoscope status {root}), or "
            f"take them back with: scancel {' '.join(live)}"
        )
    if submitted(root) and not retry_missing:
        raise InputError(
            f"this run was submitted before ({root / JOBS}); --retry-missing submits what is missing of it"
        )


def _refused(path: Path, said: str, numbers: dict[str, str]) -> str:
    """Return what sbatch said, once, and what of the run lies in the queue by now."""
    lines = [re.sub(r"^sbatch: (error: )?", "", line).strip() for line in said.splitlines()]
    told = "; ".join(dict.fromkeys(line for line in lines if line)) or "it did not say why"
    message = f"sbatch refused {path}: {told}"
    if numbers:
        message += (
            f". Submitted before it: {', '.join(f'{name} ({number})' for name, number in numbers.items())}; "
            f"take them back with: scancel {' '.join(numbers.values())}"
        )
    return message
