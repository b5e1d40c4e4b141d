"""Audacity's label tracks, Praat's TextGrids and ELAN's exports: marked stretches of long recordings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.annotations import Finder, load_marked
from otoscope.errors import InputError, nearest
from otoscope.tables import decoded, seconds

if TYPE_CHECKING:
    import pandas as pd

Mark = tuple[float, float, str, dict[str, object]]
"""Start and stop in seconds, the label, and what else is known."""


def load_audacity(
    root: str | Path,
    *,
    label: str | None = "label",
    group: str | None = None,
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each label of every Audacity label track (.txt) below `root`.

    A track is a tab-separated text of start, end and label, without a header; a line that begins with a backslash holds
    the band of the label above. The recording is that of the track's own name, beside it or below `audio`.

    Parameters
    ----------
    root, group, audio, split_seed, skip_unreadable
        As in `otoscope.datasets.raven.load`.
    label : str, optional
        "label", the text of each mark; marks without a text are left out, and counted. None keeps them.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is ``<track>#<number>``; columns recording, label, and low_hz and high_hz where
        given.

    Raises
    ------
    InputError
        If there is no track, a recording is missing or not certain, or no mark is left.
    """
    return _load(
        "audacity", root, _audacity, (".txt",), "no label track: expected lines of start, end and label, tabs between",
        label=label, group=group, audio=audio, split_seed=split_seed, skip_unreadable=skip_unreadable,
    )  # fmt: skip


def load_textgrid(
    root: str | Path,
    *,
    tier: str | None = None,
    label: str | None = "label",
    group: str | None = None,
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each interval with a text in one tier of every Praat TextGrid below `root`.

    Long and short text files are read, UTF-8 or UTF-16. The recording is that of the TextGrid's own name.

    Parameters
    ----------
    tier : str, optional
        Name of the tier of intervals; may be left out where there is only one.
    root, label, group, audio, split_seed, skip_unreadable
        As in `load_audacity`.

    Raises
    ------
    InputError
        If there is no TextGrid, it is damaged, the tier is missing, or which one is meant is not certain.
    """

    def marks(path: Path) -> list[Mark] | None:
        return _textgrid(path, tier)

    return _load(
        "textgrid", root, marks, (".textgrid",), "no TextGrid (.TextGrid, as Praat saves text files)",
        label=label, group=group, audio=audio, split_seed=split_seed, skip_unreadable=skip_unreadable,
    )  # fmt: skip


def load_elan(
    root: str | Path,
    *,
    tier: str | None = None,
    label: str | None = "label",
    group: str | None = None,
    audio: str | Path | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return one clip for each annotation of every ELAN export (tab-delimited text, .txt or .tsv) below `root`.

    Times are taken as ``hh:mm:ss.sss`` or ``ss.sss``; an export in whole milliseconds is refused unless its columns say
    so. With column headers the begin, the end, the tier and the text are told by them.

    Parameters
    ----------
    tier : str, optional
        Only annotations of this tier; default: all, the tier in a column.
    root, label, group, audio, split_seed, skip_unreadable
        As in `load_audacity`.

    Raises
    ------
    InputError
        If there is no export, its columns cannot be told, or a recording is missing or not certain.
    """

    def marks(path: Path) -> list[Mark] | None:
        return _elan(path, tier)

    return _load(
        "elan", root, marks, (".txt", ".tsv"),
        "no export of ELAN: expected tab-delimited text with a line of columns, 'Begin Time - hh:mm:ss.ms' among them",
        label=label, group=group, audio=audio, split_seed=split_seed, skip_unreadable=skip_unreadable,
    )  # fmt: skip


def _load(
    dataset: str, root: str | Path, marks: Callable[[Path], list[Mark] | None], suffixes, expected, **options
) -> pd.DataFrame:
    def read(path: Path, name: str, find: Finder) -> pd.DataFrame | None:
        import pandas as pd

        found = marks(path)
        if found is None:
            return None
        file = find.of_stem(path, path.name.removesuffix(path.suffix))
        clips = pd.DataFrame(
            [
                {"clip_id": f"{name}#{number}", "path": str(file), "start_s": start_s, "stop_s": stop_s,
                 "recording": file.name, "label": text or None, **more}
                for number, (start_s, stop_s, text, more) in enumerate(found, start=1)
            ],
            columns=None if found else ["clip_id", "path", "start_s", "stop_s", "recording", "label"],
        )  # fmt: skip
        return clips.astype({"label": object})

    return load_marked(dataset, root, read, suffixes=suffixes, expected=expected, **options)


def _audacity(path: Path) -> list[Mark] | None:
    try:
        lines = [line for line in decoded(path).splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None
    marks: list[Mark] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if cells[0] == "\\" and marks and len(cells) >= 3:
            marks[-1][3].update(low_hz=float(cells[1]), high_hz=float(cells[2]))
            continue
        if len(cells) < 2 or not all(_is_time(cell) for cell in cells[:2]):
            if not marks:
                return None  # some other text
            raise InputError(f"audacity: {path}: line {number} is no label: '{line[:60]}'")
        marks.append(
            (
                float(cells[0].replace(",", ".")),
                float(cells[1].replace(",", ".")),
                "\t".join(cells[2:]).strip(),
                {},
            )
        )
    return marks or None


def _is_time(cell: str) -> bool:
    return re.fullmatch(r"\d+([.,]\d+)?", cell.strip()) is not None


_VALUE = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.\[])-?\d+(?:\.\d+)?(?:[eE]-?\d+)?(?![\w\]])|<exists>')


