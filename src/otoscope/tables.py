"""Tables on disk: what names a thing stays text, what measures is a number, and an empty cell alone is missing."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from otoscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""What is read as a table."""

NAMES = ("clip_id", "path", "file_name", "split", "group")
"""Columns that name things in every table."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PLAIN_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d+)?)")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_NO_NUMBER = {"na", "n/a", "nan", "null", "none"}
_TRUTH = {"true": 1.0, "false": 0.0}


def read_table(
    path: str | Path, *, text: Collection[str] | Literal["all"] = (), measured: bool = False
) -> pd.DataFrame:
    """Return a table on disk.

    A column is one of numbers only where each of its cells is one and no two spellings would become the same whole
    number: 007 and 7, 1e3 and 1000 are names. `NAMES` are text however they look.

    Parameters
    ----------
    path : str or Path
        ``.csv`` (commas; semicolons or tabs where its first line has no comma), ``.tsv`` (tabs, no quoting),
        ``.jsonl`` (an object a line) or ``.parquet``. Text is UTF-8, or UTF-16 with its mark.
    text : collection of str, or "all"
        Further columns that name things, such as a speaker.
    measured : bool
        Take ``NA``, ``nan``, ``null`` and the like for missing in columns that else hold numbers; in a table of
        labels they are names.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read as a table.
    """
    import pandas as pd

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"a table is a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file; got '{path}'")
    if not os.path.isfile(path):
        raise InputError(f"no such table: '{path}'")
    try:
        if suffix == ".parquet":
            return _typed_parquet(path, text)
        columns = _jsonl(path) if suffix == ".jsonl" else _delimited(path, suffix)
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"'{path}' cannot be read as a table: a cell is nested too deep") from error
    except (ValueError, OSError, csv.Error) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise InputError(f"'{path}' cannot be read as a table: {error}") from error
    named = set(columns) if text == "all" else {*NAMES, *text}
    if suffix == ".jsonl":  # says itself what is a number
        named |= {name for name, cells in columns.items() if not all(map(_is_figure, cells))}
    return pd.DataFrame(
        {
            name: pd.Series(cells, dtype=object) if name in named else _typed(cells, measured)
            for name, cells in columns.items()
        }
    )


def read_tab_separated(path: Path, *, like: Iterable[str] = ()) -> dict[str, list] | None:
    """Return the columns of a tab-separated text, all text and no quoting; None where it lacks a column of `like`."""
    try:
        lines = decoded(path).splitlines()
    except UnicodeDecodeError as error:
        first = path.read_bytes().partition(b"\n")[0].decode("latin-1").rstrip("\r")
        if set(like) <= set(first.split("\t")):
            raise InputError(f"'{path}' is neither UTF-8 nor UTF-16 ({error}); save it as UTF-8") from error
        return None
    if not lines or not set(like) <= set(lines[0].split("\t")):
        return None
    return _columns([line.split("\t") for line in lines if line.strip()], path)


def decoded(path: Path) -> str:
    """Return a text file's text: UTF-16 where it begins with that mark, else UTF-8; Latin-1 is not guessed at."""
    content = path.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if wide else "utf-8-sig")


def column(cells: Iterable[str | None]) -> pd.Series:
    """Return cells of text as numbers where all are and may be, else as text; see `read_table`."""
    return _typed(list(cells), measured=False)


