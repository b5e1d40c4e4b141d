"""Whole experiments: ``demo``, ``run``, ``report``, ``list``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from otoscope.errors import InputError
from otoscope.registry import Registry

app = typer.Typer(
    help="Look inside the neural networks that listen: which layers know what, and in which sparse features.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=False,
)

OutOption = Annotated[Path | None, typer.Option("--out", help="The run's directory. Default: runs/<name>.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting of the spec, such as saes.epochs=10."
    ),
]


def _print_version(asked: bool) -> None:
    if asked:
        from otoscope import __version__

        print(f"otoscope {__version__}")
        raise typer.Exit


@app.callback()
def _otoscope(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Look inside the neural networks that listen: which layers know what, and in which sparse features."""


@app.command()
def demo(out: OutOption = None, settings: SetOption = None) -> None:
    """Run everything, offline, on built-in singing and a built-in model; then open the report, and listen."""
    _run("demo", out, settings, explorer=True)


@app.command()
def run(
    recipe_or_spec: Annotated[str, typer.Argument(help="A recipe (otoscope list recipes) or a YAML file.")],
    out: OutOption = None,
    settings: SetOption = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Go on without recordings that cannot be read.")
    ] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="Another run's directory, to take over what it made from the same inputs."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make all anew, as after an upgrade of PyTorch.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Make every N-th unit of all stages, from the I-th on, beside other processes; /N: I is the number of "
            "this Slurm array task.",
        ),
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="With --shard: only units of this stage; may be given again.")
    ] = None,
    compute: Annotated[
        str | None,
        typer.Option(
            metavar="ray[://HOST:PORT]",
            help="Make the units on a Ray cluster, a share for each of its GPUs or, where it has none, cores.",
        ),
    ] = None,
) -> None:
    """Run an experiment to its report; run it again and only what changed is made again."""
    settings = [*(settings or []), *(["dataset.skip_unreadable=true"] if skip_unreadable else [])]
    if compute is not None:
        if fresh or shard is not None or stage:
            raise InputError("--compute shares out the units itself: leave out --shard, --stage and --fresh")
        _make_units(compute, recipe_or_spec, out, settings, reuse or [])
    if shard is None and not stage:
        _run(recipe_or_spec, out, settings, reuse=reuse or [], fresh=fresh)
        return
    from otoscope.experiment import run as run_experiment

    directory = run_experiment(
        recipe_or_spec, out=out, settings=settings, reuse=reuse or [], fresh=fresh, shard=shard,
        stages=stage or [], say=print,
    )  # fmt: skip
    for waits in directory.waits:
        print(f"waits for: {waits}")
    if not directory.waits:
        print("All units are done. The same command without --shard writes the report.")


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which stages of a run are made, and which units are done, running, missing or failed, and why."""
    import json

    from otoscope.experiment import run_status, status_data, status_table
    from otoscope.experiment.slurm import job_lines

    found = run_status(run)
    print(json.dumps(status_data(found), indent=1) if as_json else status_table(found))
    for line in [] if as_json else job_lines(run):
        print(line)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Directories of finished runs.")],
) -> None:
    """Draw the figures of a run and write its report.html anew."""
    from otoscope.report import write_report

    print(f"Report: {write_report(*runs)}")


@app.command()
def ablate(
    recipe_or_spec: Annotated[str, typer.Argument(help="A recipe or YAML file of the paper protocol.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs. Default: runs/<name>-ablation.")
    ] = None,
    settings: SetOption = None,
) -> None:
    """Show what the choice of protocol does: turn each published rule alone to its sound side."""
    from otoscope.experiment import ablate as ablate_spec
    from otoscope.experiment import load_spec
    from otoscope.report import write_switches_page

    spec = load_spec(recipe_or_spec, settings=settings)
    out = out or Path("runs") / f"{spec.name}-ablation"
    ablate_spec(spec, out=out, say=print)
    print(f"Table: {out / 'switches.csv'}")
    print(f"Page:  {write_switches_page(out)}   <- open this one")


class Family(StrEnum):
    """What ``otoscope list`` can list."""

    encoders = "encoders"
    datasets = "datasets"
    saes = "saes"
    factors = "factors"
    recipes = "recipes"


@app.command("list")
def list_(family: Annotated[Family, typer.Argument(help="What to list.")]) -> None:
    """List what Otoscope knows by name, other packages' entries included."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, summary in _summaries(family.value).items():
        table.add_row(f"[bold]{name}[/bold]", summary)
    Console().print(table)


def _summaries(family: str) -> dict[str, str]:
    if family == "recipes":
        from otoscope.experiment.spec import recipes

        return recipes()
    return _registry(family).summaries()


def _registry(family: str) -> Registry:
    if family == "encoders":
        from otoscope.encoders import ENCODERS

        return ENCODERS
    if family == "datasets":
        from otoscope.datasets import DATASETS

        return DATASETS
    if family == "saes":
        from otoscope.saes import SAES

        return SAES
    from otoscope.factors import FACTOR_SETS

    return FACTOR_SETS


def _make_units(
    compute: str, recipe_or_spec: str, out: Path | None, settings: list[str], reuse: Sequence[Path]
) -> None:
    from otoscope.experiment import run_on_ray

    if compute != "ray" and not compute.startswith("ray://"):
        raise InputError(f"--compute is ray, or ray://HOST:PORT; got '{compute}'")
    address = None if compute == "ray" else compute
    run_on_ray(recipe_or_spec, address=address, out=out, settings=settings, reuse=reuse, say=print)


def _run(
    recipe_or_spec: str,
    out: Path | None,
    settings: list[str] | None,
    *,
    reuse: Sequence[Path] = (),
    fresh: bool = False,
    explorer: bool = False,
) -> None:
    import time

    from otoscope.experiment import load_spec
    from otoscope.experiment import run as run_experiment
    from otoscope.explorer import write_explorer
    from otoscope.files import locked
    from otoscope.report import write_report
    from otoscope.results import SCHEMA

    started = time.perf_counter()
    spec = load_spec(recipe_or_spec, settings=settings)
    root = out if out is not None else Path("runs") / spec.name
    with locked(root):
        directory = run_experiment(spec, out=root, reuse=reuse, fresh=fresh, say=print)
        with directory.stage("report", SCHEMA, after=list(directory.fingerprints)) as stage:
            if stage.needed:
                write_report(directory)
                stage.keep("report.html", "figures")
        if explorer:
            with directory.stage("explorer", SCHEMA, after=list(directory.fingerprints)) as stage:
                if stage.needed:
                    write_explorer(directory)
                    stage.keep("explorer")
    made = sum(step["status"] == "made" for step in directory.stages)
    print(
        f"Done in {time.perf_counter() - started:.0f} s ({made} of {len(directory.stages)} stages made now)."
    )
    _print_published(directory.root)
    print(f"Tables:  {directory.root / 'results'}")
    print(f"Figures: {directory.root / 'figures'}")
    report, page = directory.root / "report.html", directory.root / "explorer" / "index.html"
    hear = page if page.exists() else f"with: otoscope explore {directory.root}"
    print(f"Read:    {report}   and hear {hear}   <- open these")


def _print_published(root: Path) -> None:
    """Print the run's numbers beside the published ones, where there are any to compare with."""
    from otoscope.report.numbers.published import comparison, comparison_summary

    means = comparison_summary(comparison(root))
    if len(means):
        print("Beside the published values (means; results/published_comparison.csv has every number):")
        print(means.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
