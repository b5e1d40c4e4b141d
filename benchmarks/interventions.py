"""What happens in Whisper tiny.en when a layer is replaced, a label erased, a transcript steered?

Run ``python benchmarks/interventions.py --whisper FOLDER --frames STORE --speech CSV --means STORE --digits CSV``;
killed, it goes on where it was, and tables grow as it goes. STORE of frames: LibriSpeech's 351 recordings by ``otoscope
extract ... --pool frames --layers all``, CSV its clips with a column speaker; of means: FSDD's takes 0 to 19 by
``--pool mean``, CSV its clips with columns digit, speaker.

- ``erase``: layers 2 and 4. Digit: two of six speakers are held out, a pair in each of three turns, and each turn has
  dictionaries of every seed; speaker: every fourth take of each, the same ones whatever the seed (the turn, seed by
  seed, is of the pair on which the digit is judged that is to stay). Dictionaries of clip means, latents, LEACE and
  probes see the training side alone.
- ``erase-frames``: the digit at every frame of the last of the layers, read there and in later ones
  (``interventions_frames.py``).
- ``splice``: frame dictionaries of the training side's speakers, heard on clips of others, one a speaker.
- ``splice-digits``: spoken digits against their names (``interventions_digits.py``).
- ``steer``: words heard where nobody speaks, before and after, and what it changes on speech.

States before the edited layer are kept, so a pass costs what comes after it. Tokens past a clip's end (Whisper pads
to 30 s) are left alone: the dictionaries never saw them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import otoscope as oto
from otoscope.audio import read_audio
from otoscope.encoders import Encoder
from otoscope.interventions import Concept, Words, answers, at, erase, splice
from otoscope.interventions.respond import inside
from otoscope.saes import (
    SparseAutoencoder,
    build_sae,
    codes_of,
    make_configs,
    reconstruction_metrics,
    train_saes,
)
from otoscope.saes.nulls import fit_pca

PARTS = ("erase", "erase-frames", "splice", "splice-digits", "steer")
HEADLINE = 0.95
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Of the living latents, how many are erased."""
TURNS = 3
"""Pairs of the six speakers, held out one after the other."""


def main() -> None:
    """Measure what is not there yet."""
    from interventions_digits import splice_digits
    from interventions_frames import erase_frames
    from interventions_steering import steer_noise

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("whisper", "frames", "speech", "means", "digits"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("interventions-work"),
        help="Dictionaries and answers are kept here.",
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.add_argument("--voices", type=int, default=60, help="Speakers that are heard.")
    parser.add_argument("--seconds", type=float, default=6.0, help="Of speech, at most.")
    parser.add_argument("--noises", type=int, default=300)
    parser.add_argument("--doses", type=float, nargs="+", default=[1.0, 2.0, 0.5])
    parser.add_argument("--rows", type=int, default=80_000, help="Frames that a dictionary learns from.")
    parser.add_argument("--epochs", type=int, default=6, help="Passes over them.")
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 2], help="Steering takes the first.")
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.75, 0.95, 0.99], help="Of frames.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Of dictionaries and nulls.")
    parser.add_argument("--targets", nargs="+", default=["digit", "speaker"], help="What is erased.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        make = {
            "erase": erase_labels,
            "erase-frames": erase_frames,
            "splice": splice_layers,
            "splice-digits": splice_digits,
            "steer": steer_noise,
        }
        make[part](options)