def seconds(values: pd.Series, *, of: str, needed: bool = False) -> pd.Series:
    """Return times in seconds; missing ones stay missing.

    Parameters
    ----------
    values : Series
        Numbers, or text: ``61.5``, ``1:01.5``, ``0:01:01.5``, or ``61,5``. Three digits after a comma may be thousands:
        that is refused.
    of : str
        What they are, for the message: a file and column.
    needed : bool
        Refuse missing ones.

    Raises
    ------
    InputError
        Naming the first row that is no time, rows of data counted from 1.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        found = values.astype(float)
        for wrong, what in ((np.isinf(found), "is infinite"), (found.isna() & needed, "is empty")):
            if wrong.any():
                raise InputError(f"{of} {what} in row {int(wrong.to_numpy().argmax()) + 1}")
        return found
    times = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if not (value is None or value is pd.NA or value != value or str(value).strip() == ""):
            times[row] = _seconds(str(value).strip(), of, row + 1)
        elif needed:
            raise InputError(f"{of} is empty in row {row + 1}")
    return pd.Series(times, index=values.index)


def _seconds(value: str, of: str, row: int) -> float:
    if _NUMBER.fullmatch(value):
        return float(value)
    if clock := _CLOCK.fullmatch(value):
        hours, minutes, rest = clock.groups()
        if float(rest) < 60 and (hours is None or int(minutes) < 60):
            return 3600 * int(hours or 0) + 60 * int(minutes) + float(rest)
    if _DECIMAL_COMMA.fullmatch(value):
        whole, _, part = value.partition(",")
        if len(part) != 3 or whole == "0":
            return float(f"{whole}.{part}")
        raise InputError(
            f"{of} is '{value}' in row {row}: a decimal comma, or thousands? Write seconds with a point"
        )
    raise InputError(f"{of} is no number in row {row}: '{value}'; write seconds, such as 61.5, or 1:01.5")


def _delimited(path: Path, suffix: str) -> dict[str, list]:
    text = decoded(path)
    first = text.partition("\n")[0]
    delimiter = "\t" if suffix == ".tsv" else next((mark for mark in ",;\t" if mark in first), ",")
    quoting = csv.QUOTE_NONE if suffix == ".tsv" else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    return _columns([row for row in reader if row], path)


def _columns(rows: list[list[str]], path: Path) -> dict[str, list]:
    """Return the columns below a header; a row may lack cells at its end, but have none too many."""
    if not rows:
        raise InputError(f"'{path}' cannot be read as a table: it is empty")
    header = [name.strip() for name in rows[0]]
    while header and not header[-1] and all(len(row) < len(header) or not row[-1] for row in rows):
        header.pop()  # a mark at the end of every line
        rows = [row[: len(header)] for row in rows]
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(f"'{path}' cannot be read as a table: two columns are called '{min(twice)}'")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) > len(header):
            raise InputError(
                f"'{path}' cannot be read as a table: row {number} has {len(row)} cells, and there are {len(header)} "
                "columns; put marks around text that holds the separator"
            )
    width = len(header)
    filled = [row + [""] * (width - len(row)) for row in rows[1:]]
    return {name: [row[i] if row[i].strip() else None for row in filled] for i, name in enumerate(header)}


class _Figure(str):
    """A JSON number as it was written."""


def _is_figure(cell: Any) -> bool:
    return cell is None or isinstance(cell, _Figure)


def _jsonl(path: Path) -> dict[str, list]:
    records = []
    for number, line in enumerate(decoded(path).splitlines(), start=1):
        if not line.strip():
            continue
        record = json.loads(line, parse_int=_Figure, parse_float=_Figure)
        if not isinstance(record, dict):
            raise InputError(f"'{path}' cannot be read as a table: line {number} holds no object")
        records.append(
            {name: _cell(value, f"'{path}': {name}, line {number}") for name, value in record.items()}
        )
    if not records:
        raise InputError(f"'{path}' cannot be read as a table: it is empty")
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def _cell(value: Any, where: str) -> Any:
    """Return a JSON value as a cell: several names become ``a;b``."""
    if value is None or value == "":
        return None
    if isinstance(value, list | tuple | np.ndarray):
        return ";".join(str(_cell(part, where)) for part in value)
    if isinstance(value, Mapping):
        raise InputError(f"{where} is an object; a cell is text, a number, or a list of names")
    return value if isinstance(value, str) else str(value)


def _typed(cells: list, measured: bool) -> pd.Series:
    """Return numbers where all cells are, and are told apart as numbers; else text."""
    import pandas as pd

    if measured:
        cells = [None if cell is not None and cell.strip().lower() in _NO_NUMBER else cell for cell in cells]
        if all(cell is None or cell.strip().lower() in _TRUTH for cell in cells) and any(cells):
            return pd.Series([np.nan if cell is None else _TRUTH[cell.strip().lower()] for cell in cells])
    spellings = {cell.strip() for cell in cells if cell is not None}
    is_text = pd.Series(cells, dtype=object)
    if not spellings or not all(_NUMBER.fullmatch(spelling) for spelling in spellings):
        return pd.Series(np.nan, index=range(len(cells))) if measured and not spellings else is_text
    numbers = {float(spelling) for spelling in spellings}
    if all(number.is_integer() for number in numbers) and not measured:
        plain = all(_PLAIN_WHOLE.fullmatch(spelling) for spelling in spellings)
        if not plain or len(numbers) < len(spellings) or max(map(abs, numbers)) > 2**53:
            return is_text
    elif any(re.match(r"[+-]?0\d", spelling) for spelling in spellings) and not measured:
        return is_text
    found = pd.Series([np.nan if cell is None else float(cell) for cell in cells])
    whole = all(number.is_integer() and abs(number) <= 2**53 for number in numbers)
    return found.astype(np.int64) if whole and found.notna().all() else found


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Return a table, without its index, as the content of a parquet file whose pages carry checksums."""
    return table.to_parquet(None, index=False, write_page_checksum=True)


def read_parquet(path: str | os.PathLike) -> pd.DataFrame:
    """Read a table that `parquet_bytes` made, its checksums checked.

    Raises
    ------
    InputError
        If it is missing, no parquet file, or damaged.
    """
    import pandas as pd

    if not os.path.isfile(path):
        raise InputError(f"'{path}' is missing; make it again with the command that made its folder")
    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except Exception as error:  # pandas' and pyarrow's errors on what is damaged may be anything
        raise InputError(
            f"'{path}' is damaged, or no parquet file; make it again with the command that made its folder"
        ) from error


def _typed_parquet(path: Path, text: Collection[str] | Literal["all"]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        table = pd.read_parquet(path).reset_index(drop=True)
        classes = _class_names(pq.read_schema(path).metadata or {})
    except Exception as error:  # pandas' and pyarrow's errors on what is damaged may be anything
        raise InputError(
            f"'{path}' cannot be read as a table: it is no parquet file, or damaged; copy it again"
        ) from error
    for name in table.columns:
        cells = list(table[name])
        if any(isinstance(cell, dict) for cell in cells[:100]):
            continue  # recordings themselves
        if name in classes:
            cells = [None if pd.isna(i) or i < 0 else classes[name][int(i)] for i in cells]
        elif any(isinstance(cell, np.ndarray | list) for cell in cells[:100]):
            cells = [None if cell is None else ";".join(map(str, cell)) for cell in cells]
        elif table[name].dtype.kind in "biufM" and text != "all" and name not in {*NAMES, *text}:
            continue  # numbers, truth, dates
        table[name] = pd.Series([None if pd.isna(cell) else str(cell) for cell in cells], dtype=object)
    return table


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes that Hugging Face's datasets writes as numbers, by column."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
