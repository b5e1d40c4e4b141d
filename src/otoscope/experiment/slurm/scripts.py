"""The text of sbatch files: what a person would have written, who may edit them and submit them by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

from otoscope.errors import InputError

STOP_BEFORE_S = 60
"""How long before a task's time is up it is told to stop, and to go back to the queue."""
BEGINS, ENDED = "otoscope slurm: begins on ", "otoscope slurm: ended with "
"""How the first and the last line of a task's turn begin in its log; a machine's name and an exit code follow."""

WRITTEN = {
    "--time": (
        r"(\d+-)?\d+(:\d+){0,2}|UNLIMITED|INFINITE",
        "minutes (90), minutes:seconds, hours:minutes:seconds (04:00:00), days-hours (1-12), days-hours:minutes, "
        "days-hours:minutes:seconds, or UNLIMITED",
    ),
    "--mem": (r"\d+([KMGT]B?)?", "a whole number and K, M, G or T (16G); without a letter it is megabytes"),
    "--gpus": (
        r"([A-Z][\w.-]*:)?0*[1-9]\d*|[A-Z][\w.-]*",
        "a number from 1 (2), a type (a100), or both (a100:2)",
    ),
}
"""Option -> how Slurm wants it written on any cluster: a pattern, in either case, and the same in words."""


@dataclass(frozen=True)
class Resources:
    """What each task of a run asks of Slurm, in Slurm's own words."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    """A task's time limit, such as ``04:00:00``; a task that reaches it goes on in its next turn."""
    mem: str | None = None
    """Memory of a task, such as ``16G``."""
    gpus: str | None = None
    """GPUs of a task: a number, or such as ``a100:1``."""
    cpus_per_task: int = 4
    """The same for every task, as are the threads: the last bits of results may depend on their number."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch, such as ``--reservation=x``."""
    setup: tuple[str, ...] = ()
    """Lines of bash that come first in a task, such as ``module load cuda``."""
    parallel: int | None = None
    """How many tasks of an array may run at once."""
    retries: int = 3
    """How often a task that ran out of time, or crashed, goes back to the queue by itself."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            option = f"--{field.name.replace('_', '-')}"
            for text in value if isinstance(value, tuple) else [value]:
                if isinstance(text, str):
                    one_line(text, option)
            if isinstance(value, str):
                _check_written(option, value)
        at_least("--cpus-per-task", self.cpus_per_task, 1)
        at_least("--array-parallelism", self.parallel, 1)
        at_least("--retries", self.retries, 0)
        for option in self.sbatch:
            if not re.match(r"--[a-zA-Z]", option):
                raise InputError(
                    f"--sbatch takes an option of sbatch, such as --reservation=x; got '{option}'"
                )

    def options(self) -> list[str]:
        """Return the lines after ``#SBATCH``."""
        told = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "ntasks": 1,
            "cpus-per-task": self.cpus_per_task,
            "mem": self.mem,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            "time": self.time,
        }
        found = [f"--{name}={sbatch_quote(value)}" for name, value in told.items() if value is not None]
        for option in self.sbatch:
            name, equals, value = option.partition("=")
            found.append(f"{name}={sbatch_quote(value)}" if equals else option)
        return found


@dataclass(frozen=True)
class Job:
    """A job of Slurm: one task, or an array of tasks that share a stage's units."""

    name: str
    command: tuple[str, ...]
    """The words of ``otoscope``'s command line."""
    n: int | None = None
    """Into how many shards the stage is cut; None where one task does it."""
    indices: tuple[int, ...] = ()
    """The shards to do, from 1 to `n`."""
    after: tuple[str, ...] = ()
    """Names of the jobs that must have ended well before."""


def script(job: Job, resources: Resources, *, folder: Path, here: Path, python: str) -> str:
    """Return the sbatch file of a job.

    Parameters
    ----------
    job : Job
    resources : Resources
    folder : Path
        Where the files of the run's jobs lie; logs go to ``logs/`` in it.
    here : Path
        The folder that the command's relative paths start from.
    python : str
        The interpreter that has Otoscope.

    Raises
    ------
    InputError
        If a path or an argument holds a line break, or the folder's name what Slurm cannot write a log to.
    """
    for word in (str(folder), str(here), python, *job.command):
        one_line(word, "an argument or a path")
    if "\\" in str(folder):  # one in a log's name ends Slurm's reading of %A and %a
        raise InputError(
            f"Slurm cannot write logs below '{folder}': a backslash stands in it; give another --out"
        )
    options = _options(job, resources, folder)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        "",
        *_body(job, resources, here, python),
    ]
    return "\n".join(lines) + "\n"


