"""A label erased at every frame of a layer of Whisper tiny.en: is it still gone in the layers after it?

Part ``erase-frames`` of ``interventions.py``; 15 minutes of one core, and it goes on where it was. FSDD's takes 0 to
2, two of six speakers held out, a pair in each of three turns. In each, the edits are fitted on the frames of the
training speakers' clips (a dictionary of 512 latents, one seed; LEACE; mean projection) and made at every token of
sound; the blocks after the layer then run as ever. Clips are judged by the mean over their tokens of sound, at the
edited layer and at each later one, by two probes: one that learnt from untouched clips, which cannot tell a label that
is gone from one that has moved, and one that learns anew from edited clips, which says whether it is gone.

The mean in place of every token of sound shows what comes back from elsewhere: from the padding, which is not edited.

Writes ``interventions/erasure_frames.csv``: layer (edited), turn, method, share, n, fvu (of the dictionary, on held-out
speakers' frames), read_at (layer), tokens (whose mean is read), probe ("untouched", "anew"), label, held_out, score,
low, high, chance, change (of the means, squared, over their variance).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from interventions import HEADLINE, TURNS, Rows, dictionaries, say, turn_concepts

import otoscope as oto
from otoscope.audio import read_audio
from otoscope.encoders import Encoder
from otoscope.interventions import (
    Concept,
    States,
    ablate,
    answers,
    at,
    leace,
    matched_latents,
    mean_projection,
    random_projection,
    rank_latents,
    replaced_by,
    through,
)
from otoscope.interventions.edits import Edit
from otoscope.interventions.respond import inside
from otoscope.results import (
    LATENTS,
    LEACE,
    MEAN,
    MEAN_PROJECTION,
    RANDOM_DIRECTIONS,
    RANDOM_LATENTS,
    TARGET,
    UNTOUCHED,
)
from otoscope.saes import codes_of, reconstruction_metrics

TAKES = 3
SHARES = (1.0, 0.5, 0.1)
"""Of the living latents, how many are erased, the most telling first."""
TARGET_LABEL = "digit"


class Way(NamedTuple):
    """One edit: its method, the share of the living latents (0 of what is none), how many latents or directions."""

    method: str
    share: float
    n: int
    edit: Edit
    fvu: float = float("nan")
    """Of the dictionary, on held-out speakers' frames."""


class Heard(NamedTuple):
    """Clips up to the layer that is edited."""

    waveforms: list[np.ndarray]
    states: np.ndarray
    """[clips, tokens, width]; on disk."""
    sound: np.ndarray
    """[clips, tokens] of bool."""


def erase_frames(options: argparse.Namespace) -> None:
    """Take out the digit at every frame of the last of the layers, turn by turn."""
    layer, seed = options.layers[-1], options.seeds[0]
    clips = pd.read_csv(options.digits).query(f"take < {TAKES}").reset_index(drop=True)
    encoder = oto.load_encoder(options.whisper, device="cpu")
    heard = listen(encoder, clips, layer, options)
    rows = Rows(options.out / "erasure_frames.csv")
    concepts = [turn_concepts(clips, turn) for turn in range(TURNS)]
    made = [ways(heard, own[TARGET_LABEL], layer, turn, seed, options) for turn, own in enumerate(concepts)]
    plain = None
    for each in zip(*made, strict=True):  # way by way, so that what is there is there of every turn
        for turn, way in enumerate(each):
            about = {"layer": layer, "turn": turn, "method": way.method, "share": float(way.share)}
            if rows.has(**about):
                continue
            if plain is None:
                plain = onwards(encoder, heard, layer, lambda state: state)
                check(encoder, heard, layer, way.edit)
            means = plain if way.method == UNTOUCHED else onwards(encoder, heard, layer, way.edit)
            found = judged(plain, means, concepts[turn])
            first = pd.DataFrame({**about, "n": way.n, "fvu": way.fvu}, index=found.index)
            rows.add(first.join(found))
            shown = found[found.tokens == "sound"].set_index(["label", "read_at", "probe"]).score.round(2)
            say(f"{about}: {shown[TARGET].to_dict()}")


def listen(encoder: Encoder, clips: pd.DataFrame, layer: int, options: argparse.Namespace) -> Heard:
    """Return the clips' states at a layer, from disk where they are there."""
    waveforms = [read_audio(path, sample_rate=encoder.sample_rate)[0] for path in clips.path]
    sound = np.stack([inside(encoder, len(waveform), layer) for waveform in waveforms])
    path = options.work / f"digits-layer_{layer:02d}.npy"
    if not path.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        states = np.lib.format.open_memmap(
            part, mode="w+", dtype=np.float32, shape=(*sound.shape, encoder.widths[layer])
        )
        for i, waveform in enumerate(waveforms):
            states[i] = encoder.hidden_states(waveform[None], [layer])[layer][0].numpy()
        states.flush()
        part.rename(path)
        say(f"{len(states)} clips heard up to layer {layer}, {sound.sum()} frames of sound")
    return Heard(waveforms, np.load(path, mmap_mode="r"), sound)


