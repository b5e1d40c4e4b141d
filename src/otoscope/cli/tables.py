"""What the commands share: how clips are named, tables written, numbers read."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.encoders.tokens import Layer

ClipsArgument = Annotated[
    str,
    typer.Argument(
        help="A folder of recordings, one recording, a clips table (.csv, .parquet), or a data set: synthsing, "
        "vocalset:/data/VS."
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
    """Return the clips table of a data set (``name`` or ``name:root``), a folder, a recording, or a table on disk."""
    import pandas as pd

    from otoscope.audio import SUFFIXES
    from otoscope.clips import check_clips, read_table, split_clips
    from otoscope.datasets import DATASETS, load_clips
    from otoscope.datasets.headers import with_durations

    path = Path(clips)
    name, colon, root = clips.partition(":")
    if colon and name in DATASETS:
        known = inspect.signature(DATASETS.get(name)).parameters
        if options.get("group") is not None and "group" not in known:
            raise InputError(f"data set '{name}' has groups of its own; leave --group out")
        own = {option: value for option, value in options.items() if value is not None and option in known}
        return load_clips(name, root=root, **own)
    if path.suffix in (".csv", ".parquet"):
        table = read_table(path)
        group = options.get("group")
        if group is not None:
            if group not in table:
                raise InputError(
                    f"'{clips}' has no column '{group}'{nearest(group, table.columns)} for --group"
                )
            table["group"] = table[group].astype(str)
        if "path" in table and not {"start_s", "stop_s"} <= set(table):
            table = with_durations(table, skip_unreadable=bool(options.get("skip_unreadable")))
        left_out = table.attrs.get("left_out", [])
        table = check_clips(table if "split" in table else split_clips(table))
        table.attrs["left_out"] = left_out
        return table
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return check_clips(
            split_clips(with_durations(pd.DataFrame({"clip_id": [path.name], "path": [clips]})))
        )
    if path.is_dir():
        return load_clips(clips, **{name: value for name, value in options.items() if value is not None})
    return load_clips(clips)


def rows_of(activations, table: pd.DataFrame) -> pd.DataFrame:
    from otoscope.activations import layer_rows

    return layer_rows(activations, table)


def write_table(table: pd.DataFrame, out: Path) -> None:
    try:
        if out.suffix == ".parquet":
            table.to_parquet(out, index=False)
        elif out.suffix == ".csv":
            table.to_csv(out, index=False)
        else:
            raise InputError(f"--out must end in .csv or .parquet; got '{out}'")
    except OSError as error:
        raise InputError(f"cannot write '{out}' ({error.strerror or error})") from error


def layer_of(text: str) -> Layer:
    """Return a layer as it is written: ``6``, ``final``."""
    text = text.strip()
    if text != "final" and not text.isdigit():
        raise InputError(f"a layer is a number or 'final'; got '{text}'")
    return "final" if text == "final" else int(text)


def numbers(text: str, kind: type, option: str) -> list:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} takes numbers with commas between, such as 1,2; got '{text}'") from error
