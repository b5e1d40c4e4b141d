"""eGeMAPSv02 by openSMILE: the 88 functionals of the paper.

The package `opensmile` is an extra and its licence is research-only, so it is imported when this set is asked
for, and at no other time. openSMILE reads the first channel of a stereo file; here it is given the mean of
the channels, as every other part of Otoscope hears a file. Below about 0.1 s most functionals are NaN.

Where no frame is voiced openSMILE says 0 for pitch, formants, jitter and all else that is measured on voiced frames
(and -201 dB for the formants' amplitudes); where all are, 0 for what is measured on unvoiced ones. Nothing was measured
there, so it is NaN here, and listed among the problems.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from otoscope.audio import read_audio
from otoscope.clips import channels
from otoscope.compute import cpu_count
from otoscope.compute import progress as progress_bar
from otoscope.errors import AudioError, InputError
from otoscope.factors.families import egemaps_families
from otoscope.factors.tables import KEYS, Factors, report_problems

SHORTEST_S = 0.1
_CHUNK = 8  # clips sent to a process at a time


def build(
    clips: pd.DataFrame,
    *,
    families: str = "corrected",
    keep_zeros: bool | None = None,
    workers: int | None = None,
    progress: bool = True,
    skip_unreadable: bool = False,
) -> Factors:
    """Compute the 88 functionals of every clip, in parallel processes.

    Parameters
    ----------
    clips : DataFrame
        A clips table. Audio is analysed at its own sample rate.
    families : {"corrected", "paper"}
        Which family table describes the factors.
    keep_zeros : bool, optional
        Leave openSMILE's numbers where no frame is voiced, or unvoiced; such clips are listed all the same. Default:
        only with the families of the paper, whose code did.
    workers : int, optional
        Processes; default: as many as there are cores.
    progress : bool
        Show a bar.
    skip_unreadable : bool
        A recording that cannot be read has NaN, and is listed as a problem.

    Raises
    ------
    InputError
        If the package opensmile is not installed.
    AudioError
        If a recording cannot be read.
    """
    from joblib import Parallel, delayed

    info = egemaps_families(families)
    keep_zeros = families == "paper" if keep_zeros is None else keep_zeros
    _extractor()  # says what is missing before any process starts
    items = list(zip(clips.path, clips.start_s, clips.stop_s, channels(clips)))
    chunks = [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]
    jobs = Parallel(n_jobs=min(workers or cpu_count(), len(chunks)), return_as="generator")
    values: list[np.ndarray] = []
    known: dict[int, str] = {}
    with progress_bar("eGeMAPS", len(items), unit="clips", show=progress) as bar:
        for chunk in jobs(
            delayed(_measure_chunk)(chunk, tuple(info["name"]), keep_zeros, skip_unreadable)
            for chunk in chunks
        ):
            for numbers, problem in chunk:
                if problem:
                    known[len(values)] = problem
                values.append(numbers)
            bar.advance(len(chunk))
    keys = clips[list(KEYS)].reset_index(drop=True)
    table = pd.concat([keys, pd.DataFrame(np.array(values), columns=list(info["name"]))], axis=1)
    return Factors(table, info, report_problems(table, known))


def _measure_chunk(
    items: list[tuple[str, float, float, int | None]], names: tuple[str, ...], keep_zeros: bool, skip: bool
) -> list[tuple[np.ndarray, str]]:
    found = []
    for item in items:
        try:
            found.append(_measure(item, names, keep_zeros))
        except AudioError as error:
            if not skip:
                raise
            found.append((np.full(len(names), np.nan), error.reason))
    return found


def _measure(
    item: tuple[str, float, float, int | None], names: tuple[str, ...], keep_zeros: bool
) -> tuple[np.ndarray, str]:
    path, start_s, stop_s, channel = item
    waveform, sample_rate = read_audio(path, start_s=start_s, stop_s=stop_s, channel=channel)
    duration_s = len(waveform) / sample_rate
    if duration_s < SHORTEST_S:
        problem = f"too short: {duration_s:.3f} s of at least {SHORTEST_S:g} s"
        return np.full(len(names), np.nan), problem
    found = _extractor().process_signal(waveform, sample_rate).iloc[0].astype(np.float64)
    problems = []
    for kind, columns in (("voiced", _voiced(names)), ("unvoiced", _unvoiced(names))):
        if (
            found[columns[:5]] == 0
        ).all():  # five different means or percentiles, none of which is ever quite 0
            done = "openSMILE's zeros are left" if keep_zeros else "they are NaN"
            problems.append(
                f"no {kind} frame: {len(columns)} functionals of {kind} sound say nothing, {done}"
            )
            if not keep_zeros:
                found[columns] = np.nan
    return found[list(names)].to_numpy(), "; ".join(problems)


def _voiced(names: tuple[str, ...]) -> list[str]:
    """Return what is measured on voiced frames, pitch first."""
    lengths = ["MeanVoicedSegmentLengthSec", "StddevVoicedSegmentLengthSec"]
    return [name for name in names if "_sma3nz_" in name and "UV" not in name] + lengths


def _unvoiced(names: tuple[str, ...]) -> list[str]:
    """Return what is measured on unvoiced frames, the five means first."""
    return [name for name in names if "UV" in name] + [
        "MeanUnvoicedSegmentLength",
        "StddevUnvoicedSegmentLength",
    ]


@lru_cache(maxsize=1)
def _extractor():
    try:
        import opensmile
    except ImportError as error:
        raise InputError(
            "the factor set 'egemaps' needs the package opensmile (licensed for research only): "
            "pip install 'otoscope[egemaps]'; or take the factor set 'descriptors', which needs nothing more"
        ) from error
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )
