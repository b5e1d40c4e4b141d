"""What became of a run's jobs, by squeue and the last lines of their logs; accounting (sacct) is not asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otoscope.errors import InputError
from otoscope.experiment.slurm.scripts import BEGINS, ENDED, ranges

JOBS = "slurm/jobs.json"
"""In a run: what was submitted, a list in order."""
OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
}  # fmt: skip
"""Slurm's words for a task that will not go on; squeue still knows it for some minutes."""
SHOWN, LINES = 3, 5
"""Of how many failed tasks the log's end is shown, and how many lines of it."""
END_BYTES = 4096


@dataclass(frozen=True)
class Task:
    """One task of a job."""

    name: str
    job: str
    index: int | None
    """Its number in the array; None where the job is a single task."""
    log: Path

    def __str__(self) -> str:
        return f"{self.name} {self.job}" if self.index is None else f"{self.name} {self.job}_{self.index}"


def job_lines(root: Path) -> list[str]:
    """Return lines on the jobs of a run for a person; none where no job was submitted."""
    tasks = latest_tasks(root)
    if not tasks:
        return []
    states = queue({task.job for task in tasks})
    if states is None:
        return [
            "Slurm: squeue does not answer here; what follows is what the logs say",
            *_failed_lines(tasks, {}),
        ]
    lines = ["Slurm:"]
    for name in dict.fromkeys(task.name for task in tasks):
        own = [task for task in tasks if task.name == name]
        lines.append(f"  {name} ({', '.join(dict.fromkeys(t.job for t in own))}): {_told(own, states)}")
    return lines + _failed_lines(tasks, states)


def submitted(root: Path) -> list[dict[str, Any]]:
    """Return what was submitted for a run, in order; nothing where no job was."""
    path = root / JOBS
    if not path.exists():
        return []
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text())["jobs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged; it says which jobs this run has: if none are in the queue, remove it"
        ) from error
    return found


def live_jobs(root: Path) -> list[str]:
    """Return the numbers of the run's jobs that are still waiting or running."""
    states = queue({each["job"] for each in submitted(root)}) or {}
    return sorted({job for (job, _), (state, _) in states.items() if state not in OVER}, key=int)


def latest_tasks(root: Path) -> list[Task]:
    """Return each task of a run's jobs, as it was submitted last."""
    found: dict[tuple[str, int | None], Task] = {}
    for each in submitted(root):
        for index in each["indices"] or [None]:
            suffix = each["job"] if index is None else f"{each['job']}_{index}"
            log = root / "slurm" / "logs" / f"{each['name']}-{suffix}.log"
            found[each["name"], index] = Task(each["name"], each["job"], index, log)
    return list(found.values())


def queue(jobs: set[str]) -> dict[tuple[str, int | None], tuple[str, str]] | None:
    """Return (job, index in the array) -> state and reason of the tasks that squeue knows; None without its answer."""
    if shutil.which("squeue") is None:
        return None
    asked = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    found = {}
    for line in done.stdout.splitlines():
        number, state, reason = line.strip().split("|", 2)
        job, _, index = number.partition("_")
        if job in jobs:
            found[job, int(index) if index.isdecimal() else None] = state, reason
    return found


def _outcome(task: Task, states: dict) -> str:
    """Return a task's state in lower case; of one that the queue has forgotten, what its log says."""
    state, reason = states.get((task.job, task.index), ("", ""))
    if state == "PENDING":
        return f"waiting ({reason})"
    if state and state not in OVER:
        return state.lower()
    code = ended_with(task.log)
    if code == 0:
        return "ended well"
    if code is None and not task.log.exists():
        return "never ran"
    if state in ("", "FAILED", "COMPLETED"):
        return "failed" if code is None else f"failed (exit code {code})"
    return state.lower().replace("_", " ")


def _told(tasks: list[Task], states: dict) -> str:
    """Return the states of a job's tasks: ``3 running (2, 4-5), 1 waiting (Priority)``."""
    outcomes = {task: _outcome(task, states) for task in tasks}
    counts = Counter(outcomes.values())
    if len(tasks) == 1 and tasks[0].index is None:
        return next(iter(counts))
    told = []
    for outcome, n in counts.items():
        which = sorted(task.index for task in tasks if outcomes[task] == outcome and task.index is not None)
        told.append(f"{n} {outcome}" + (f": {ranges(which)}" if len(counts) > 1 else ""))
    return "; ".join(told)


def _failed_lines(tasks: list[Task], states: dict) -> list[str]:
    """Return the ends of the logs of tasks that went wrong."""
    bad = [task for task in tasks if task.log.exists() and _is_bad(_outcome(task, states))]
    lines = []
    for task in bad[:SHOWN]:
        lines.append(f"{task}: {_outcome(task, states)}; {task.log} ends with")
        lines += [f"    {line}" for line in _end(task.log)[-LINES:]]
    if len(bad) > SHOWN:
        lines.append(f"and {len(bad) - SHOWN} more tasks went wrong: {', '.join(map(str, bad[SHOWN:]))}")
    return lines


def _is_bad(outcome: str) -> bool:
    return outcome.startswith("failed") or outcome in {state.lower().replace("_", " ") for state in OVER}


def ended_with(log: Path) -> int | None:
    """Return the exit code that a task's log ends with; None where the task did not come to write it."""
    marks = [line for line in _end(log) if line.startswith((BEGINS, ENDED))]
    code = marks[-1].removeprefix(ENDED) if marks else ""  # a turn that began last has not ended
    return int(code) if code.isdecimal() else None


def _end(log: Path) -> list[str]:
    """Return the last lines of a file, without those that are empty; none where it cannot be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(log.stat().st_size - END_BYTES, 0))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]