def say(text: str) -> None:
    """Print with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Rows:
    """A table that grows on disk, and knows which of its conditions are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = pd.read_csv(path, keep_default_na=False) if path.exists() else pd.DataFrame()

    def has(self, **key: Any) -> bool:
        """Whether a row has these values."""
        own = self.table
        for name, value in key.items():
            if len(own):
                same = (
                    own[name].astype(float) == value
                    if isinstance(value, float)
                    else own[name].astype(str) == str(value)
                )
                own = own[same]
        return len(own) > 0

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows and write the file."""
        rows.to_csv(self.path, mode="a", header=not self.path.exists(), index=False, float_format="%.6g")
        self.table = pd.read_csv(self.path, keep_default_na=False)


def dictionaries(
    folder: Path,
    x: Callable[[], np.ndarray],
    layer: int,
    sparsities: Sequence[float],
    n_latents: int,
    **how,
) -> dict[float, SparseAutoencoder]:
    """Return trained dictionaries of a layer by their sparsity, from disk where they are there."""
    seed = how.pop("seed", 0)
    configs = make_configs("topk", list(sparsities), n_latents=n_latents)
    places = [folder / f"layer_{layer:02d}" / f"{config.name}-seed{seed}" for config in configs]
    if not all((place / "config.json").exists() for place in places):
        start = time.perf_counter()
        found = train_saes({layer: x()}, configs, seeds=[seed], device="cpu", progress=False, **how)
        for sae, place in zip(found, places, strict=True):
            sae.save_pretrained(place)
        say(f"{places[0].parent}: {len(found)} trained in {time.perf_counter() - start:.0f} s")
    return {s: SparseAutoencoder.from_pretrained(place) for s, place in zip(sparsities, places)}


# ------------------------------------------------------------------------------------------------ erase


def erase_labels(options: argparse.Namespace) -> None:
    """Take out digit and keep speaker, and the reverse, at two layers."""
    store = oto.Activations.open(str(options.means))
    clips = pd.read_csv(options.digits).set_index("clip_id").loc[store.rows.clip_id].reset_index()
    rows = Rows(options.out / "erasure.csv")
    for name, turn, seed in erasures(options):
        concepts = turn_concepts(clips, turn)
        target = concepts.pop(name)
        # The rows that train the speaker's dictionary are the same in every turn, and so is the dictionary.
        folder = options.work / (f"means-digit-turn{turn}" if name == "digit" else "means-speaker")
        for layer in options.layers:
            x = np.asarray(store.layer(layer), dtype=np.float32)
            sae = dictionaries(
                folder, lambda x=x, t=target: x[t.train], layer, (HEADLINE,), 512, seed=seed
            )[HEADLINE]  # fmt: skip
            about = {"layer": layer, "turn": turn, "seed": seed, "target": name}

            def add(found: pd.DataFrame, about: dict = about) -> None:
                rows.add(pd.DataFrame(about, index=found.index).join(found))
                first = found.iloc[0]
                say(f"{about} {first.method} {first.n}: {found.set_index('label').score.round(3).to_dict()}")

            erase(
                x, codes_of(sae, x), sae, target=target, keep=concepts, seed=seed, shares=SHARES, on_rows=add,
                done=lambda method, n, about=about: rows.has(**about, method=method, n=n),
            )  # fmt: skip


def erasures(options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Yield target, turn and seed: of the digit every turn with every seed, of the speaker a turn a seed."""
    for seed in options.seeds:
        for name in options.targets:
            for turn in range(TURNS) if name == "digit" else [seed % TURNS]:
                yield name, turn, seed


def turn_concepts(clips: pd.DataFrame, turn: int) -> dict[str, Concept]:
    """Return digit and speaker, the digit judged on the turn's pair of speakers."""
    held_out = sorted(clips.speaker.unique())[2 * turn :][:2]
    table = clips.assign(split=np.where(clips.speaker.isin(held_out), "test", "train"), group=clips.speaker)
    return {name: Concept.of(table, name) for name in ("digit", "speaker")}


# ------------------------------------------------------------------------------------------------ splice


class Ear:
    """Whisper and its words, with the states of a layer kept: what comes before it is computed once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.encoder: Encoder = oto.load_encoder(options.whisper, device="cpu")
        self.layers: list[int] = sorted(options.layers)
        self.words = Words(most=40)
        self.words.prepare(self.encoder)

    def listen(self, waveforms: list[np.ndarray]) -> tuple[list[Any], dict[int, list[torch.Tensor]]]:
        """Return the untouched transcripts, and the states of the layers."""
        plain, states = [], {layer: [] for layer in self.layers}
        for waveform in waveforms:
            found = self.encoder.hidden_states(waveform[None], [*self.layers, "final"])
            plain += self.words.hear(found["final"])
            for layer in self.layers:
                states[layer].append(found[layer])
        return plain, states

    def again(self, waveforms: list[np.ndarray], states: dict[int, list[torch.Tensor]], plain: list[Any]):
        """Return the function from edits of one layer to transcripts, from that layer's states on.

        Where `plain` has None, an answer has no loss.
        """

        def answer(edits: dict) -> list[Any]:
            ((layer, edit),) = edits.items()
            found = []
            for waveform, state, own in zip(waveforms, states[layer], plain):
                with torch.no_grad():
                    tokens = inside(self.encoder, len(waveform), layer)
                    new = at(tokens, edit)(state)
                    for block in self.encoder.module.layers[layer:]:
                        out = block(new, None)
                        new = out[0] if isinstance(out, tuple) else out
                    found += self.words.hear(self.encoder.module.layer_norm(new), [own])
            return found

        return answer


def voices(options: argparse.Namespace) -> pd.DataFrame:
    """Return LibriSpeech's clips with a split by speaker."""
    return oto.load_clips(str(options.speech), group="speaker")


