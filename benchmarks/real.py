"""What does a sparse autoencoder buy on Whisper tiny.en? Dictionaries and probes beside everything they should beat.

Run ``python benchmarks/real.py --whisper FOLDER --fsdd FOLDER --librispeech FOLDER``; killed, it goes on where it was.
Rows: FSDD, 1,200 clips (takes 0 to 19 of every digit and speaker), one mean row a clip; LibriSpeech, 351 recordings,
one mean row a second. Questions, each with folds of which dictionary, normaliser and components learn from the
training side alone:

- digit, over unseen speakers: three folds of two of FSDD's six speakers;
- speaker, over held-out recordings: FSDD's takes 0 to 4 (its own convention);
- ten speakers (LibriSpeech test-other), five folds over recordings; dictionaries learn from the 251 other speakers.

Tables in ``benchmarks/real/``: ``probes.csv``, clips that each representation gets right, by unit (the speakers that
are unseen, or the takes that are held out: what an interval is over); ``dictionaries.csv``, a row of health per
dictionary; ``stability.csv``, between seeds. Every layer has all nulls, the last one all kinds for the digits.
``real_page.py`` makes the page's tables and figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import otoscope as oto
from otoscope.cli.tables import read_clips
from otoscope.probing import probe
from otoscope.saes import SparseAutoencoder, build_sae, health, make_config, stability, train_saes
from otoscope.saes.nulls import fit_ica, fit_pca, permuted, random_topk
from otoscope.saes.training.options import AS_PUBLISHED

N_LATENTS, SPARSITY, CHOSEN = 1024, 0.95, "topk"
K = make_config("topk", n_latents=N_LATENTS, sparsity=SPARSITY).active
KINDS = ("topk-gao", "batch-topk", "jumprelu", "matryoshka")
"""Beside the chosen one."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
N_ICA = 100


@dataclass(frozen=True)
class Fold:
    """What dictionaries learn from, and the probes of which they are then part."""

    learns: np.ndarray
    """[rows] of bool"""
    probes: list[tuple[np.ndarray, np.ndarray]]
    """Of each: clips that it learns from, clips that it is scored on, [clips] of bool."""


@dataclass(frozen=True)
class Question:
    """What is asked of which rows."""

    name: str
    label: str
    folds: list[Fold]
    groups: str
    """Column that keeps the folds of the penalty's choice apart."""
    unit: str
    """Column of what is new in the scored clips: an interval is over its values."""


@dataclass(frozen=True)
class Set:
    """Rows of a store and the clips they are of."""

    name: str
    clips: pd.DataFrame
    clip: np.ndarray
    """[rows]: the row's place in `clips`; the rows of a clip lie together."""
    layers: dict[int, np.ndarray]
    questions: list[Question]


def main() -> None:
    """Extract, train and measure what is not there yet: the last layer, then the others, then the other kinds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("whisper", "fsdd", "librispeech"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    parser.add_argument("--stores", type=Path, default=Path("real-stores"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--questions", nargs="+", default=list(QUESTIONS))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    last, *others = sorted(asked.layers, reverse=True)
    found = [
        (rows, question)
        for rows in (make(asked) for make, names in SETS.items() if set(names) & set(asked.questions))
        for question in rows.questions
        if question.name in asked.questions
    ]
    for layers, parts in (([last], ("core", "nulls")), (others, ("core", "nulls")), ([last], ("kinds",))):
        for rows, question in found:
            for layer in layers if question.name == "digit" or parts != ("kinds",) else ():
                for fold in range(len(question.folds)):
                    study(rows, question, fold, layer, parts, asked)


def study(
    rows: Set, question: Question, fold: int, layer: int, parts: tuple[str, ...], asked: argparse.Namespace
) -> None:
    """Train all dictionaries of one fold and layer, and write their rows, unless they are written."""
    where = {"set": rows.name, "question": question.name, "fold": fold, "layer": layer}
    learns = question.folds[fold].learns
    scored = np.any([scored for _, scored in question.folds[fold].probes], axis=0)
    x = rows.layers[layer]
    train, held_out = x[learns], x[scored[rows.clip] & ~learns]  # no dictionary learns from the latter
    done = read(asked.out / "probes.csv")
    for name, make in representations(train, asked.seeds, asked.epochs, parts):
        this = {**where, "representation": name}
        if len(done) and (done[list(this)] == pd.Series(this)).all(axis=1).any():
            continue
        started = time.process_time()
        made = make()
        found = pd.concat(
            correct(rows, question, fold, encode(x)).assign(**this, seed=seed)
            for seed, encode in made.codes.items()
        )
        if made.saes:
            write_dictionaries(made.saes, train, held_out, this, asked.out)
        cpu_s = time.process_time() - started
        columns = [*this, "seed", "width", "unit", "n", "correct"]
        add(asked.out / "probes.csv", found[columns].assign(cpu_s=round(cpu_s, 1)).to_dict("records"))
        accuracy = found.groupby("seed")["correct"].sum() / found.groupby("seed")["n"].sum()
        said = ", ".join(f"{value:.3f}" for value in accuracy)
        print(*this.values(), said, f"{cpu_s:.0f} s of a core", file=sys.stderr, flush=True)


def correct(rows: Set, question: Question, fold: int, codes: np.ndarray) -> pd.DataFrame:
    """Return ``width, unit, n, correct``: how many clips of each unit the fold's probes get right."""
    codes = mean_over_clips(codes, rows.clip)
    parts = []
    for fit, scored in question.folds[fold].probes:
        split = np.where(fit, "train", np.where(scored, "test", ""))
        kept = split != ""
        found = probe(
            codes[kept], rows.clips[question.label][kept], split=split[kept],
            groups=rows.clips[question.groups][kept], strengths=STRENGTHS,
        )  # fmt: skip
        units = rows.clips[question.unit].to_numpy()[scored]
        parts.append(pd.DataFrame({"unit": units, "correct": found.correct.astype(int)}))
    table = pd.concat(parts).groupby("unit")["correct"].agg(n="size", correct="sum").reset_index()
    return table.assign(width=codes.shape[1])


