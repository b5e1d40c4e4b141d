"""What a dictionary of recordings' beginnings makes of what comes later: Whisper tiny.en, LibriSpeech, layer 3.

Run ``python benchmarks/real_places.py --whisper FOLDER --librispeech FOLDER`` after ``real_frames.py``. Whisper adds to
each frame a code of its place within 30 s. Dictionaries are those of ``real_frames.py`` (four stretches of 1 s of each
training recording, from anywhere in it) and the same of as many frames from each recording's start (its first 4 s).
``benchmarks/real/places.csv``: error and active latents on frames of the recordings they learnt from, and of ten other
speakers, in the first 4 s and later.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from real import add, read
from real_frames import STRETCH, STRETCHES, Set, is_in, kept_at, librispeech, representations

from otoscope.saes import SparseAutoencoder, reconstruction_metrics

LAYER, KINDS = 3, ("topk of frames", "batch-topk", "matryoshka")
FIRST = STRETCH * STRETCHES
STEP = 5
"""Every fifth frame is judged on."""


def main() -> None:
    """Make what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("whisper", "librispeech"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("real"))
    parser.add_argument("--stores", type=Path, default=Path("real-stores"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    asked.layers, asked.only = [LAYER], KINDS
    rows = librispeech(asked)
    early = np.concatenate([np.arange(count) for count in np.bincount(rows.clip)]) < FIRST
    for learnt, own in (("anywhere", rows), ("first 4 s", replace(rows, used=early, stretch=rows.clip))):
        study(learnt, own, early, asked)


def study(learnt: str, rows: Set, early: np.ndarray, asked: argparse.Namespace) -> None:
    """Judge the dictionaries that learnt from one choice of frames."""
    x, heard = rows.layers[LAYER], rows.folds[0].learns[rows.clip]
    fits = heard & rows.used
    train = x[fits].astype(np.float32)
    name = rows.name if learnt == "anywhere" else f"{rows.name}, {learnt}"
    done = read(asked.out / "places.csv")
    places = rows.clip[fits], rows.stretch[fits]
    for kind, seed, make in representations(train, train[:1], *places, rows.name, asked):
        where = {"learnt": learnt, "representation": kind, "seed": seed}
        if is_in(done, where):
            continue
        kept = kept_at(name, LAYER, 0, kind, seed, asked)
        if not kept.exists():
            make(seed).sae.save_pretrained(kept)
        sae, found = SparseAutoencoder.from_pretrained(kept), []
        for speakers, side in (("heard", heard), ("new", ~heard)):
            for place, part in (("first 4 s", early), ("later", ~early)):
                chosen = np.flatnonzero(side & part)[::STEP]
                error = reconstruction_metrics(sae, x[chosen].astype(np.float32))
                about = {"speakers": speakers, "place": place, "frames": len(chosen)}
                found.append(where | about | {"fvu": error.fvu, "l0": error.l0})
        add(asked.out / "places.csv", found)
        print(*where.values(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
