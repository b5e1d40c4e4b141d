"""When was each word said? Whisper's own greedy transcript, and where its attention stood while it wrote.

The heads of its decoder that follow the sound (``alignment_heads`` of ``generation_config.json``) give, for each token
that is written, a weight for every 20 ms of sound. A path that only goes forward through both, and gathers most weight
(dynamic time warping), says when each token begins. Pauses count as part of the word before or after them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.lib.stride_tricks import sliding_window_view

import otoscope as oto
from otoscope.audio import read_audio
from otoscope.interventions.whisper import Words

STEP_S = 0.02


def token_starts(weights: np.ndarray, smooth: int = 7) -> np.ndarray:
    """Return the step at which each token begins.

    Parameters
    ----------
    weights : [heads, tokens, steps]
        Attention of the position that writes each token; the last one writes the end.
    smooth : int
        Steps of the running median over time, odd.

    Returns
    -------
    [tokens] of int
        The first is 0; none is smaller than the one before it.
    """
    level = (weights - weights.mean(1, keepdims=True)) / weights.std(1, keepdims=True)
    half = smooth // 2
    if level.shape[2] > half:
        padded = np.pad(level, ((0, 0), (0, 0), (half, half)), mode="reflect")
        level = np.median(sliding_window_view(padded, smooth, axis=2), axis=3)
    return first_steps(level.mean(0))


def first_steps(gain: np.ndarray) -> np.ndarray:
    """Return where each row of [rows, steps] begins on the path from corner to corner that gathers most.

    A path moves one row on, one step on, or both; ties go to the step.
    """
    n_rows, n_steps = gain.shape
    above = [0.0] + [-np.inf] * n_steps
    came = np.zeros((n_rows + 1, n_steps + 1), np.int8)  # 0: both, 1: a row on, 2: a step on
    for row, gains in enumerate(gain.tolist(), start=1):
        own = [-np.inf]
        for step, more in enumerate(gains, start=1):
            both, down, on = above[step - 1], above[step], own[-1]
            way = 0 if both > down and both > on else 1 if down > both and down > on else 2
            own.append((both, down, on)[way] + more)
            came[row, step] = way
        above = own
    starts, row, step = np.zeros(n_rows, int), n_rows, n_steps
    while row > 0 and step > 0:
        starts[row - 1] = step - 1
        way = came[row, step]
        row, step = row - (way != 2), step - (way != 1)
    return starts


def alignment(model: Any, states: torch.Tensor, tokens: Sequence[int], n_steps: int) -> np.ndarray:
    """Return the step of the sound at which each token of a transcript begins, and the one at which the last ends.

    Parameters
    ----------
    model : WhisperForConditionalGeneration
        With attention that can be looked at (``attn_implementation="eager"``).
    states : [1, steps, width]
        The encoder's output.
    tokens : sequence of int
        Without prompt and end.
    n_steps : int
        Steps of the sound itself, without the silence behind it.

    Returns
    -------
    [tokens + 1] of int
    """
    settings = model.generation_config
    prompt = [model.config.decoder_start_token_id, settings.no_timestamps_token_id]
    with torch.inference_mode():
        read = model.model.decoder(
            input_ids=torch.tensor([[*prompt, *tokens]]), encoder_hidden_states=states, output_attentions=True
        ).cross_attentions
    heads = [
        read[layer][0, head, len(prompt) - 1 :, :n_steps].numpy() for layer, head in settings.alignment_heads
    ]
    return token_starts(np.stack(heads), model.config.median_filter_width)


def words_of(tokens: Sequence[int], steps: np.ndarray, tokenizer: Any) -> pd.DataFrame:
    """Return a transcript's words: lower case, letters and apostrophes alone, with ``start_s`` and ``stop_s``."""
    texts = [tokenizer.decode([token]) for token in tokens]
    firsts = [i for i, text in enumerate(texts) if i == 0 or text.startswith(" ")]
    rows = []
    for first, end in zip(firsts, [*firsts[1:], len(tokens)]):
        word = re.sub(r"[^a-z']", "", tokenizer.decode(list(tokens[first:end])).lower()).strip("'")
        if word:
            rows.append({"word": word, "start_s": steps[first] * STEP_S, "stop_s": steps[end] * STEP_S})
    return pd.DataFrame(rows, columns=["word", "start_s", "stop_s"])


def word_times(clips: pd.DataFrame, whisper: Path, kept: Path) -> pd.DataFrame:
    """Return ``clip_id, word, start_s, stop_s`` of every clip's first 30 s; made once, and gone on with when killed."""
    from transformers import AutoTokenizer, WhisperForConditionalGeneration

    done = pd.read_csv(kept, keep_default_na=False) if kept.exists() else pd.DataFrame({"clip_id": []})
    left = clips[~clips["clip_id"].isin(done["clip_id"])]
    if not len(left):
        return done
    encoder = oto.load_encoder(whisper)
    transcript = Words(most=200)
    transcript.prepare(encoder)
    model = WhisperForConditionalGeneration.from_pretrained(
        whisper, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(whisper)
    for clip_id, path in zip(left["clip_id"], left["path"]):
        waveform, _ = read_audio(path, sample_rate=encoder.sample_rate)
        n_steps = int(np.ceil(len(waveform) / encoder.sample_rate / STEP_S))
        with torch.inference_mode():
            states = encoder.hidden_states(waveform[None, : 30 * encoder.sample_rate], layers=["final"])[
                "final"
            ]
            (heard,) = transcript.hear(states)
        tokens = [token for token in heard.tokens if token != model.config.eos_token_id]
        words = words_of(tokens, alignment(model, states, tokens, min(n_steps, states.shape[1])), tokenizer)
        words = words if len(words) else pd.DataFrame([{"word": "", "start_s": 0.0, "stop_s": 0.0}])
        words.insert(0, "clip_id", clip_id)
        words.to_csv(kept, mode="a", header=not kept.exists(), index=False, float_format="%.2f")
    return pd.read_csv(kept, keep_default_na=False)
