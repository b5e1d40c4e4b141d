"""What the model says before and after a latent is switched, where the run measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import AudioError
from otoscope.explorer.measures import rows_of
from otoscope.explorer.reading import Dictionary
from otoscope.explorer.shards import figures, write_shard
from otoscope.explorer.sounds import N_BANDS, Sound, listen
from otoscope.results import read_table

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("before", "after")


@dataclass(frozen=True)
class Effects:
    """What is shown of one dictionary.

    Attributes
    ----------
    of : dict
        latent -> what is said of each clip, as plain data, ``off`` before ``on``.
    sounds : dict
        What a sound is called in the folder -> its file.
    """

    of: dict[int, list[dict[str, Any]]]
    sounds: dict[str, Path]


def effects_of(run: Path | None, dictionary: Dictionary, numbers: Mapping[str, int], own: str) -> Effects:
    """Return what the run's tables say of a dictionary's latents; of no latent where they say nothing.

    Parameters
    ----------
    run : Path, optional
    dictionary : Dictionary
    numbers : mapping of clip id -> number
        Of the clips that are shown.
    own : str
        What the dictionary's data is called.
    """
    table, shares = (_read(run, dictionary, name) for name in ("before_after", "before_after_shares"))
    if run is None or table is None:
        return Effects({}, {})
    table = table[table.clip_id.isin(numbers)].fillna({"before": "", "after": "", "sound": ""})
    parts: dict[tuple, list] = {}
    if shares is not None:
        columns = (shares.output.tolist(), *(figures(shares[side]) for side in SIDES))
        for *key, output, before, after in zip(shares.latent, shares.switched, shares.clip_id, *columns):
            parts.setdefault(tuple(key), []).append([output, before, after])
    found: dict[int, list[dict[str, Any]]] = {}
    sounds: dict[str, Path] = {}
    change, random = figures(table.change), figures(table.change_random)
    for row, own_change, other in zip(table.itertuples(), change, random):
        sound = f"{own}-{row.latent}-{row.switched}-{numbers[row.clip_id]}" if row.sound else None
        if sound:
            sounds |= {f"{sound}-{side}": run / f"{row.sound}-{side}.flac" for side in SIDES}
        found.setdefault(int(row.latent), []).append(
            {
                "switched": row.switched,
                "clip": numbers[row.clip_id],
                "readout": row.readout,
                "before": row.before,
                "after": row.after,
                "measure": row.measure,
                "change": own_change,
                "random": other,
                "shares": parts.get((row.latent, row.switched, row.clip_id), []),
                "sound": sound,
            }
        )
    return Effects(found, sounds)


def write_effect_sounds(folder: Path, sounds: Mapping[str, Path], audio: bool) -> dict[str, float]:
    """Write the MP3 and the picture of each; return how long each that can be read is, in seconds."""
    durations = {}
    for name, file in sounds.items():
        try:
            sound: Sound = listen(str(file), 0.0, None, audio=audio)
        except AudioError:
            continue
        write_shard(folder / "data", f"clips/{name}", {"mel": sound.mel, "bands": N_BANDS})
        if audio:
            (folder / "audio" / f"{name}.mp3").write_bytes(sound.mp3)
        durations[name] = round(sound.duration_s, 4)
    return durations


def _read(run: Path | None, dictionary: Dictionary, name: str) -> pd.DataFrame | None:
    path = None if run is None else run / "results" / f"{name}.csv"
    if path is None or not path.is_file():
        return None
    table = read_table(path).astype({"clip_id": str})
    return table[rows_of(table, dictionary)]
