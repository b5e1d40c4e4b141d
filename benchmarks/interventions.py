"""What happens in Whisper tiny.en when a layer is replaced, a label erased, a transcript steered?

Run ``python benchmarks/interventions.py --whisper FOLDER --librispeech FOLDER --frames STORE --means STORE --clips
CSV``; killed, it goes on where it was, and tables grow as it goes. STORE of frames: LibriSpeech's 351 recordings by
``otoscope extract ... --pool frames --layers all``; of means: FSDD's takes 0 to 19 by ``--pool mean``, CSV its
clips with columns digit, speaker, index.

- ``splice``: layers 2 and 4, frame dictionaries of 251 speakers (train-clean-100), heard by ten others (test-other).
- ``erase``: layers 2 and 4, dictionaries of clip means (takes 0 to 9 and 15 to 19), probes scored on takes 10 to 14 of
  the same speakers: how well a take is told from other takes, not a speaker from others.
- ``steer``: layer 4, false words on noise before and after, and the words it changes on speech.

States before the edited layer are kept, so a pass costs what comes after it. Tokens past a clip's end (Whisper pads
to 30 s) are left alone: the dictionaries never saw them. For noise the clip is 10 s long.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import otoscope as oto
from otoscope.audio import read_audio
from otoscope.encoders import Encoder
from otoscope.interventions import (
    Concept,
    Words,
    along,
    answers,
    at,
    erasure_curve,
    leace,
    matched_latents,
    mean_difference,
    mean_projection,
    random_direction,
    random_projection,
    rank_latents,
    scale,
    scores,
    splice,
    steer,
    through,
)  # fmt: skip
from otoscope.interventions.respond import inside
from otoscope.saes import SparseAutoencoder, codes_of, make_config, train_saes

TEST_TAKES = range(10, 15)


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("whisper", "librispeech", "frames", "means", "clips"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    parser.add_argument(
        "--work", type=Path, default=Path("interventions-work"), help="Dictionaries are kept here."
    )
    parser.add_argument("--parts", nargs="+", default=["erase", "splice", "steer"])
    parser.add_argument("--speech", type=int, default=2, help="Clips of each of the ten speakers.")
    parser.add_argument("--noises", type=int, default=40)
    parser.add_argument("--rows", type=int, default=60_000, help="Frames that a dictionary learns from.")
    parser.add_argument("--epochs", type=int, default=2, help="Passes over them.")
    parser.add_argument("--seconds", type=float, default=8.0, help="Of speech, at most.")
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 2])
    parser.add_argument(
        "--ks", type=int, nargs="+", default=[51, 16], help="Active latents of a frame's code."
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        {"erase": erase, "splice": splice_layers, "steer": steer_noise}[part](options)


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
            own = own[own[name].astype(str) == str(value)] if len(own) else own
        return len(own) > 0

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows and write the file."""
        rows.to_csv(self.path, mode="a", header=not self.path.exists(), index=False, float_format="%.6g")
        self.table = pd.read_csv(self.path, keep_default_na=False)


def dictionary(
    options: argparse.Namespace,
    name: str,
    x: Callable[[], np.ndarray],
    layer: int,
    n_latents: int,
    k: int,
    **how,
) -> SparseAutoencoder:
    """Return a trained dictionary, from disk where it is there."""
    folder = options.work / name / f"layer_{layer:02d}" / f"topk-{n_latents}-{k}"
    if (folder / "config.json").exists():
        return SparseAutoencoder.from_pretrained(folder)
    start = time.perf_counter()
    config = make_config("topk", n_latents=n_latents, k=k)
    sae = train_saes({layer: x()}, [config], seeds=[0], device="cpu", progress=False, **how)[0]
    sae.save_pretrained(folder)
    say(f"{folder}: trained in {time.perf_counter() - start:.0f} s")
    return sae


# ------------------------------------------------------------------------------------------------ erase


