"""Words: does a latent of frames say a word better than a dimension does? Whisper tiny.en, LibriSpeech.

Run ``python benchmarks/real_words.py --whisper FOLDER --librispeech FOLDER``; killed, it goes on where it was. Which
words, and when, is Whisper's own transcript and its attention (``word_times.py``); no transcript of a person is used.
Concepts: words that are said 30 times by ten speakers of the training side and 30 times by eight of the ten others.
Dictionaries are those of ``real_frames.py``, from the same stretches of training speakers. Two kinds of rows are
judged:

- ``frames``: is this frame, of those within any word and not quiet, in the word or in another one? All such frames of
  the training speakers choose units and thresholds (30,000 at random), those of the ten others judge.
- ``mean`` and ``max``: one row for each word that is said, the mean or the largest of its frames' codes.

What is expected, written down before any of it was run, of the means over words, layer 3 unless said:

1. Of frames, the best dense dimension has a larger area under the curve than the best latent of topk, as it had for
   all thirteen acoustic concepts, by .02 or more.
2. The best eight dense dimensions together have a larger area than the best eight latents of topk.
3. The purest latent of topk is purer than the purest dense dimension, untrained latent and random direction.
4. By its largest value in a word, the best latent of topk comes within .05 of the best dense dimension's mean, or
   above it: a latent may fire for a part of a word only.
5. No latent that is taken as on or off finds a word with both precision and recall of a half, of frames.
6. Layer 4, the last, tells words better than layer 3: larger areas of dense dimensions and of topk's latents.
7. Matryoshka's best latent has a larger area than topk's.

Tables in ``benchmarks/real/words/``: ``frames_units.csv`` and ``frames_units_speakers.csv`` as in ``real_frames.py``,
with a column ``rows``; ``counts.csv``, how often each word is said.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from real import add, encoder, read
from real_frames import (
    BLOCK,
    Set,
    add_units,
    is_in,
    kept_at,
    librispeech,
    means_of,
    representations,
    write_units,
)
from word_times import word_times

from otoscope.saes import SparseAutoencoder, pooled_codes

LEAST, LEAST_SPEAKERS = 30, (10, 8)
"""Times that a word is said on either side, and by how many speakers who learn and who judge."""
FRAMES = 30_000
POOLS = ("mean", "max")
NAMES = (
    "dense", "topk of frames", "pca", "untrained", "random directions", "matryoshka", "ica 100", "permuted",
    "topk of means", "batch-topk", "random projection, top k", "frozen encoder", "frozen decoder", "topk, 256 latents",
)  # fmt: skip


def main() -> None:
    """Make what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("whisper", "librispeech"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("real") / "words")
    parser.add_argument("--stores", type=Path, default=Path("real-stores"))
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="Of what is drawn or starts at random.")
    parser.add_argument("--only", nargs="+", default=list(NAMES), help="Representations; default: all.")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = librispeech(asked)
    words = word_times(rows.clips, asked.whisper, asked.stores / "librispeech-words.csv")
    place, said = placed(words, rows, asked.stores / "librispeech-frames")
    learns = rows.folds[0].learns
    concepts, counts = frequent(said, rows.clips, learns)
    counts.to_csv(asked.out / "counts.csv", index=False)
    of_frames = concepts.reindex(place).reset_index(drop=True)  # of no word: NaN
    rows = replace(rows, name="LibriSpeech words", concepts=of_frames)
    for layer in asked.layers:
        study(rows, place, said, concepts, layer, asked)


def placed(words: pd.DataFrame, rows: Set, store: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Return which word each frame is of, -1 where it is of none or quiet, and the words that have a frame left.

    Words: ``clip`` (the place in `rows.clips`) and ``word``, in the order of their frames.
    """
    import otoscope as oto

    times = oto.Activations.open(store).rows["time_s"].to_numpy()
    quiet = rows.concepts["quiet"].to_numpy() > 0
    place, said = np.full(len(times), -1), []
    bounds = np.searchsorted(rows.clip, np.arange(len(rows.clips) + 1))
    own_words = dict(iter(words.groupby("clip_id", sort=False)))
    for clip, clip_id in enumerate(rows.clips["clip_id"]):
        frames = slice(bounds[clip], bounds[clip + 1])
        for word in own_words[clip_id].itertuples():
            within = (times[frames] >= word.start_s) & (times[frames] < word.stop_s) & ~quiet[frames]
            if word.word and within.any():
                place[frames][within] = len(said)
                said.append({"clip": clip, "word": word.word})
    return place, pd.DataFrame(said)


def frequent(
    said: pd.DataFrame, clips: pd.DataFrame, learns: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return, for each word that is said, whether it is each of the frequent ones (1 or 0), and how often those are."""
    about = said.assign(
        speaker=clips["speaker"].to_numpy()[said["clip"]], learns=learns[said["clip"].to_numpy()]
    )
    counted = about.groupby(["word", "learns"])["speaker"].agg(["size", "nunique"]).unstack(fill_value=0)
    enough = np.ones(len(counted), bool)
    for side, least in zip((True, False), LEAST_SPEAKERS):
        enough &= (counted["size", side] >= LEAST).to_numpy()
        enough &= (counted["nunique", side] >= least).to_numpy()
    kept = counted[enough].sort_values(("size", True), ascending=False)
    concepts = pd.DataFrame({word: (said["word"] == word).astype(float) for word in kept.index})
    counts = pd.DataFrame(
        {
            "word": kept.index,
            **{
                f"{name}_{side}": kept[column, truth].to_numpy()
                for name, column in (("times", "size"), ("speakers", "nunique"))
                for side, truth in (("learn", True), ("judge", False))
            },
        }
    )
    return concepts, counts


def study(
    rows: Set,
    place: np.ndarray,
    said: pd.DataFrame,
    concepts: pd.DataFrame,
    layer: int,
    asked: argparse.Namespace,
) -> None:
    """Write the best units of one layer, of every representation that has none yet."""
    x, learns = rows.layers[layer], rows.folds[0].learns
    fits = learns[rows.clip] & rows.used
    train, means = x[fits].astype(np.float32), means_of(x, rows.mean_of, learns[rows.clip])
    sides = learns[rows.clip] & (place >= 0), ~learns[rows.clip] & (place >= 0)
    speakers = rows.clips["speaker"].to_numpy()[said["clip"]]
    learn = learns[said["clip"].to_numpy()]
    done = read(asked.out / "frames_done.csv")
    for name, seed, make in representations(
        train, means, rows.clip[fits], rows.stretch[fits], "LibriSpeech", asked
    ):
        where = {"set": rows.name, "layer": layer, "representation": name, "seed": seed}
        if is_in(done, where):
            continue
        started = time.process_time()
        kept = kept_at("LibriSpeech", layer, 0, name, seed, asked)
        encode = encoder(SparseAutoencoder.from_pretrained(kept)) if kept.exists() else make(seed).encode
        write_units(rows, *sides, x, encode, where | {"rows": "frames"}, asked.out, n_rows=FRAMES)
        blocks = (x[start : start + BLOCK].astype(np.float32) for start in range(0, len(x), BLOCK))
        for pool, codes in pooled_codes(encode, blocks, place, n_places=len(said), clip_codes=POOLS).items():
            add_units(codes, concepts, speakers, learn, ~learn, where | {"rows": pool}, asked.out)
        cpu_s = round(time.process_time() - started, 1)
        add(asked.out / "frames_done.csv", [where | {"cpu_s": cpu_s}])
        print(*where.values(), f"{cpu_s} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
