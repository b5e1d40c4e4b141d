"""Commands that get and check data sets: ``download``, ``validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otoscope.cli.app import app
from otoscope.errors import InputError


@app.command()
def download(
    dataset: Annotated[str, typer.Argument(help="A data set, such as vocalset (otoscope list datasets).")],
    folder: Annotated[Path, typer.Argument(help="Where its own folder shall stand.")],
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Keep the archive once it is unpacked.")
    ] = False,
) -> None:
    """Fetch a published data set: checked, and unpacked whole or not at all. Killed, it goes on where it was."""
    from otoscope.datasets import DATASETS
    from otoscope.datasets.downloads import download as fetch

    where = fetch(dataset, folder, keep_archive=keep_archive)
    source = DATASETS.get(dataset).source
    print(f"{dataset}: {where}")
    print(f"Licence: {source.licence} ({source.page})")
    print(f"Cite:    {source.citation}")
    print(f"Check:   otoscope validate {dataset} '{folder}'")


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The file, as its authors published it.")],
    out: Annotated[Path, typer.Option(help="The folder to make, which `load_encoder` and specs take.")],
    stats: Annotated[
        Path | None, typer.Option(help="MusicFM's only: its statistics, such as msd_stats.json.")
    ] = None,
    hop_samples: Annotated[
        int | None, typer.Option(help="PaSST's only: the spectrogram's hop; 100 or 160 for stfthop variants.")
    ] = None,
) -> None:
    """Make a folder of a model that is published as a pickle (BEATs, MusicFM, PaSST); no code in it is run."""
    from otoscope.encoders.convert import convert as run_conversion
    from otoscope.encoders.families import FAMILIES

    family = run_conversion(checkpoint, out, stats=stats, hop_samples=hop_samples)
    print(f"{family}: {out}")
    print(f"Licence: {FAMILIES.get(family).licence}")


@app.command()
def validate(
    what: Annotated[
        str,
        typer.Argument(
            help="A data set, such as vocalset (otoscope list datasets), or an activation store: its folder or URL."
        ),
    ],
    folder: Annotated[Path | None, typer.Argument(help="Where the data set lies.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read headers only, do not decode every recording.")
    ] = False,
) -> None:
    """Say what is missing or corrupt in a data set or an activation store on disk; exit code 1 if anything is."""
    from otoscope.datasets import DATASETS
    from otoscope.datasets.checks import check_dataset

    if folder is None:
        if what in DATASETS:
            raise InputError(f"say where '{what}' lies: otoscope validate {what} DIR")
        _validate_store(what)
        return
    dataset = what
    found = check_dataset(dataset, folder, decode=not quick)
    if found.counts is not None:
        print(found.counts.to_string())
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems:
        print(f"problem: {problem}")
    if found.problems:
        print(f"{dataset} in '{folder}': {found.n_clips:,} clips, {len(found.problems)} problems")
        raise typer.Exit(1)
    print(f"{dataset} in '{folder}': {found.n_clips:,} clips, all is well")


def _validate_store(place: str) -> None:
    from otoscope.activations.checking import check_store

    found = check_store(place)
    for problem in found.problems:
        print(f"problem: {problem}")
    read = f"{found.n_rows:,} rows in {found.n_shards:,} shards are as they were written"
    print(f"{place}: {read} ({found.n_bytes / 1e6:,.1f} MB read)")
    if found.problems:
        raise typer.Exit(1)
