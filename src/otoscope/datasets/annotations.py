"""What all tables of marked stretches share: they find the recording of each mark, and become one clips table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from otoscope.audio import SUFFIXES
from otoscope.clips import check_clips, split_clips
from otoscope.datasets.folder import grouped
from otoscope.datasets.headers import with_durations
from otoscope.datasets.places import files_below, said_of
from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

Read = Callable[[Path, str, "Finder"], "pd.DataFrame | None"]
"""From a file, its name for clip ids, and a finder to clips with clip_id, path, start_s, stop_s, recording and labels;
None where the file is something else."""

Mark = tuple[float, float, str, dict[str, object]]
"""Start and stop in seconds, the label, and what else is known."""


def load_marked(
    dataset: str,
    root: str | Path,
    read: Read,
    *,
    suffixes: Sequence[str],
    expected: str,
    label: str | None,
    group: str | None,
    audio: str | Path | None,
    split_seed: int,
    skip_unreadable: bool,
    advice: str = "",
) -> pd.DataFrame:
    """Return one clip for each mark of every file below `root`.

    The split is drawn over all marks, before those without the label are left out: so it is one whatever is asked.

    Parameters
    ----------
    dataset : str
        Its name, for messages.
    root : path
        A file of marks, or a folder of them.
    read : callable
        Reads one file.
    suffixes : sequence of str
        Of the files to look at.
    expected : str
        What is expected below `root`, for the message.
    label, group, audio, split_seed, skip_unreadable
        As in `otoscope.datasets.raven.load`.
    advice : str
        What may help where a mark lies beyond its recording's end.
    """
    import pandas as pd

    root = Path(root)
    if not root.exists():
        raise InputError(f"{dataset}: no such folder or table: '{root}'")
    home = root if root.is_dir() else root.parent
    files, hidden = files_below(root, *suffixes) if root.is_dir() else ([root], [])
    find = Finder(dataset, home, None if audio is None else Path(audio))
    named = {path: path.relative_to(home).as_posix().removesuffix(path.suffix) for path in files}
    parts = [part for path, name in named.items() if (part := read(path, name, find)) is not None]
    if not parts:
        raise InputError(f"{dataset}: '{root}' holds {expected}")
    clips = pd.concat(parts, ignore_index=True)
    if clips.empty:
        raise InputError(f"{dataset}: no stretch is marked in '{root}'")
    for option, column in (("label", label), ("group", group)):
        if column is not None and column not in clips:
            own = [name for name in clips.columns if name not in ("clip_id", "path", "start_s", "stop_s")]
            raise InputError(
                f"{dataset}: {option}: no column '{column}'{nearest(column, own)} (columns: {', '.join(own)})"
            )
    clips.attrs["notes"] = said_of("hidden files are passed over", hidden, home)
    clips = with_durations(clips, skip_unreadable=skip_unreadable)
    _check_stretches(dataset, clips, advice)
    unlabelled = clips[label].isna() if label is not None else pd.Series(False, index=clips.index)
    if unlabelled.all():
        raise InputError(f"{dataset}: no selection has an annotation in '{label}'")
    whole = clips[~unlabelled] if group is not None else clips  # its group may be empty where the label is
    grouped(whole, group or _own_group(clips))
    named_groups = clips[group or _own_group(clips)]
    clips["group"] = named_groups.where(named_groups.notna(), clips["path"]).astype(str)
    attrs = clips.attrs
    clips = split_clips(clips, seed=split_seed)
    if unlabelled.any():
        example = clips.clip_id[unlabelled.to_numpy()].iloc[0]
        attrs["left_out"] = [
            f"{unlabelled.sum()} selections without '{label}', such as {example}",
            *attrs["left_out"],
        ]
    clips = clips[~unlabelled.to_numpy()].reset_index(drop=True)
    clips.attrs = attrs
    return check_clips(clips)


def load_marks(
    dataset: str,
    root: str | Path,
    marks: Callable[[Path], list[Mark] | None],
    suffixes: Sequence[str],
    expected: str,
    **options,
) -> pd.DataFrame:
    """Return one clip for each mark of files that lie beside a recording of their own name.

    `marks` reads a file, None where it is something else; all else is as in `load_marked`.
    """

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


def _own_group(clips: pd.DataFrame) -> str:
    return "group" if "group" in clips else "recording"


def _check_stretches(dataset: str, clips: pd.DataFrame, advice: str) -> None:
    """Refuse marks that hold nothing, or begin beyond the end of their recording."""
    empty = clips[clips["stop_s"] <= clips["start_s"]]
    if len(empty):
        row = empty.iloc[0]
        raise InputError(
            f"{dataset}: selection {row.clip_id} is a point, or begins beyond the end of {row.path} "
            f"({row.start_s:g} s to "
            f"{row.stop_s:g} s; {len(empty)} such){advice}"
        )


def band_notes(clips: pd.DataFrame, sample_rate: int, model: str) -> list[str]:
    """Return a note on marks whose band (``low_hz``, ``high_hz``) a model cannot hear, or not whole."""
    if "high_hz" not in clips:
        return []
    import pandas as pd

    highest = sample_rate / 2
    low, high = (pd.to_numeric(clips.get(name), errors="coerce") for name in ("low_hz", "high_hz"))
    above, partly = clips[low >= highest], clips[(high > highest) & ~(low >= highest)]
    notes = []
    for marks, what in ((above, "lie above"), (partly, "reach above")):
        if len(marks):
            first = marks.iloc[0]
            notes.append(
                f"the bands of {len(marks)} clips {what} the {highest:g} Hz that {model} hears, such as "
                f"'{first.clip_id}' (to {first.high_hz:g} Hz)"
            )
    return notes


class Finder:
    """Finds the recording of a mark: beside the table that names it, else below the folder; never one of several."""

    def __init__(self, dataset: str, home: Path, audio: Path | None) -> None:
        if audio is not None and not audio.exists():
            raise InputError(f"{dataset}: no such recording or folder: '{audio}'")
        self.dataset, self.home = dataset, home
        self.only = audio if audio is not None and audio.is_file() else None
        self.elsewhere = audio if audio is not None and audio.is_dir() else None
        self.below = self.elsewhere or home
        self.known: dict[str, list[Path]] = {}
        self.stems: dict[str, list[Path]] = {}
        for file in files_below(self.below)[0] if self.only is None else []:
            self.known.setdefault(file.name.lower(), []).append(file)
            self.stems.setdefault(file.stem.lower(), []).append(file)

    def named(self, table: Path, names: Sequence[str]) -> Path:
        """Return the recording that a table calls by one of `names`, each a path of any system, the best first.

        Beside the table; else where the path says; else below the folder, by the name and as many folders above it as
        the path has in common with one recording alone.
        """
        if self.only is not None:
            return self.only
        for name in names:
            beside = table.parent / PureWindowsPath(name).name  # takes / and \\ for separators
            if self.elsewhere is None and beside.is_file():
                return beside
            if Path(name).is_absolute() and Path(name).is_file():
                return Path(name)
            parts = [*table.parent.relative_to(self.home).parts, PureWindowsPath(name).name]
            wanted = PureWindowsPath(name).parts
            found = self.known.get(wanted[-1].lower(), [])
            if found:
                best = self._nearest(found, wanted if len(wanted) > 1 else tuple(parts))
                return self._one(best, table, f"'{name}'")
        raise self._missing(table, f"'{names[-1]}'")

    def of_stem(self, table: Path, stem: str) -> Path:
        """Return the recording that a table belongs to by its own name."""
        if self.only is not None:
            return self.only
        found = self.stems.get(stem.lower(), [])
        beside = [file for file in found if file.parent == table.parent]
        if not found:
            raise self._missing(table, f"of '{stem}'")
        wanted = (*table.parent.relative_to(self.home).parts, stem)
        return self._one(beside or self._nearest(found, wanted, by_stem=True), table, f"of '{stem}'")

    def _nearest(self, files: list[Path], wanted: tuple[str, ...], *, by_stem: bool = False) -> list[Path]:
        """Return the files whose last folders are those of `wanted`, as many as possible."""

        def common(file: Path) -> int:
            parts = (*file.parts[:-1], file.stem if by_stem else file.name)
            pairs = zip(reversed(parts), reversed(wanted))
            return next(
                (n for n, (a, b) in enumerate(pairs) if a.lower() != b.lower()), min(len(parts), len(wanted))
            )

        most = max(map(common, files))
        return [file for file in files if common(file) == most]

    def _one(self, files: list[Path], table: Path, what: str) -> Path:
        if len(files) > 1:
            raise InputError(
                f"{self.dataset}: {table}: the recording {what} is '{files[0]}' or '{files[1]}'; put the table "
                "beside its "
                "recording, or name the folder of recordings, or the one recording, with audio=..."
            )
        return files[0]

    def _missing(self, table: Path, what: str) -> InputError:
        return InputError(
            f"{self.dataset}: {table}: the recording {what} is not below '{self.below}'; name the folder of "
            "recordings, or "
            f"the one recording, with audio=... (looked for: {', '.join(SUFFIXES)})"
        )
