"""Write the explorer: pages, scripts of data, and a small MP3 a clip."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.clips import channels
from otoscope.errors import AudioError, InputError
from otoscope.explorer import tables
from otoscope.explorer.effects import effects_of, write_effect_sounds
from otoscope.explorer.measures import measures_of
from otoscope.explorer.reading import Dictionary, find_dictionaries, left_out
from otoscope.explorer.shards import figures, write_shard, write_sound_script
from otoscope.explorer.single import as_single_file
from otoscope.explorer.sounds import N_BANDS, Sound, listen
from otoscope.files import clear_drafts, whole_folder

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.experiment import RunDirectory

_RECORD = "built.json"
"""Says of what an explorer was made; only a folder that has it is ever replaced."""


def write_explorer(
    run: str | Path | RunDirectory,
    *more: str | Path,
    out: str | Path | None = None,
    audio: bool = True,
    single_file: bool = False,
) -> Path:
    """Write the pages in which one hears what each latent responds to, unless they are there already.

    Parameters
    ----------
    run : RunDirectory, str or Path
        What `otoscope.run` returned, a run's directory, or a folder that ``otoscope latents`` wrote.
    *more : str or Path
        More of them, shown in the same explorer.
    out : str or Path, optional
        Its folder. Default: ``explorer`` in the first `run`.
    audio : bool
        Copy every shown clip as a small MP3. People's recordings go where the folder goes; without them the
        pictures stay.
    single_file : bool
        Also write all of it as one file beside the folder, and return that: for small runs.

    Returns
    -------
    Path
        Its ``index.html``, which a browser opens from disk. It needs no server and no network.

    Raises
    ------
    InputError
        If there are no latents tables, one lacks a column, `out` is a folder of something else, or a single file
        would be too large.
    """
    first = Path(run) if isinstance(run, str | Path) else run.root
    places = [first, *map(Path, more)]
    out = first / "explorer" if out is None else Path(out)
    dictionaries, lost = find_dictionaries(places), left_out(places)
    made_of = _fingerprint(dictionaries, lost, audio, first)
    if _recorded(out) != made_of:
        _replace(out, dictionaries, lost, first, audio, made_of)
    return as_single_file(out) if single_file else out / "index.html"


def _replace(
    out: Path, dictionaries: list[Dictionary], lost: list[str], first: Path, audio: bool, made_of: str
) -> None:
    """Write the folder beside its place, then put it there; what is no explorer is never replaced."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / _RECORD).is_file())):
        raise InputError(
            f"'{out}' is there already and is no explorer; name another folder with out (--out on the command line)"
        )
    clear_drafts(out)
    with whole_folder(out) as draft:
        run = first if (first / "results").is_dir() else None
        _write(draft, dictionaries, lost, run, audio, home=out)
        (draft / _RECORD).write_text(json.dumps({"made_of": made_of}), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)


def _write(
    folder: Path,
    dictionaries: list[Dictionary],
    lost: list[str],
    run: Path | None,
    audio: bool,
    *,
    home: Path,
) -> None:
    from threadpoolctl import threadpool_limits

    data = folder / "data"
    for file in resources.files("otoscope.explorer").joinpath("page").iterdir():
        if file.name.endswith((".html", ".css", ".js")):
            (folder / file.name).write_bytes(file.read_bytes())
    clips = tables.shown_clips(dictionaries)
    numbers = {clip_id: number for number, clip_id in enumerate(clips.clip_id)}
    in_scripts = any(dictionary.about.get("bands_hz") for dictionary in dictionaries)
    # Several sounds at once already take all cores: threads of their own within each would but wait for one another.
    with threadpool_limits(1), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        heard = _write_sounds(pool, folder, clips, audio, in_scripts)
        rows = _write_dictionaries(folder, dictionaries, run, numbers, audio)  # meanwhile
        sounds = list(heard)
    write_shard(data, "clips", _clips(clips, sounds))
    unread = sum(sound is None for sound in sounds)
    write_shard(data, "run", _run(run, rows, len(clips), audio, unread, home) | {"left_out": lost})


def _write_dictionaries(
    folder: Path, dictionaries: list[Dictionary], run: Path | None, numbers: Mapping[str, int], audio: bool
) -> list[dict]:
    """Write the tables and pages of each dictionary; return what the overview says of it."""
    data, rows = folder / "data", []
    for number, dictionary in enumerate(dictionaries):
        own = f"d{number}"
        table = tables.overview_table(dictionary)
        write_shard(data, f"{own}/table", table)
        curves = tables.curves_of(dictionary, numbers)
        effects = effects_of(run, dictionary, numbers, own)
        long = write_effect_sounds(folder, effects.sounds, audio)
        for kind, shards in (
            ("latents", tables.latent_shards(dictionary, numbers, curves, effects.of)),
            ("clips", tables.clip_shards(dictionary, numbers, curves)),
        ):
            for at, shard in enumerate(shards):
                write_shard(data, f"{own}/{kind}-{at}", shard)
        more = {"switched": sorted(effects.of), "sounds_s": long}
        rows.append(_dictionary(own, dictionary, table, measures_of(run, dictionary) | more))
    return rows


