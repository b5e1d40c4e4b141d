"""What a short window does to Whisper: states, probes and time, on spoken digits.

    python benchmarks/whisper_window.py WHISPER_FOLDER FSDD_RECORDINGS [--clips 300] [--out whisper_window.csv]

The digits (Free Spoken Digit Dataset, 0.2 to 1.5 s) are told apart from mean-pooled states; four speakers train, two
test. "exact" pads to 30 s as the model was trained. A probe trained on exact states is also tried on short ones.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import otoscope as oto
from otoscope.audio import read_audio

WINDOWS_S = (2.0, 5.0, 10.0)
TEST_SPEAKERS = ("theo", "yweweler")


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("whisper", type=Path)
    ask.add_argument("recordings", type=Path)
    ask.add_argument("--clips", type=int, default=300)
    ask.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    asked = ask.parse_args()
    files = sorted(asked.recordings.glob("*.wav"))
    files = [files[i] for i in np.random.default_rng(0).permutation(len(files))[: asked.clips]]
    digits, speakers, _ = zip(*(file.stem.split("_") for file in files))
    test = np.isin(speakers, TEST_SPEAKERS)
    sounds = [read_audio(file, sample_rate=16_000)[0] for file in files]
    exact, exact_s = pooled(oto.load_encoder(asked.whisper, device="cpu"), sounds)
    rows = []
    for window_s in (None, *WINDOWS_S):
        encoder = oto.load_encoder(asked.whisper, device="cpu", window_s=window_s)
        states, seconds = (exact, exact_s) if window_s is None else pooled(encoder, sounds)
        for layer, x in states.items():
            y = exact[layer]
            centred = y - y.mean(0)
            rows.append(
                {
                    "window_s": 30.0 if window_s is None else window_s,
                    "layer": layer,
                    "relative_difference": np.linalg.norm(x - y) / np.linalg.norm(y),
                    "difference_of_spread": np.linalg.norm(x - y) / np.linalg.norm(centred),
                    "r": np.corrcoef((x - x.mean(0)).ravel(), centred.ravel())[0, 1],
                    "accuracy": accuracy(x, x, digits, test),
                    "accuracy_probe_of_exact": accuracy(y, x, digits, test),
                    "seconds_per_clip": seconds / len(sounds),
                    "times_faster": exact_s / seconds,
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(asked.out, index=False, float_format="%.4g")
    print(table.to_string(index=False))


def pooled(encoder, sounds) -> tuple[dict, float]:
    """Return layer -> [clips, width], means over tokens inside the clip, and how long it took."""
    begun = time.perf_counter()
    found: dict = {}
    for sound in sounds:
        for layer, state in encoder.hidden_states(sound[None]).items():
            inside = encoder.tokens(len(sound), layer).inside(len(sound) / encoder.sample_rate)
            found.setdefault(layer, []).append(state[0].numpy()[inside].mean(0))
    return {layer: np.stack(rows) for layer, rows in found.items()}, time.perf_counter() - begun


def accuracy(train_x, test_x, labels, test) -> float:
    """Return the share of the test speakers' digits that a probe of the others' tells."""
    labels = np.array(labels)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    return probe.fit(train_x[~test], labels[~test]).score(test_x[test], labels[test])


if __name__ == "__main__":
    main()