def erase(options: argparse.Namespace) -> None:
    """Take out digit and keep speaker, and the reverse, at two layers."""
    store = oto.Activations.open(str(options.means))
    clips = pd.read_csv(options.clips).set_index("clip_id").loc[store.rows.clip_id].reset_index()
    split = np.where(clips["index"].isin(TEST_TAKES), "test", "train")
    take = "take " + clips["index"].astype(str)
    concepts = {
        n: Concept(clips[n].astype(str).to_numpy(), split, take.to_numpy()) for n in ("digit", "speaker")
    }
    train = split == "train"
    rows = Rows(options.out / "erasure.csv")
    for layer in options.layers:
        x = np.asarray(store.layer(layer), dtype=np.float32)
        sae = dictionary(options, "means", lambda x=x: x[train], layer, 512, 26, epochs=100, batch_size=32)
        codes = codes_of(sae, x)
        density, mean = (codes[train] > 0).mean(0), codes[train].mean(0)
        alive = np.flatnonzero(density > 0)
        for name, other in (("digit", "speaker"), ("speaker", "digit")):
            target, keep = concepts[name], {other: concepts[other]}
            ranked = rank_latents(codes[train], target.labels[train])
            ranked = ranked[np.isin(ranked, alive)]
            counts = sorted(
                {round(s * len(alive)) for s in (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1)}
            )
            about = {"layer": layer, "target": name}
            _linear(rows, x, train, target, keep, about)
            for n in counts:
                orders = {"latents": ranked}
                if 0 < 2 * n < len(alive):
                    place = {latent: i for i, latent in enumerate(alive)}
                    drawn = matched_latents(density[alive], [place[i] for i in ranked[:n]], seed=0)
                    orders["random latents"] = np.concatenate(
                        [alive[drawn], np.setdiff1d(alive, alive[drawn])]
                    )
                for method, order in orders.items():
                    if rows.has(**about, method=method, n=n):
                        continue
                    curve = erasure_curve(
                        x, codes, sae, target=target, keep=keep, order=order, counts=[n], to=mean
                    )
                    _add(rows, curve, about | {"method": method, "n": n, "of": len(alive)})


