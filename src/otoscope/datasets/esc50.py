"""ESC-50: 2,000 environmental sounds of 5 s, 50 classes, five folds (Piczak 2015; CC BY-NC 3.0)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.datasets.dataset import DataSet, Published, Source
from otoscope.datasets.headers import finished
from otoscope.datasets.places import folder_with
from otoscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

TABLE = "meta/esc50.csv"


def load(
    root: str | Path, *, test_fold: int = 5, valid_fold: int = 4, skip_unreadable: bool = False
) -> pd.DataFrame:
    """Return the clips of ESC-50, split by its own folds.

    Parameters
    ----------
    root : path
        The folder that holds ``meta/`` and ``audio/``, or one above.
    test_fold, valid_fold : int
        1 to 5; the other three train. Published results average over all five test folds.
    skip_unreadable : bool
        Leave out recordings that cannot be read, and list them in ``.attrs["left_out"]``.

    Returns
    -------
    DataFrame
        A clips table: ``clip_id`` is the file name, ``group`` the recording it was cut from (its folds keep
        fragments of one recording together); columns category, target (its class number), fold, esc10.

    Raises
    ------
    InputError
        If this is not ESC-50, or the folds are wrong.
    """
    import pandas as pd

    folder = folder_with(root, TABLE, dataset="esc50", expected=f"{TABLE} and audio/*.wav")
    table = pd.read_csv(folder / TABLE)
    missing = {"filename", "fold", "target", "category", "src_file"} - set(table.columns)
    if missing:
        raise InputError(f"{folder / TABLE} lacks the columns {', '.join(sorted(missing))}")
    folds = sorted(table["fold"].unique())
    for name, fold in (("test_fold", test_fold), ("valid_fold", valid_fold)):
        if fold not in folds:
            raise InputError(f"esc50: {name} must be one of {', '.join(map(str, folds))}; got {fold}")
    if test_fold == valid_fold:
        raise InputError(f"esc50: test_fold and valid_fold are both {test_fold}; the test must stay unseen")
    clips = pd.DataFrame({"clip_id": table["filename"]})
    clips["path"] = [str(folder / "audio" / name) for name in table["filename"]]
    clips["split"] = table["fold"].map({test_fold: "test", valid_fold: "valid"}).fillna("train")
    clips["group"] = table["src_file"].astype(str)
    for column in ("category", "target", "fold", "esc10"):
        if column in table:
            clips[column] = table[column]
    return finished(clips, skip_unreadable=skip_unreadable)


DATASET = DataSet(
    load,
    source=Source(
        page="https://github.com/karolpiczak/ESC-50",
        licence="CC BY-NC 3.0 (ESC-10 subset: CC BY 3.0)",
        citation="Piczak: ESC: Dataset for Environmental Sound Classification. ACM Multimedia 2015",
    ),
    published=Published("category", n_clips=2000, n_classes=50, per_class=40),  # Piczak (2015)
)