@dataclass(frozen=True)
class Made:
    """Ways to encode rows, by seed, and the autoencoders behind them, if there are any."""

    codes: dict[int, Callable[[np.ndarray], np.ndarray]]
    saes: tuple[SparseAutoencoder, ...] = ()


def representations(
    train: np.ndarray, n_seeds: int, epochs: int, parts: tuple[str, ...]
) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Yield what is compared: a name, and a function that makes it from the training rows."""
    seeds = list(range(n_seeds))

    def trained(kind: str = CHOSEN, rows: np.ndarray = train, **changes: object) -> Callable[[], Made]:
        options = {} if kind == "jumprelu" else {"sparsity": SPARSITY}
        valid = np.arange(len(rows)) % 10 == 9

        def make() -> Made:
            saes = train_saes(
                {0: rows}, make_config(kind, n_latents=N_LATENTS, **options), rows=~valid, validation_rows=valid,
                seeds=seeds, epochs=epochs, progress=False, **changes,
            )  # fmt: skip
            return Made({sae.seed: encoder(sae) for sae in saes}, tuple(saes))

        return make

    def untrained() -> Made:
        saes = [
            build_sae(make_config(CHOSEN, n_latents=N_LATENTS, sparsity=SPARSITY), train.shape[1], seed=s)
            for s in seeds
        ]
        mean, scale = train.mean(0), train.std(0)
        return Made({sae.seed: lambda x, sae=sae: encoder(sae)((x - mean) / scale) for sae in saes})

    def projected(seed: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: random_topk(x, N_LATENTS, K, mean=train.mean(0), scale=train.std(0), seed=seed)

    if "core" in parts:
        yield "dense", lambda: Made({0: lambda x: x})
        yield CHOSEN, trained()
        yield f"{CHOSEN}, published training", trained(**AS_PUBLISHED)
    if "nulls" in parts:
        yield f"pca {K}", lambda: Made({0: lambda x: fit_pca(train).codes(x)[:, :K]})
        yield f"ica {N_ICA}", lambda: Made({0: fit_ica(train, N_ICA).codes})  # seeds agree to three digits
        yield "random projection, top k", lambda: Made({seed: projected(seed) for seed in seeds})
        yield "untrained", untrained
        yield "frozen encoder", trained(frozen="encoder")
        yield "frozen decoder", trained(frozen="decoder")
        yield "permuted", trained(rows=permuted(train, seed=0))
    if "kinds" in parts:
        for kind in KINDS:
            yield kind, trained(kind)


def write_dictionaries(
    saes: tuple[SparseAutoencoder, ...], train: np.ndarray, held_out: np.ndarray, where: dict, out: Path
) -> None:
    """Add rows of health and stability; the rows named here are real ones for all, permuted ones too."""
    pca = fit_pca(train)
    add(
        out / "dictionaries.csv",
        [{**where, "seed": s.seed, **vars(health(s, train, held_out, pca=pca))} for s in saes],
    )
    if len(saes) > 1:
        alive = [(encoder(sae)(train) > 0).any(0) for sae in saes]
        if all(mask.any() for mask in alive):
            found = stability(saes, alive=alive, scale=train.std(0))
            add(out / "stability.csv", [{**where, **row} for row in found.pairs.to_dict("records")])


def encoder(sae: SparseAutoencoder) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from rows to codes."""

    def encode(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return sae.eval().encode(torch.as_tensor(np.asarray(x, dtype=np.float32))).numpy()

    return encode


def fsdd(asked: argparse.Namespace) -> Set:
    """Return FSDD's 1,200 clips, one mean row each, with its two questions."""
    rows = [
        {
            "clip_id": path.stem,
            "path": str(path),
            **dict(zip(("digit", "speaker", "take"), path.stem.split("_"))),
        }
        for path in sorted(asked.fsdd.rglob("*.wav"))
        if int(path.stem.split("_")[2]) < 20
    ]
    clips = pd.DataFrame(rows).assign(group=lambda table: table["speaker"])
    clips["digit"] = "d" + clips["digit"]  # a class, not a number
    clips = table_of(clips, asked.stores / "fsdd.csv")
    store = oto.extract(
        clips, oto.load_encoder(asked.whisper, precision="auto"), pool="mean", out=asked.stores / "fsdd"
    )
    clips = store.rows[["clip_id"]].merge(clips, on="clip_id")
    speakers = sorted(clips["speaker"].unique())
    unseen = [clips["speaker"].isin(speakers[first::3]).to_numpy() for first in range(3)]
    late = (clips["take"].astype(int) >= 5).to_numpy()
    questions = [
        Question("digit", "digit", [Fold(~test, [(~test, test)]) for test in unseen], "speaker", "speaker"),
        Question("speaker", "speaker", [Fold(late, [(late, ~late)])], "take", "take"),
    ]
    return Set("FSDD", clips, np.arange(len(clips)), layers_of(store, asked.layers), questions)


def librispeech(asked: argparse.Namespace) -> Set:
    """Return LibriSpeech, a mean row per second, with the ten speakers that have several recordings."""
    rows = [
        {"clip_id": path.stem, "path": str(path), "speaker": f"s{path.stem.split('-')[0]}"}
        for path in sorted(asked.librispeech.glob("*.flac"))
    ]
    clips = pd.DataFrame(rows).assign(group=lambda table: table["speaker"])
    clips = table_of(clips, asked.stores / "librispeech.csv")
    store = oto.extract(
        clips,
        oto.load_encoder(asked.whisper, precision="auto"),
        pool="frames",
        dtype="float16",
        out=asked.stores / "librispeech",
    )
    second = store.rows["start_s"].clip(lower=0).astype(int)
    starts = np.flatnonzero(
        np.r_[True, (second.diff() != 0)[1:] | (store.rows["clip_id"] != store.rows["clip_id"].shift())[1:]]
    )
    counts = np.diff(np.r_[starts, len(second)])[:, None]
    layers = {
        layer: (np.add.reduceat(x.astype(np.float64), starts) / counts).astype(np.float32)
        for layer, x in layers_of(store, asked.layers).items()
    }
    of_row = store.rows["clip_id"].to_numpy()[starts]
    clips = pd.DataFrame({"clip_id": pd.unique(of_row)}).merge(clips, on="clip_id")
    clip = pd.Index(clips["clip_id"]).get_indexer(of_row)
    clips["recording"] = clips.groupby("speaker").cumcount()
    ten = clips.groupby("speaker")["clip_id"].transform("size").to_numpy() > 1
    held = [(clips["recording"] % 5 == fold).to_numpy() for fold in range(5)]
    folds = [Fold(~ten[clip], [(ten & ~part, ten & part) for part in held])]
    question = Question("ten speakers", "speaker", folds, "recording", "recording")
    return Set("LibriSpeech", clips, clip, layers, [question])


SETS = {fsdd: ("digit", "speaker"), librispeech: ("ten speakers",)}
QUESTIONS = [name for names in SETS.values() for name in names]


def table_of(clips: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a clips table, whole recordings, as the command line reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clips.to_csv(path, index=False)
    return read_clips(str(path))


def layers_of(store: oto.Activations, layers: list[int]) -> dict[int, np.ndarray]:
    """Return layers of a store as float32."""
    return {layer: np.asarray(store.layer(layer), dtype=np.float32) for layer in layers}


def mean_over_clips(codes: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Return the mean of each clip's rows, which lie together."""
    starts = np.unique(clip, return_index=True)[1]
    return np.add.reduceat(codes, starts) / np.bincount(clip)[:, None]


def read(path: Path) -> pd.DataFrame:
    """Return a table, empty where there is none yet."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def add(path: Path, rows: list[dict]) -> None:
    """Append rows to a table."""
    pd.concat([read(path), pd.DataFrame(rows)]).to_csv(path, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
