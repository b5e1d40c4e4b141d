"""Submit a run to a cluster: ``slurm``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otoscope.cli.app import SetOption, app
from otoscope.errors import InputError


@app.command()
def slurm(
    recipe_or_spec: Annotated[str, typer.Argument(help="A recipe (otoscope list recipes) or a YAML file.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's directory, on a disk that all machines see.")
    ] = None,
    settings: SetOption = None,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks of each stage's array.")] = 8,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be submitted, as a bash script; do nothing.")
    ] = False,
    retry_missing: Annotated[
        bool,
        typer.Option("--retry-missing", help="The run was submitted before: submit what is missing of it."),
    ] = False,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.")] = None,
    account: Annotated[str | None, typer.Option(help="The account to charge.")] = None,
    qos: Annotated[str | None, typer.Option(help="Quality of service.")] = None,
    constraint: Annotated[str | None, typer.Option(help="Features that a machine must have.")] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Time limit of a task, such as 04:00:00; one that reaches it goes on later."),
    ] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of a task, such as 16G.")] = None,
    gpus: Annotated[str | None, typer.Option(help="GPUs of a task: 1, or such as a100:1.")] = None,
    cpus_per_task: Annotated[
        int, typer.Option(min=1, help="Cores of a task, and its threads: in all tasks the same number.")
    ] = 4,
    array_parallelism: Annotated[
        int | None, typer.Option(min=1, help="How many tasks of an array may run at once.")
    ] = None,
    retries: Annotated[
        int,
        typer.Option(min=0, help="How often a task that ran out of time or crashed goes back to the queue."),
    ] = 3,
    setup: Annotated[
        list[str] | None,
        typer.Option(
            help="A line of bash that comes first in a task, such as 'module load cuda'; repeatable."
        ),
    ] = None,
    setup_file: Annotated[Path | None, typer.Option(help="A file of such lines.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(help="A further option of sbatch, such as --sbatch=--reservation=x; repeatable."),
    ] = None,
) -> None:
    """Submit a run to Slurm: an array of tasks for each long stage, and a last job that gathers."""
    from otoscope.experiment.slurm import Resources, submit_run

    resources = Resources(
        partition=partition,
        account=account,
        qos=qos,
        constraint=constraint,
        time=time,
        mem=mem,
        gpus=gpus,
        cpus_per_task=cpus_per_task,
        parallel=array_parallelism,
        retries=retries,
        setup=(*_lines(setup_file), *(setup or [])),
        sbatch=tuple(sbatch or []),
    )
    submit_run(
        recipe_or_spec,
        out=out,
        settings=settings or [],
        resources=resources,
        n_tasks=tasks,
        retry_missing=retry_missing,
        dry_run=dry_run,
        say=print,
    )


def _lines(path: Path | None) -> list[str]:
    """Return the lines of a file of bash."""
    if path is None:
        return []
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--setup-file {path}: it cannot be read as text") from error