def speech(options: argparse.Namespace) -> tuple[list[np.ndarray], list[str]]:
    """Return clips of speakers that no dictionary has heard, one each, cut short, and who speaks."""
    table = voices(options).query("split == 'test'").groupby("group").head(1).head(options.voices)
    sound = [read_audio(path, sample_rate=16_000, stop_s=options.seconds)[0] for path in table.path]
    return sound, list(table.group)


def frames(options: argparse.Namespace, layer: int, *, of: str = "train", most: int = 0) -> np.ndarray:
    """Return frames of a side's speakers, evenly drawn, float32."""
    store = oto.Activations.open(str(options.frames))
    split = voices(options).set_index("clip_id").split
    own = np.flatnonzero(store.rows.clip_id.map(split) == of)
    chosen = np.sort(np.random.default_rng(0).choice(own, min(most or options.rows, len(own)), replace=False))
    return np.asarray(store.layer(layer)[:])[chosen].astype(np.float32)


def frame_dictionaries(options: argparse.Namespace, layer: int, *, seed: int = 0) -> list[SparseAutoencoder]:
    """Return dictionaries of 1,024 latents of frames, one a sparsity."""
    found = dictionaries(
        options.work / "frames", lambda: frames(options, layer), layer, options.sparsities, 1024,
        epochs=options.epochs, batch_size=256, seed=seed,
    )  # fmt: skip
    return list(found.values())


def splice_layers(options: argparse.Namespace) -> None:
    """Replace layers by reconstructions, mean and zero; transcripts of unheard speakers."""
    rows = Rows(options.out / "splice.csv")
    quality = Rows(options.out / "dictionaries.csv")
    ear, (waveforms, who) = Ear(options), speech(options)
    plain, states = ear.listen(waveforms)
    say(f"{len(plain)} clips, such as: {plain[0].text}")
    check = answers(ear.encoder, waveforms[:1], ear.words)
    assert check[0].tokens == plain[0].tokens, "states kept and states anew must give one transcript"
    for layer in options.layers:
        learnt = [sae for seed in options.seeds for sae in frame_dictionaries(options, layer, seed=seed)]
        learnt = [sae for sae in learnt if not rows.has(layer=layer, sae=sae.name)]
        if not learnt:
            continue
        held_out = frames(options, layer, of="test", most=10_000)
        for sae in learnt:
            fit = reconstruction_metrics(sae, held_out)
            measured = {"layer": layer, "sae": sae.config.name, "sparsity": sae.config.sparsity}
            measured |= {"k": sae.config.active, "seed": sae.seed}
            how = {name: sae.about["training"][name] for name in ("rows", "epochs", "batch_size")}
            measured |= {"fvu": fit.fvu, "dead_fraction": fit.dead_fraction, **how}
            quality.add(pd.DataFrame([measured]))
        saes = {sae.name: sae for sae in learnt}
        further = rows.has(layer=layer)  # the layer's own rows are there
        if not further:
            middle = headline(learnt)
            saes[f"untrained {middle.config.name}"] = make_untrained(middle)
        table = splice(
            ear.encoder, waveforms, ear.words, layer, saes, pca=fit_pca(frames(options, layer)), groups=who,
            plain=plain, answer=ear.again(waveforms, states, plain),
            on_done=lambda name, t: say(f"{name}: {t[['loss', 'kl', 'changed_words']].mean().round(3).to_dict()}"),
        )  # fmt: skip
        rows.add(table[table.sae != ""] if further else table)


def headline(saes: Sequence[SparseAutoencoder]) -> SparseAutoencoder:
    """Return the first of the dictionaries whose sparsity is nearest to the usual one."""
    return min(saes, key=lambda sae: abs(sae.config.sparsity - HEADLINE))


def make_untrained(sae: SparseAutoencoder) -> SparseAutoencoder:
    """Return a fresh dictionary of the same shape: what a reconstruction by k random directions keeps."""
    fresh = build_sae(sae.config, sae.n_inputs, seed=1)
    fresh.layer = sae.layer
    return fresh.eval()


if __name__ == "__main__":
    main()