def _textgrid(path: Path, tier: str | None) -> list[Mark] | None:
    text = decoded(path)
    # Both forms are the same list of values; the long one has words between them, and numbers in brackets.
    values = [m.group(1).replace('""', '"') if m.group(1) is not None else float(m.group()) if m.group() != "<exists>"
              else m.group() for m in _VALUE.finditer(text)]  # fmt: skip
    if values[:2] != ["ooTextFile", "TextGrid"]:
        raise InputError(f"textgrid: {path} is no TextGrid in a text form; save it from Praat as a text file")
    tiers: dict[str, list[Mark] | None] = {}
    try:
        at = 6  # file type, object class, start, end, <exists>, number of tiers
        for _ in range(int(values[5])):
            kind, name, n = str(values[at]), str(values[at + 1]), int(values[at + 4])
            at += 5
            if name in tiers:
                raise InputError(f"textgrid: {path} has two tiers called '{name}'; rename one")
            if kind == "IntervalTier":
                parts = [values[at + 3 * i : at + 3 * i + 3] for i in range(n)]
                tiers[name] = [(float(a), float(b), str(c).strip(), {}) for a, b, c in parts]
                at += 3 * n
            else:  # points have no length
                tiers[name] = None
                at += 2 * n
    except (IndexError, ValueError, TypeError) as error:
        raise InputError(f"textgrid: {path} is damaged: it ends before its tiers do ({error})") from error
    intervals = [name for name, marks in tiers.items() if marks is not None]
    if tier is None and len(intervals) != 1:
        raise InputError(
            f"textgrid: {path} has the tiers of intervals {', '.join(intervals) or '(none)'}: name "
            "one (tier=...)"
        )
    chosen = intervals[0] if tier is None else tier
    if tiers.get(chosen) is None:
        missing = f"is not there{nearest(chosen, intervals)}"
        what = "is a tier of points, which have no length" if chosen in tiers else missing
        raise InputError(
            f"textgrid: {path}: tier '{chosen}' {what} (intervals: {', '.join(intervals) or 'none'})"
        )
    return tiers[chosen]


def _elan(path: Path, tier: str | None) -> list[Mark] | None:
    import pandas as pd

    try:
        lines = [line.split("\t") for line in decoded(path).splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None
    header = [cell.strip() for cell in lines[0]] if lines else []
    begin, end = (_time_column(header, word) for word in ("begin", "end"))
    if begin is None or end is None:
        return None
    text = next((i for i, name in enumerate(header) if name.lower() in ("annotation", "value", "text")), None)
    place = next((i for i, name in enumerate(header) if name.lower() == "tier"), None)
    others = [
        i
        for i in range(len(header))
        if i not in (begin, end, text, place) and "time" not in header[i].lower()
    ]
    others = [i for i in others if header[i] and "duration" not in header[i].lower()]
    if text is None:
        if len(others) != 1:
            tiers = ", ".join(header[i] for i in others)
            raise InputError(
                f"elan: {path}: which column holds the annotations ({tiers})? Export one with 'Annotation'"
            )
        text, others = others[0], []
    rows = [row + [""] * (len(header) - len(row)) for row in lines[1:]]
    factor = [0.001 if header[i].lower().endswith("- msec") else 1.0 for i in (begin, end)]
    starts, stops = (
        seconds(
            pd.Series([row[i] for row in rows], dtype=object), of=f"elan: {path}: '{header[i]}'", needed=True
        )
        * f
        for i, f in zip((begin, end), factor)
    )
    if tier is not None:
        known = {row[place] for row in rows} if place is not None else {header[text]}
        if tier not in known:
            listed = ", ".join(sorted(known))
            raise InputError(f"elan: {path} has no tier '{tier}'{nearest(tier, known)} (tiers: {listed})")
    marks: list[Mark] = []
    for row, start_s, stop_s in zip(rows, starts, stops):
        if tier is None or place is None or row[place] == tier:
            more: dict[str, object] = {header[i]: row[i] or None for i in others}
            if place is not None:
                more["tier"] = row[place]
            marks.append((start_s, stop_s, row[text].strip(), more))
    return marks


def _time_column(header: list[str], word: str) -> int | None:
    """Return the best of the columns of a time: hours and seconds, else seconds, else milliseconds."""
    found = [i for i, name in enumerate(header) if name.lower().startswith(f"{word} time")]
    order = ("hh:mm:ss", "ss.msec", "msec")
    usable = [i for i in found if any(mark in header[i].lower() for mark in order) or len(found) == 1]
    return min(
        usable,
        key=lambda i: next((n for n, m in enumerate(order) if m in header[i].lower()), 9),
        default=None,
    )
