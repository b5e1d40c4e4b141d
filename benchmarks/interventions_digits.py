"""Spoken digits through Whisper tiny.en with a layer replaced: does it still write the digit that was said?

Part ``splice-digits`` of ``interventions.py``: FSDD's takes 0 to 4 (300 recordings, six speakers), and the layer's
dictionaries of LibriSpeech's frames at the usual sparsity, which heard none of them. Beside the words changed against
the untouched transcript, ``word_error`` is against the digit that the file's name says; "7" counts as "seven". One word
a clip, no sentence around it, 8 kHz: that is no published word error rate, and not to be compared with one.

Writes ``interventions/splice_digits.csv``, the columns of splice.csv; intervals are for digits of new speakers.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace

import pandas as pd
from interventions import Ear, Rows, frame_dictionaries, frames, headline, make_untrained, say

from otoscope.audio import read_audio
from otoscope.interventions import Transcript, Words, splice
from otoscope.saes.nulls import fit_pca

TAKES = 5
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits(Words):
    """Whisper's words, numerals read out."""

    def score(self, plain: Transcript, edited: Transcript, truth: str | None = None) -> dict[str, float]:
        """Return what `Words` does, of the texts with each numeral as a word."""
        return super().score(spelt(plain), spelt(edited), truth)


def spelt(heard: Transcript) -> Transcript:
    """Return a transcript with each numeral as a word of its own."""
    return replace(heard, text=re.sub(r"\d", lambda found: f" {NAMES[int(found[0])]} ", heard.text))


def splice_digits(options: argparse.Namespace) -> None:
    """Replace layers by reconstructions, mean and zero; digits against their names."""
    clips = pd.read_csv(options.digits).query(f"take < {TAKES}")
    rows = Rows(options.out / "splice_digits.csv")
    if all(rows.has(layer=layer) for layer in options.layers):
        return
    ear = Ear(options)
    ear.words = Digits(most=20)
    ear.words.prepare(ear.encoder)
    waveforms = [read_audio(path, sample_rate=16_000)[0] for path in clips.path]
    truth = [NAMES[int(digit.removeprefix("d"))] for digit in clips.digit]
    plain, states = ear.listen(waveforms)
    say(
        f"{len(plain)} digits, such as: {[(name, answer.text) for name, answer in zip(truth[::31], plain[::31])]}"
    )
    for layer in options.layers:
        if rows.has(layer=layer):
            continue
        own = headline(frame_dictionaries(options, layer))
        saes = {own.name: own, f"untrained {own.config.name}": make_untrained(own)}
        table = splice(
            ear.encoder, waveforms, ear.words, layer, saes, pca=fit_pca(frames(options, layer)), truth=truth,
            groups=list(clips.speaker), plain=plain, answer=ear.again(waveforms, states, plain),
            on_done=lambda name, t: say(f"{name}: {t[['loss', 'kl', 'word_error']].mean().round(3).to_dict()}"),
        )  # fmt: skip
        rows.add(table)
