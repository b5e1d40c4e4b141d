"""What is missing or broken in a data set on disk: ``otoscope validate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otoscope.audio import audio_info, read_audio
from otoscope.compute import progress, thread_map
from otoscope.datasets.dataset import DataSet, Findings, Published
from otoscope.datasets.load import DATASETS, load_clips
from otoscope.errors import AudioError, OtoscopeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def check_dataset(name: str, root: str | Path, *, decode: bool = True) -> Findings:
    """Check a data set on disk.

    Parameters
    ----------
    name : str
        As in ``load_clips``.
    root : path
        Where it lies.
    decode : bool
        Decode every recording (a second a few hundred files); False reads headers only.

    Returns
    -------
    Findings
        Nothing in ``problems`` means that all is well.
    """
    check = DATASETS.get(name).check
    return check(root, decode=decode) if check else check_by_loading(name, root, decode=decode)


def check_by_loading(name: str, root: str | Path, *, decode: bool = True) -> Findings:
    """Load a data set, listen to its files, and compare its size with the published one where that is known."""
    found = Findings(name, Path(root))
    dataset: DataSet = DATASETS.get(name)
    options = {"skip_unreadable": True} if "skip_unreadable" in dataset.options else {}
    try:
        clips = load_clips(name, root=root, **options)
    except OtoscopeError as error:
        found.problems.append(str(error))
        return found
    found.n_clips = len(clips)
    found.problems += clips.attrs.get("left_out", [])
    unreadable, found.notes = listen(list(clips["path"].unique()), decode=decode)
    found.notes = [*clips.attrs.get("notes", []), *found.notes]
    found.problems += unreadable.values()
    published = dataset.published
    label = published.label if published else next((c for c in ("label", "technique") if c in clips), None)
    if label is not None:
        found.counts = clips.groupby([label, "split"]).size().unstack(fill_value=0)
    if published:
        found.problems += _differences(clips, published)
    return found


def listen(paths: Sequence[str], *, decode: bool = True) -> tuple[dict[str, str], list[str]]:
    """Read headers, or decode whole files.

    Returns
    -------
    unreadable : dict
        Path -> what is wrong with it.
    notes : list of str
        What is silent, or of another sample rate than most.
    """
    unreadable: dict[str, str] = {}
    silent: list[str] = []
    rates: dict[int, list[str]] = {}
    with progress("decoding" if decode else "reading headers", len(paths), unit="files") as bar:
        for path, heard in zip(paths, thread_map(lambda path: _heard(path, decode), paths)):
            bar.advance()
            if isinstance(heard, AudioError):
                unreadable[path] = str(heard)
                continue
            rate, is_silent = heard
            rates.setdefault(rate, []).append(path)
            if is_silent:
                silent.append(path)
    notes = [f"{path}: is silent" for path in silent]
    if len(rates) > 1:
        usual = max(rates, key=lambda rate: len(rates[rate]))
        notes += [
            f"{len(files)} files at {rate} Hz where the others have {usual} Hz, such as {files[0]}"
            for rate, files in sorted(rates.items())
            if rate != usual
        ]
    return unreadable, notes


def _heard(path: str, decode: bool) -> tuple[int, bool] | AudioError:
    try:
        if not decode:
            return audio_info(path).sample_rate, False
        waveform, rate = read_audio(path)
        return rate, bool(np.abs(waveform).max() == 0)
    except AudioError as error:
        return error


def _differences(clips: pd.DataFrame, published: Published) -> list[str]:
    found = []
    if published.n_clips is not None and len(clips) != published.n_clips:
        found.append(f"{len(clips):,} clips; the published set has {published.n_clips:,}")
    sizes = clips[published.label].value_counts()
    if published.n_classes is not None and len(sizes) != published.n_classes:
        found.append(
            f"{len(sizes)} classes of '{published.label}'; the published set has {published.n_classes}"
        )
    if published.per_class is not None:
        for name, size in sizes[sizes != published.per_class].sort_index().items():
            found.append(
                f"{published.label} '{name}': {size} clips; the published set has {published.per_class}"
            )
    return found
