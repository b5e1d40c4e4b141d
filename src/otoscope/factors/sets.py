"""Factor sets by name."""

from __future__ import annotations

import inspect

import pandas as pd

from otoscope.clips import check_clips
from otoscope.factors.tables import Factors
from otoscope.registry import Registry

FACTOR_SETS = Registry("factor set", "otoscope.factors")
FACTOR_SETS.add(
    "descriptors",
    "otoscope.factors.descriptors:build",
    "pitch, loudness, spectral shape, MFCC, voice quality and rhythm, on librosa",
)
FACTOR_SETS.add(
    "egemaps",
    "otoscope.factors.egemaps:build",
    "the 88 eGeMAPSv02 functionals (needs the extra 'egemaps': opensmile, for research only)",
)
FACTOR_SETS.add(
    "csv",
    "otoscope.factors.files:build",
    "your own table (CSV or parquet): clip_id, maybe start_s and stop_s, a numeric column per factor",
)


def compute_factors(
    name: str,
    clips: pd.DataFrame,
    *,
    workers: int | None = None,
    progress: bool = True,
    skip_unreadable: bool = False,
    **options,
) -> Factors:
    """Compute the factor set `name` for every clip.

    Parameters
    ----------
    name : str
        "descriptors", "egemaps", "csv", or one that another package registered.
    clips : DataFrame
        A clips table.
    workers : int, optional
        Threads or processes; default: as many as there are cores.
    progress : bool
        Show a bar where stderr is a terminal.
    skip_unreadable : bool
        A recording that cannot be read has NaN and is listed in `.problems`, instead of stopping all; for sets that
        take this option (all that are built in).
    **options
        Of the set: "csv" takes `path`, `columns` and `families`; "egemaps" takes `families` (a table's name).

    Returns
    -------
    Factors
        One row per clip, in the order of `clips`; what could not be measured is NaN and listed in
        `.problems`.

    Raises
    ------
    UnknownNameError
        If there is no such set.
    InputError
        If an option is wrong, or a package the set needs is missing.
    AudioError
        If a recording cannot be read, and is not skipped.

    Examples
    --------
    >>> import numpy as np
    >>> import otoscope as oto
    >>> from otoscope.audio import write_audio
    >>> write_audio("tone.wav", 0.5 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000), 16_000)
    >>> found = compute_factors("descriptors", oto.load_clips("tone.wav"), progress=False)
    >>> found.table.f0_median_semitones.round().item(), found.info.unit[0]
    (36.0, 'semitones above 27.5 Hz')
    """
    build = FACTOR_SETS.get(name)
    if skip_unreadable and "skip_unreadable" in inspect.signature(build).parameters:
        options["skip_unreadable"] = True
    return build(check_clips(clips), workers=workers, progress=progress, **options)
