"""What the commands share: how clips are named, tables written, numbers read."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otoscope.errors import InputError
from otoscope.files import check_writable, write_bytes, write_text
from otoscope.tables import parquet_bytes

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.encoders.tokens import Layer

ClipsArgument = Annotated[
    str,
    typer.Argument(
        help="A folder of recordings, one recording, a clips table (.csv, .tsv, .jsonl, .parquet), or a data "
        "set: synthsing, vocalset:/data/VS."
    ),
]
StoreArgument = Annotated[str, typer.Argument(help="An activation store (otoscope extract), or its URL.")]
ClipsOption = Annotated[
    str, typer.Option("--clips", help="The clips it was made from: as in otoscope extract.")
]
GroupOption = Annotated[
    str | None, typer.Option(help="Column of what must not cross a split (singer, speaker).")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="Go on without recordings that cannot be read.")
]


def read_clips(clips: str, **options) -> pd.DataFrame:
    """Return the clips table of what `load_clips` takes; a data set is asked only for options it has.

    What was decided on the way (``.attrs["notes"]``) is said on stderr.
    """
    from otoscope.datasets import DATASETS, load_clips

    given = {name: value for name, value in options.items() if value is not None}
    name = clips.partition(":")[0]
    if name in DATASETS:
        known = DATASETS.get(name).options
        if "group" in given and "group" not in known:
            raise InputError(f"data set '{name}' has groups of its own; leave --group out")
        given = {option: value for option, value in given.items() if option in known}
    table = load_clips(clips, **given)
    say_notes(table.attrs.get("notes", []))
    return table


def say_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def check_out(out: Path | None, *suffixes: str) -> None:
    """Raise an error if no table can be written to `out`: before the work, not after it."""
    suffixes = suffixes or (".csv", ".parquet")
    if out is None:
        return
    if out.suffix not in suffixes:
        raise InputError(f"--out must end in {' or '.join(suffixes)}; got '{out}'")
    check_writable(out)


def write_table(table: pd.DataFrame, out: Path) -> None:
    if out.suffix == ".parquet":
        write_bytes(out, parquet_bytes(table))
    else:
        write_text(out, table.to_csv(index=False))


def layer_of(text: str) -> Layer:
    """Return a layer as it is written: ``6``, ``final``."""
    text = text.strip()
    if text != "final" and not text.isdecimal():
        raise InputError(f"a layer is a number or 'final'; got '{text}'")
    return "final" if text == "final" else int(text)


def numbers(text: str, kind: type, option: str) -> list:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} takes numbers with commas between, such as 1,2; got '{text}'") from error