def _write_sounds(
    pool: Executor, folder: Path, clips: pd.DataFrame, audio: bool, in_scripts: bool
) -> Iterator[Sound | None]:
    """Write each clip's MP3 and picture; None for one that cannot be read, whose pages say so.

    A page opened from disk may play a sound's file, but not read it. Where it must, to play a band alone, the MP3 lies
    in a script instead (a third larger).
    """
    (folder / "audio").mkdir()

    def write(clip: tuple) -> Sound | None:
        number, path, start_s, stop_s, channel = clip
        try:
            sound = listen(path, start_s, stop_s, channel=channel, audio=audio)
        except AudioError:
            return None
        write_shard(folder / "data", f"clips/{number}", {"mel": sound.mel, "bands": N_BANDS})
        if audio and in_scripts:
            write_sound_script(folder / "data", f"audio/{number}", sound.mp3)
        elif audio:
            (folder / "audio" / f"{number}.mp3").write_bytes(sound.mp3)
        return Sound(b"", "", sound.duration_s, sound.top_hz)

    columns = zip(range(len(clips)), clips.path, clips.start_s, clips.stop_s, channels(clips))
    return pool.map(write, columns)


def _clips(clips: pd.DataFrame, sounds: Sequence[Sound | None]) -> dict[str, Any]:
    labels = tables.labels_of(clips)
    return {
        "id": list(clips.clip_id),
        "file": [Path(path).name for path in clips.path],
        "start_s": figures(clips.start_s, 6),
        "duration_s": [
            round(float(stop - start) if sound is None else sound.duration_s, 4)
            for sound, start, stop in zip(sounds, clips.start_s, clips.stop_s)
        ],
        "top_hz": [0 if sound is None else sound.top_hz for sound in sounds],
        "split": list(clips.split),
        "group": list(clips.group),
        "columns": labels,
        "labels": [[_cell(value) for value in clips[label]] for label in labels],
    }


def _dictionary(own: str, dictionary: Dictionary, table: dict, measures: dict[str, Any]) -> dict[str, Any]:
    about = dictionary.about
    return {
        "data": own,
        "name": dictionary.name,
        **{key: about.get(key) for key in ("encoder", "layer", "rows", "frame_step_s", "n_rows", "n_clips")},
        **{key: about.get(key) for key in ("dataset", "licence", "labels", "groups", "n_tested", "bands_hz")},
        **{key: dictionary.sae.get(key) for key in ("kind", "n_latents", "k", "sparsity", "seed")},
        "n_alive": sum(table["alive"]),
        "n_clear": sum(value is not None and value >= 0.5 for value in table["support"]),
        "latents_a_shard": tables.LATENTS_A_SHARD,
        "clips_a_shard": tables.CLIPS_A_SHARD,
        **measures,
    }


def _run(
    run: Path | None, rows: list[dict], n_clips: int, audio: bool, unread: int, home: Path
) -> dict[str, Any]:
    from otoscope import __version__

    name = run.resolve().name if run else str(rows[0]["dataset"] or home.resolve().parent.name)
    spec = run / "spec.yaml" if run else None
    if spec is not None and spec.is_file():
        from otoscope.files import read_mapping

        name = str(read_mapping(spec).get("name") or name)
    inside = run is not None and home.resolve().parent == run.resolve()
    return {
        "name": name,
        "version": __version__,
        "audio": audio,
        "in_scripts": any(row["bands_hz"] for row in rows),
        "n_clips": n_clips,
        "unread": unread,
        "report": "../report.html" if inside and (home.parent / "report.html").is_file() else None,
        "dictionaries": rows,
    }


def _fingerprint(dictionaries: list[Dictionary], lost: list[str], audio: bool, first: Path) -> str:
    """Return a digest that changes with the tables, the pages or what is asked for."""
    from otoscope import __version__

    page = resources.files("otoscope.explorer").joinpath("page")
    digest = hashlib.sha256(f"{__version__} {audio} {lost}".encode())
    for file in sorted(page.iterdir(), key=lambda file: file.name):
        digest.update(file.read_bytes())
    for dictionary in dictionaries:
        digest.update(dictionary.name.encode())
        for file in [dictionary.folder / "about.json", *sorted(dictionary.folder.glob("*.parquet"))]:
            digest.update(_state(file))
    for file in sorted((first / "results").glob("*.csv")):
        digest.update(_state(file))
    return digest.hexdigest()


def _state(file: Path) -> bytes:
    stat = file.stat()
    return f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode()


def _recorded(out: Path) -> str | None:
    try:
        return json.loads((out / _RECORD).read_text(encoding="utf-8"))["made_of"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
