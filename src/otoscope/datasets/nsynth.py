"""NSynth: 305,979 musical notes of 4 s, 1,006 instruments, 16 kHz (Engel et al. 2017; CC BY 4.0)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from otoscope.clips import split_clips
from otoscope.datasets.dataset import DataSet, Published, Source
from otoscope.datasets.headers import finished
from otoscope.datasets.places import folder_with
from otoscope.errors import InputError
from otoscope.files import read_mapping

if TYPE_CHECKING:
    import pandas as pd

FOLDERS = {"train": "nsynth-train", "valid": "nsynth-valid", "test": "nsynth-test"}
TABLE = "examples.json"


def load(
    root: str | Path,
    *,
    valid_by: Literal["folder", "group"] = "folder",
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> pd.DataFrame:
    """Return the notes of NSynth (the json/wav archives).

    Parameters
    ----------
    root : path
        The folder that holds ``nsynth-train``, ``nsynth-valid`` and ``nsynth-test``, or only one of them, or that
        one itself. Where one alone is there, its instruments are drawn into three sides.
    valid_by : {"folder", "group"}
        "folder": the published split. Its training instruments occur nowhere else, but validation and test may
        share some; such a validation note has the ``group`` "<instrument> (valid)". "group": whole training
        instruments validate instead, and ``nsynth-valid`` is not used.
    split_seed : int
        Of what is drawn.
    skip_unreadable : bool
        Leave out notes that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is the note, ``group`` the instrument; columns family, source (acoustic,
        electronic, synthetic), instrument, pitch (MIDI number), velocity, qualities (several, ``;`` between, or
        "none").

    Raises
    ------
    InputError
        If there is no NSynth, a table is missing or damaged, or two of its three folders are there.
    """
    import pandas as pd

    if valid_by not in ("folder", "group"):
        raise InputError(f"nsynth: valid_by must be 'folder' or 'group'; got '{valid_by}'")
    expected = "nsynth-train/, nsynth-valid/ and nsynth-test/, each with examples.json and audio/*.wav"
    folder = folder_with(root, *FOLDERS.values(), TABLE, dataset="nsynth", expected=expected)
    here = {split: folder / name for split, name in FOLDERS.items() if (folder / name).is_dir()}
    if not here:
        here = {"one": folder}
    needed = {"train", "test"} if valid_by == "group" else set(FOLDERS)
    if len(here) > 1 and needed - set(here):
        raise InputError(
            f"nsynth: '{folder}' lacks {', '.join(FOLDERS[split] for split in sorted(needed - set(here)))}; "
            "add it, or name one folder alone to have its instruments split"
        )
    if valid_by == "group":
        here = {split: path for split, path in here.items() if split != "valid" or len(here) == 1}
    clips = pd.concat([_notes(path).assign(split=split) for split, path in here.items()], ignore_index=True)
    if len(here) == 1:
        clips = split_clips(clips.drop(columns="split"), seed=split_seed)
    elif valid_by == "group":
        clips = split_clips(clips, seed=split_seed)
    else:
        tested = set(clips["group"][clips["split"] == "test"])
        shared = (clips["split"] == "valid") & clips["group"].isin(tested)
        clips.loc[shared, "group"] += " (valid)"
    return finished(clips, skip_unreadable=skip_unreadable)


def _notes(folder: Path) -> pd.DataFrame:
    """Read a folder's examples.json."""
    import pandas as pd

    file = folder / TABLE
    if not file.is_file():
        raise InputError(f"nsynth: '{folder}' has no {TABLE}, which says what its notes are")
    notes = read_mapping(file)
    try:
        rows = [
            {
                "clip_id": name,
                "path": str(folder / "audio" / f"{name}.wav"),
                "group": note["instrument_str"],
                "family": note["instrument_family_str"],
                "source": note["instrument_source_str"],
                "instrument": note["instrument_str"],
                "pitch": int(note["pitch"]),
                "velocity": int(note["velocity"]),
                "qualities": ";".join(note.get("qualities_str", [])) or "none",
            }
            for name, note in notes.items()
        ]
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"nsynth: {file} is damaged or of another kind ({error})") from error
    if not rows:
        raise InputError(f"nsynth: {file} lists no notes")
    return pd.DataFrame(rows)


DATASET = DataSet(
    load,
    source=Source(
        page="https://magenta.tensorflow.org/datasets/nsynth (take the json/wav archives)",
        licence="CC BY 4.0",
        citation="Engel et al.: Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders. ICML 2017",
    ),
    published=Published("family"),
)