def onwards(
    encoder: Encoder, heard: Heard, layer: int, edit: Edit, *, batch_size: int = 8
) -> dict[tuple[int, str], np.ndarray]:
    """Edit each clip's tokens of sound, run the later blocks, and return means [clips, width] by layer and tokens."""
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    *middle, last = encoder.module.layers[layer:]
    for start in range(0, len(heard.states), batch_size):
        own = slice(start, start + batch_size)
        with torch.no_grad():
            pairs = zip(torch.from_numpy(np.array(heard.states[own])), heard.sound[own], strict=True)
            state = torch.cat([at(tokens, edit)(each[None]) for each, tokens in pairs])
            for read_at, block in enumerate([None, *middle], layer):
                state = state if block is None else block(state, None)
                for each, tokens in zip(state.numpy(), heard.sound[own], strict=True):
                    found.setdefault((read_at, "sound"), []).append(each[tokens].mean(0, dtype=np.float64))
                    found.setdefault((read_at, "padding"), []).append(each[~tokens].mean(0, dtype=np.float64))
            for each, tokens in zip(state, heard.sound[own], strict=True):
                mean = of_sound(last, each, torch.from_numpy(tokens)).double().numpy().mean(0)
                found.setdefault((layer + len(middle) + 1, "sound"), []).append(mean)
    return {key: np.stack(means) for key, means in found.items()}


def of_sound(block: torch.nn.Module, state: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Run a block of Whisper's encoder for some tokens [chosen, width]; they look at all. It is much faster."""
    attention, normed = block.self_attn, block.self_attn_layer_norm(state)
    heads = [
        project(rows).view(len(rows), attention.num_heads, -1).transpose(0, 1)
        for project, rows in (
            (attention.q_proj, normed[tokens]), (attention.k_proj, normed), (attention.v_proj, normed)
        )
    ]  # fmt: skip
    seen = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(0, 1).flatten(1)
    own = state[tokens] + attention.out_proj(seen)
    return own + block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(own))))


def check(encoder: Encoder, heard: Heard, layer: int, edit: Edit) -> None:
    """Raise unless going on from kept states gives what the whole model gives under the same edit."""
    last = layer + len(encoder.module.layers[layer:])
    first = Heard(heard.waveforms[:1], heard.states[:1], heard.sound[:1])
    states = States(last)
    states.prepare(encoder)
    (whole,) = answers(encoder, first.waveforms, states, {layer: edit})
    again = onwards(encoder, first, layer, edit)[last, "sound"][0]
    assert np.allclose(whole[first.sound[0]].mean(0), again, rtol=1e-3, atol=1e-3)
    say(
        f"kept states give what the whole model gives: {np.abs(whole[first.sound[0]].mean(0) - again).max():.1e} apart"
    )


def ways(
    heard: Heard, target: Concept, layer: int, turn: int, seed: int, options: argparse.Namespace
) -> list[Way]:
    """Return the edits, fitted on training speakers' frames."""
    clip = np.nonzero(heard.sound)[0]
    x = np.concatenate([state[tokens] for state, tokens in zip(heard.states, heard.sound, strict=True)])
    own = target.train[clip]
    labels = np.asarray(target.labels)
    sae = dictionaries(
        options.work / f"frames-digit-turn{turn}", lambda: x[own], layer, (HEADLINE,), 512, seed=seed
    )[HEADLINE]  # fmt: skip
    codes = codes_of(sae, x)
    mean, density = codes[own].mean(0), (codes[own] != 0).mean(0)
    alive = np.flatnonzero(density > 0)
    # As `otoscope erase` does on a store of frames: ranked by their means over clips.
    by_clip = np.stack([codes[clip == i].mean(0) for i in np.flatnonzero(target.train)])
    ranked = rank_latents(by_clip, labels[target.train])
    ranked = ranked[np.isin(ranked, alive)]

    n, fvu = len(np.unique(labels[target.train])) - 1, reconstruction_metrics(sae, x[~own]).fvu

    def off(method: str, share: float, latents: np.ndarray) -> Way:
        edit = through(sae, ablate(latents, to=mean[latents]))
        return Way(method, share, len(latents), edit, fvu)

    found = [
        Way(UNTOUCHED, 0, 0, lambda state: state),
        Way(LEACE, 0, n, leace(x[own], labels[clip[own]]).edit),
        Way(MEAN, 0, 0, replaced_by(x[own].mean(0))),
        Way(MEAN_PROJECTION, 0, n, mean_projection(x[own], labels[clip[own]]).edit),
        Way(RANDOM_DIRECTIONS, 0, n, random_projection(x[own], n, seed=turn).edit),
    ]
    for share in SHARES:
        chosen = ranked[: max(round(share * len(alive)), 1)]
        found.append(off(LATENTS, share, chosen))
        if share <= 0.5:
            drawn = matched_latents(density[alive], np.searchsorted(alive, chosen), seed=turn)
            found.append(off(RANDOM_LATENTS, share, alive[drawn]))
    return found


def judged(
    plain: Mapping[tuple[int, str], np.ndarray],
    edited: Mapping[tuple[int, str], np.ndarray],
    concepts: Mapping[str, Concept],
) -> pd.DataFrame:
    """Return what both probes read of each label, layer by layer; of padding what one reads that learns anew."""
    rows = []
    for (read_at, tokens), means in edited.items():
        before = plain[read_at, tokens]
        change = float(((means - before) ** 2).sum() / ((before - before.mean(0)) ** 2).sum())
        for name, concept in concepts.items():
            about = {"read_at": read_at, "tokens": tokens}
            label = {"label": TARGET if name == TARGET_LABEL else name, "held_out": concept.held_out}
            if tokens == "sound":
                x = np.where(concept.train[:, None], before, means)
                rows.append({**about, "probe": "untouched", **label, **concept.score(x), "change": change})
            elif name != TARGET_LABEL:
                continue
            rows.append({**about, "probe": "anew", **label, **concept.score(means), "change": change})
    return pd.DataFrame(rows)