def _linear(rows: Rows, x: np.ndarray, train: np.ndarray, target: Concept, keep: dict, about: dict) -> None:
    """Erase by LEACE, by mean projection and by as many random directions."""
    labels = target.labels[train]
    rank = len(np.unique(labels)) - 1
    for method, fit in {
        "LEACE": lambda: leace(x[train], labels),
        "mean projection": lambda: mean_projection(x[train], labels),
        "random directions": lambda: random_projection(x[train], rank, seed=0),
    }.items():
        if rows.has(**about, method=method):
            continue
        edited = fit()(x)
        change = float(((edited - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
        curve = [
            {"label": label, **concept.score(edited), "change": change}
            for label, concept in {"target": target, **keep}.items()
        ]
        _add(rows, pd.DataFrame(curve), about | {"method": method, "n": rank, "of": rank})


def _add(rows: Rows, curve: pd.DataFrame, about: dict) -> None:
    table = curve.assign(**about)[
        ["layer", "target", "method", "n", "of", "label", "score", "low", "high", "chance", "change"]
    ]
    rows.add(table)
    say(table.iloc[0][["layer", "target", "method", "n", "score"]].to_dict())


# ------------------------------------------------------------------------------------------------ splice


class Ear:
    """Whisper and its words, with the states of a layer kept: what comes before it is computed once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.encoder: Encoder = oto.load_encoder(options.whisper, device="cpu")
        self.layers: list[int] = sorted(options.layers)
        self.words = Words(most=60)
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
        """Return the function from edits of one layer to transcripts, from that layer's states on."""

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


def speech(options: argparse.Namespace) -> tuple[list[np.ndarray], list[str]]:
    """Return clips of the ten speakers of test-other, cut short, and who speaks."""
    paths = sorted(options.librispeech.glob("*.flac"))
    who = pd.Series([path.name.split("-")[0] for path in paths])
    many = who.map(who.value_counts()) == 10
    frame = pd.DataFrame({"path": paths, "who": who})[many].groupby("who").head(options.speech)
    return [read_audio(path, sample_rate=16_000, stop_s=options.seconds)[0] for path in frame.path], list(
        frame.who
    )


def frames(options: argparse.Namespace, layer: int) -> np.ndarray:
    """Return frames of the 251 speakers of train-clean-100, evenly drawn, float32."""
    store = oto.Activations.open(str(options.frames))
    who = store.rows.clip_id.str.split("-").str[0]
    clips = store.rows.clip_id.groupby(who).transform("nunique")
    own = np.flatnonzero(clips == 1)
    chosen = np.sort(np.random.default_rng(0).choice(own, min(options.rows, len(own)), replace=False))
    return np.asarray(store.layer(layer)[:])[chosen].astype(np.float32)


def frame_dictionary(options: argparse.Namespace, layer: int, k: int) -> SparseAutoencoder:
    """Return a dictionary of 1,024 latents of frames."""
    return dictionary(
        options,
        "frames",
        lambda: frames(options, layer),
        layer,
        1024,
        k,
        epochs=options.epochs,
        batch_size=512,
    )


def splice_layers(options: argparse.Namespace) -> None:
    """Replace layers 4 and 2 by reconstructions, mean and zero; transcripts of ten speakers."""
    rows = Rows(options.out / "splice.csv")
    ear, (waveforms, who) = Ear(options), speech(options)
    plain, states = ear.listen(waveforms)
    say(f"{len(plain)} clips, such as: {plain[0].text}")
    check = answers(ear.encoder, waveforms[:1], ear.words)
    assert check[0].tokens == plain[0].tokens, "states kept and states anew must give one transcript"
    for layer in options.layers:
        if rows.has(layer=layer):
            continue
        saes = {f"topk-1024-k{k}": frame_dictionary(options, layer, k) for k in options.ks}
        mean = frames(options, layer).mean(0)
        untrained = make_untrained(next(iter(saes.values())))
        table = splice(
            ear.encoder, waveforms, ear.words, layer, saes | {f"untrained-1024-k{options.ks[0]}": untrained}, mean=mean,
            groups=who, plain=plain, answer=ear.again(waveforms, states, plain),
            on_done=lambda name, t: say(f"{name}: {t[['loss', 'kl', 'changed_words']].mean().round(3).to_dict()}"),
        )  # fmt: skip
        rows.add(table)


def make_untrained(sae: SparseAutoencoder) -> SparseAutoencoder:
    """Return a fresh dictionary of the same shape: what a reconstruction by k random directions keeps."""
    from otoscope.saes import build_sae

    fresh = build_sae(sae.config, sae.n_inputs, seed=1)
    fresh.layer = sae.layer
    return fresh.eval()


# ------------------------------------------------------------------------------------------------ steer


def noises(n: int, *, seed: int, duration_s: float = 10.0, sample_rate: int = 16_000) -> list[np.ndarray]:
    """Return made sounds without speech: near silence, white, pink and brown noise, hum, at random levels."""
    rng = np.random.default_rng(seed)
    size = round(duration_s * sample_rate)
    time_s = np.arange(size) / sample_rate
    made = []
    for i in range(n):
        level = 10 ** (rng.uniform(-50, -15) / 20)
        kind = i % 5
        if kind == 4:
            f0 = rng.uniform(45, 130)
            wave = sum(np.sin(2 * np.pi * f0 * h * time_s + rng.uniform(0, 6.28)) / h for h in range(1, 9))
        else:
            spectrum = np.fft.rfft(rng.standard_normal(size))
            tilt = np.maximum(np.arange(len(spectrum)), 1.0) ** -(0.0, 0.0, 0.5, 1.0)[kind]
            wave = np.fft.irfft(spectrum * tilt, size)
            level = 1e-4 if kind == 0 else level
        made.append((level * wave / wave.std()).clip(-1, 1).astype(np.float32))
    return made


def steer_noise(options: argparse.Namespace) -> None:
    """Push noise's own direction and latents at layer 4: are there fewer false words, and what does speech lose?"""
    layer = 4
    rows = Rows(options.out / "steering.csv")
    ear = Ear(options)
    sae = frame_dictionary(options, layer, 51)
    waveforms, who = speech(options)
    sets = {"speech": (waveforms, who)}
    sound = noises(options.noises, seed=1)
    sets["noise"] = (sound, [f"noise {i}" for i in range(len(sound))])
    other = noises(10, seed=2)  # latents are selected on these, and on frames of the 251 speakers
    with torch.no_grad():
        states = torch.cat(
            [ear.encoder.hidden_states(w[None], [layer])[layer][0, :500] for w in other]
        ).numpy()
    of_speech = frames(options, layer)[:20_000]
    x = np.concatenate([states, of_speech])
    is_noise = np.arange(len(x)) < len(states)
    codes = codes_of(sae, x)
    gap = codes[is_noise].mean(0) - codes[~is_noise].mean(0)
    density, best = (codes > 0).mean(0), np.argsort(-gap)[:20]
    speechy = np.argsort(gap)[:20]
    raw = mean_difference(x, is_noise)
    drawn = matched_latents(density, speechy, seed=0)
    by = {
        "20 latents of speech, scaled by 1 - dose": lambda d: through(sae, scale(speechy, 1 - d)),
        "20 random latents of equal frequency, scaled by 1 - dose": lambda d: through(
            sae, scale(drawn, 1 - d)
        ),
        "20 latents of noise, scaled by 1 + dose": lambda d: through(sae, scale(best, 1 + d)),
        "noise minus speech, raw": lambda d: along(raw, d),
        "random direction of equal norm": lambda d: along(random_direction(raw, seed=0), d),
    }
    kept = {}
    for name, (own, sides) in sets.items():
        plain, states_of = ear.listen(own)
        kept[name] = (own, sides, plain, states_of)
        say(f"{name}: false words {scores(ear.words, plain, plain).false_words.mean():.3f}")
    for dose in (0.0, 1.0, 0.5):
        for name, edit_of in by.items():
            for clips, (own, sides, plain, states_of) in kept.items():
                if rows.has(clips=clips, by=name, dose=dose):
                    continue
                table = steer(
                    ear.encoder, own, ear.words, layer, {name: edit_of}, [dose], groups=sides, plain=plain,
                    answer=ear.again(own, states_of, plain),
                )  # fmt: skip
                rows.add(table.assign(clips=clips))
                say(f"{clips} {name} {dose}: {table.set_index('measure').value.round(3).to_dict()}")


if __name__ == "__main__":
    main()