def _options(job: Job, resources: Resources, folder: Path) -> list[str]:
    """Return what sbatch reads, in its words."""
    is_array = job.n is not None
    log = f"{str(folder).replace('%', '%%')}/logs/{job.name}-{'%A_%a' if is_array else '%j'}.log"
    limit = f"%{resources.parallel}" if resources.parallel else ""
    return [
        f"--job-name=otoscope-{job.name}",
        *([f"--array={ranges(job.indices)}{limit}"] if is_array else []),
        *resources.options(),
        f"--output={sbatch_quote(log)}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{STOP_BEFORE_S}",
    ]


def _body(job: Job, resources: Resources, here: Path, python: str) -> list[str]:
    """Return what bash runs."""
    is_array = job.n is not None
    who = '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"' if is_array else '"$SLURM_JOB_ID"'
    shard = f' --shard "$SLURM_ARRAY_TASK_ID/{job.n}"' if is_array else ""
    command = shlex.join([python, "-m", "otoscope", *job.command])
    return [
        "# Slurm sends USR1 a minute before the time is up: what runs stops cleanly, and its next turn goes on.",
        "trap '[ -z \"$run\" ] || kill -TERM $run' USR1",
        "trap 'cancelled=yes' TERM # which scancel sends to all that runs here",
        "",
        f'echo "{BEGINS}$(hostname), $(date)"',
        *resources.setup,
        f"cd {shlex.quote(str(here))} || exit 2",
        f"export OMP_NUM_THREADS={resources.cpus_per_task} # in every task the same: last bits may depend on it",
        "export PYTHONUNBUFFERED=1 # so that the log shows what goes on",
        f"{command}{shard} &",
        "run=$!",
        "wait $run; code=$?",
        "while [ $code -gt 128 ] && kill -0 $run 2> /dev/null; do wait $run; code=$?; done # it was but a signal",
        "",
        f'echo "{ENDED}$code"',
        "case $code in",
        "0 | 2) ;; # all is done, or something must be mended first",
        f'*) if [ -z "$cancelled" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {resources.retries} ]; then',
        f"       scontrol requeue {who}",
        "   fi ;;",
        "esac",
        "exit $code",
    ]


def submit_script(jobs: Sequence[Job], scripts: Sequence[str], folder: Path) -> str:
    """Return a bash script that writes the sbatch files into `folder` and submits them in order."""
    variables = {job.name: f"job_{place}" for place, job in enumerate(jobs, 1)}
    lines = [
        "#!/bin/bash",
        "# What 'otoscope slurm' would submit without --dry-run. Nothing was written or submitted.",
        "# To change it by hand: save this, edit it, and run it with bash.",
        f"mkdir -p {shlex.quote(str(folder / 'logs'))} || exit",
    ]
    for job, text in zip(jobs, scripts):
        path = shlex.quote(str(folder / f"{job.name}.sbatch"))
        lines += ["", f"cat > {path} << 'END_OF_SBATCH' || exit", text.rstrip("\n"), "END_OF_SBATCH"]
        before = "".join(f":${{{variables[name]}%%;*}}" for name in job.after)
        waits = f'--kill-on-invalid-dep=yes --dependency="afterok{before}" ' if before else ""
        lines.append(f"{variables[job.name]}=$(sbatch --parsable {waits}{path}) || exit")
    lines += ["", 'echo "submitted: ' + " ".join(f"${name}" for name in variables.values()) + '"', ""]
    return "\n".join(lines)


def ranges(indices: Sequence[int]) -> str:
    """Return numbers in rising order as Slurm writes them: ``1-3,7``."""
    starts = [indices[0], *(b for a, b in pairwise(indices) if b != a + 1)]
    stops = [*(a for a, b in pairwise(indices) if b != a + 1), indices[-1]]
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in zip(starts, stops))


def sbatch_quote(value: object) -> str:
    """Quote a value for a line after ``#SBATCH``, where sbatch, and no shell, takes quotes and backslashes away."""
    text = str(value)
    if re.fullmatch(r"[\w./:=,@%+&|*\[\]-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def one_line(text: str, what: str) -> None:
    """Raise InputError for text that would not stay on its line."""
    if any(character in text for character in "\n\r\0"):
        raise InputError(f"{what} holds a line break, which no line of an sbatch file can: {text!r}")


def at_least(option: str, count: int | None, fewest: int) -> None:
    """Raise InputError for a count that is too small; None was not given."""
    if count is not None and count < fewest:
        raise InputError(f"{option} must be at least {fewest}, got {count}")


def _check_written(option: str, value: str) -> None:
    """Raise InputError for what every Slurm would refuse, or read as another thing than was meant."""
    pattern, told = WRITTEN.get(option, (r".*\S.*", "a name; leave the option out where none is meant"))
    if not re.fullmatch(pattern, value, re.IGNORECASE | re.ASCII):
        raise InputError(f"{option} '{value}' is nothing that Slurm can read; it takes {told}")
