"""Frames: the SAE of the mean or the mean of the SAE? And does any single latent say more than a single dimension?

Run ``python benchmarks/real_frames.py --whisper FOLDER --fsdd FOLDER --librispeech FOLDER``; killed, it goes on where
it was. Rows are the 20 ms frames of Whisper tiny.en: LibriSpeech, four stretches of 1 s of each of 251 training
speakers (about 49,000 frames), and ten other speakers (test-other) to judge on; FSDD, takes 0 to 19, three folds of two
of its six speakers. Dictionaries learn from the training speakers' frames, or (``rows`` clips) from means: of a second
(LibriSpeech) or a clip (FSDD).

FSDD is looked at once, at layer 3, after LibriSpeech. What has to be so again there, written down before its frames
were made: (1) the mean of the SAE tells more digits of unseen speakers right than the SAE of the mean; (2) no trained
dictionary tells more than the dense mean does, or more than untrained latents; (3) the best latent of kind matryoshka,
which had the highest mean area and the purest units on LibriSpeech, has on the mean over concepts a lower area than the
best dense dimension, and a higher one than untrained latents; (4) of precision where the purest unit is chosen,
matryoshka's mean is within .1 of dense dimensions' or above it; (5) onsets are purer in it than in dense dimensions.
Words are concepts here: the frames of a digit that is said, of those that are not quiet.

Tables in ``benchmarks/real/``:

- ``frames_probes.csv``: clips told right, by what is new in them, for each representation and way to make a clip's
  code (ten speakers over five folds of recordings; digits over unseen speakers);
- ``frames_units.csv``: the best units of each acoustic concept, chosen on training speakers and judged on others, and
  ``frames_units_speakers.csv``, the area under the curve within each of these others;
- ``frames_dictionaries.csv``: health of each dictionary on frames, and how steady its codes are in time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from real import Fold, add, encoder, mean_over_clips, read, table_of

import otoscope as oto
from otoscope.audio import read_audio
from otoscope.factors import moment_factors
from otoscope.probing import area_under_curve, probe, single_units
from otoscope.saes import (
    SAES,
    SparseAutoencoder,
    coherence,
    health,
    make_config,
    pooled_codes,
    reconstruction_metrics,
    train_saes,
)
from otoscope.saes.config import SAEConfig
from otoscope.saes.nulls import fit_ica, fit_pca, permuted, random_topk, untrained

N_LATENTS, K, N_ICA, KIND = 1024, 32, 100, "topk"
OTHER_KINDS = ("batch-topk", "matryoshka", "temporal")
FEWER_LATENTS = 256
"""With k as it is: a dictionary of few, broad latents."""
MORE = 40
"""For k of kind temporal to have topk's error: its latents must also reconstruct by a fifth of them."""
CONTRASTS: dict[str, dict] = {
    "no contrast": {"contrast": 0.0},
    "contrast 0.1": {},
    "contrast 1, temperature 0.1": {"contrast": 1.0, "temperature": 0.1},
}
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
STRETCHES, STRETCH = 4, 50
"""Of each training recording of LibriSpeech: stretches of 50 frames, 1 s, from anywhere in it. Whisper's frames know
where they are, and a dictionary of recordings' beginnings fails on what comes later (`real_places.py`)."""
LONGER = 40
"""Epochs in which an error settles; the others have what is asked for, 10 unless it is said."""
UNIT_ROWS = 10_000
"""Frames that units are chosen on, and as many to judge on, drawn at random."""
BLOCK = 4096


@dataclass(frozen=True)
class Set:
    """Frames of a data set: what they are of, and what is asked of them."""

    name: str
    clips: pd.DataFrame
    clip: np.ndarray
    """[frames]: the frame's place in `clips`."""
    mean_of: np.ndarray
    """[frames]: which mean row it goes into."""
    used: np.ndarray
    """[frames] of bool: whether a dictionary may learn from it."""
    stretch: np.ndarray
    """[frames]: which stretch it is of; frames of one follow one another."""
    layers: dict[int, np.ndarray]
    concepts: pd.DataFrame
    label: str
    unit: str
    groups: str
    folds: list[Fold]
    """`learns`: [clips] of bool."""


@dataclass(frozen=True)
class Made:
    """A way to encode rows; whether it goes into the probes, the units, or both; the autoencoder, if it is one."""

    encode: Callable[[np.ndarray], np.ndarray]
    sae: SparseAutoencoder | None = None
    rows: str = "frames"
    into: tuple[str, ...] = ("probes", "units")


def main() -> None:
    """Make what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("whisper", "fsdd", "librispeech"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("real"))
    parser.add_argument("--stores", type=Path, default=Path("real-stores"))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="Of what is drawn or starts at random.")
    parser.add_argument("--folds", type=int, nargs="+", help="Default: all.")
    parser.add_argument("--only", nargs="+", help="Representations; default: all.")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.sets:
        rows = SETS[name](asked)
        for layer in asked.layers:
            for fold in asked.folds or range(len(rows.folds)):
                study(rows, fold, layer, asked)


def study(rows: Set, fold: int, layer: int, asked: argparse.Namespace) -> None:
    """Make every representation of one fold and layer that has no row yet, and write its rows."""
    learns = rows.folds[fold].learns[rows.clip]
    x = rows.layers[layer]
    done = read(asked.out / "frames_done.csv")
    scored = np.any([test for _, test in rows.folds[fold].probes], axis=0)[rows.clip]
    train, held_out = x[learns & rows.used].astype(np.float32), x[scored].astype(np.float32)
    means = means_of(x, rows.mean_of, learns)
    follows = rows.clip[:-1] == rows.clip[1:]
    places = rows.clip[learns & rows.used], rows.stretch[learns & rows.used]
    for name, seed, make in representations(train, means, *places, rows.name, asked):
        where = {"set": rows.name, "layer": layer, "fold": fold, "representation": name, "seed": seed}
        if is_in(done, where):
            continue
        started = time.process_time()
        made = make(seed)
        if "probes" in made.into:
            write_probes(rows, fold, x, made.encode, made.rows, where, asked.out)
        if "units" in made.into:
            write_units(rows, learns & rows.used, scored, x, made.encode, where, asked.out)
        if made.sae:
            made.sae.save_pretrained(kept_at(*where.values(), asked))
            one = np.flatnonzero(scored)[:20_000]
            codes = made.encode(x[one])
            steady = coherence(codes, np.r_[follows, False][one])
            first = coherence(codes[:, : N_LATENTS // 5], np.r_[follows, False][one])
            checked = vars(health(made.sae, train, held_out)) | vars(steady)
            checked |= {"cosine_of_first": first.cosine}
            fvu = reconstruction_metrics(made.sae, train).fvu
            add(asked.out / "frames_dictionaries.csv", [where | {"train_fvu": fvu} | checked])
        cpu_s = round(time.process_time() - started, 1)
        add(asked.out / "frames_done.csv", [where | {"cpu_s": cpu_s}])
        print(*where.values(), f"{cpu_s} s", file=sys.stderr, flush=True)


def is_in(done: pd.DataFrame, where: dict) -> bool:
    """Return whether a table has a row with these values."""
    return bool(len(done) and (done[list(where)] == pd.Series(where)).all(axis=1).any())


def representations(
    train: np.ndarray,
    means: np.ndarray,
    clip: np.ndarray,
    stretch: np.ndarray,
    name: str,
    asked: argparse.Namespace,
) -> Iterator[tuple[str, int, Callable[[int], Made]]]:
    """Yield what is compared: a name, a seed, and a function that makes it from the training rows and the seed."""
    epochs = asked.epochs * (1 if name == "LibriSpeech" else 2)  # of three times fewer frames
    pca = cache(lambda: fit_pca(train))
    moments = {"mean": train.mean(0), "scale": train.std(0)}

    def trained(
        kind: str = KIND,
        n_latents: int = N_LATENTS,
        kind_options: dict | None = None,
        into: tuple[str, ...] = ("probes", "units"),
        **changes: object,
    ) -> Callable[[int], Made]:
        def make(seed: int) -> Made:
            config = make_config(kind, n_latents=n_latents, **({"k": K} | (kind_options or {})))
            rows, options = train, {"batch_size": 256, "epochs": epochs, **changes}
            if options.pop("permuted", False):
                rows = permuted(train, seed=seed)
            if getattr(SAES.get(kind), "reads_pairs", False):
                options["sequence"] = stretch
            valid = clip % 7 == 6
            return fitted(rows, valid, config, seed, into=into, **options)

        return make

    def fitted(
        x: np.ndarray, valid: np.ndarray, config: SAEConfig, seed: int, *, into: tuple[str, ...] = Made.into,
        rows: str = "frames", **options: object,
    ) -> Made:  # fmt: skip
        sae = train_saes(
            {0: x}, config, rows=~valid, validation_rows=valid, seeds=[seed], progress=False, **options
        )[0]
        return Made(encoder(sae), sae, rows, into)

    def of_means(seed: int) -> Made:
        valid = np.arange(len(means)) % 7 == 6
        config = make_config(KIND, n_latents=N_LATENTS, k=K)
        return fitted(means, valid, config, seed, rows="clips", epochs=40)

    def drawn(seed: int) -> Made:
        return Made(encoder(untrained(make_config(KIND, n_latents=N_LATENTS, k=K), train, seed=seed)))

    def directions(seed: int) -> Made:
        matrix = np.random.default_rng(seed).standard_normal((train.shape[1], N_LATENTS))
        matrix = (matrix / moments["scale"][:, None]).astype(np.float32)
        return Made(lambda x: x @ matrix, into=("units",))

    def projected(seed: int) -> Made:
        return Made(lambda x: random_topk(x, N_LATENTS, K, **moments, seed=seed).astype(np.float32))

    found: dict[str, Callable[[int], Made]] = {
        "dense": lambda _: Made(lambda x: x),
        f"{KIND} of frames": trained(),
        f"{KIND} of means": of_means,
        "random directions": directions,
        "untrained": drawn,
        "pca": lambda _: Made(pca().codes, into=("units",)),
        f"ica {N_ICA}": lambda seed: Made(fit_ica(train[::4], N_ICA, seed=seed).codes),
        f"pca {K}": lambda _: Made(lambda x: pca().codes(x)[:, :K], into=("probes",)),
        "random projection, top k": projected,
        **{kind: trained(kind) for kind in OTHER_KINDS},
        f"{KIND}, {FEWER_LATENTS} latents": trained(n_latents=FEWER_LATENTS),
        **{
            f"temporal, k {MORE}, {name}": trained(
                "temporal", kind_options=own | {"k": MORE}, into=("probes",)
            )
            for name, own in CONTRASTS.items()
        },
        "frozen decoder": trained(frozen="decoder"),
        "frozen encoder": trained(frozen="encoder"),
        "permuted": trained(permuted=True),
        f"{KIND}, {LONGER} epochs": trained(epochs=LONGER),
    }
    one = {"dense", "pca", f"pca {K}", f"{KIND}, {LONGER} epochs"}
    one |= {name for name in found if name.startswith(f"temporal, k {MORE}")}
    for name, make in found.items():
        if not asked.only or name in asked.only:
            yield from ((name, seed, make) for seed in range(1 if name in one else asked.seeds))


def kept_at(
    name: str, layer: int, fold: int, representation: str, seed: int, asked: argparse.Namespace
) -> Path:
    """Return where an autoencoder is kept, for `real_words.py` to ask the same one about words."""
    parts = (name, layer, fold, representation, f"seed {seed}", f"{asked.epochs} epochs")
    return asked.stores / "dictionaries" / " ".join(map(str, parts))


def write_probes(
    rows: Set, fold: int, x: np.ndarray, encode: Callable, of: str, about: dict, out: Path
) -> None:
    """Add how many clips of each unit are told right from their codes; those of means are means of codes of means."""
    probed = np.any([fit | test for fit, test in rows.folds[fold].probes], axis=0)
    place = np.where(probed, np.cumsum(probed) - 1, -1)
    n = int(probed.sum())
    if of == "clips":
        kept = probed[rows.clip]
        clip_of = rows.clip[kept][np.unique(rows.mean_of[kept], return_index=True)[1]]
        codes = {"mean": mean_over_clips(encode(means_of(x, rows.mean_of, kept)), place[clip_of])}
    else:
        blocks = (x[start : start + BLOCK].astype(np.float32) for start in range(0, len(x), BLOCK))
        codes = pooled_codes(
            encode, blocks, place[rows.clip], n_places=n, clip_codes=["mean", "max", "share"]
        )
    clips = rows.clips[probed]
    for clip_code, values in codes.items():
        found = []
        for fit, test in rows.folds[fold].probes:
            split = np.where(fit, "train", np.where(test, "test", ""))[probed]
            own = split != ""
            got = probe(
                values[own], clips[rows.label][own], split=split[own], groups=clips[rows.groups][own],
                strengths=STRENGTHS,
            )  # fmt: skip
            found.append(
                pd.DataFrame({"unit": clips[rows.unit][split == "test"], "correct": got.correct.astype(int)})
            )
        counts = pd.concat(found).groupby("unit")["correct"].agg(n="size", correct="sum").reset_index()
        named = about | {"rows": of, "clip_code": clip_code, "width": values.shape[1]}
        add(out / "frames_probes.csv", [named | row for row in counts.to_dict("records")])


def write_units(
    rows: Set,
    learns: np.ndarray,
    scored: np.ndarray,
    x: np.ndarray,
    encode: Callable,
    about: dict,
    out: Path,
    n_rows: int = UNIT_ROWS,
) -> None:
    """Add the best units of each concept, from `n_rows` frames to choose on and as many to judge on, at random."""
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(np.flatnonzero(side))[:n_rows] for side in (learns, scored)]
    both = np.sort(np.concatenate(chosen))
    codes = np.concatenate(
        [
            np.asarray(encode(x[part].astype(np.float32)), np.float32)
            for part in np.array_split(both, len(both) // BLOCK + 1)
        ]
    )
    concepts = rows.concepts.iloc[both].reset_index(drop=True)
    speakers = rows.clips["speaker"].to_numpy()[rows.clip[both]]
    add_units(codes, concepts, speakers, learns[both], scored[both], about, out)


def add_units(
    codes: np.ndarray,
    concepts: pd.DataFrame,
    speakers: np.ndarray,
    learn: np.ndarray,
    judge: np.ndarray,
    about: dict,
    out: Path,
) -> None:
    """Add the best units of each concept, and the area under the curve within each speaker that judges."""
    table, outputs = single_units(codes, concepts, learn=learn, judge=judge)
    add(out / "frames_units.csv", [about | row for row in table.to_dict("records")])
    found = []
    for (concept, choice, k), values in outputs.items():
        defined = judge & concepts[concept].notna().to_numpy()
        truth, who = concepts[concept].to_numpy(float)[defined] > 0, speakers[defined]
        for speaker in np.unique(who):
            own = who == speaker
            if (choice == "auc" and k in (1, 8)) and 0 < truth[own].mean() < 1:
                area = area_under_curve(values[own], truth[own])
                found.append(about | {"concept": concept, "k": k, "speaker": speaker, "auc": area})
    add(out / "frames_units_speakers.csv", found)


def means_of(x: np.ndarray, mean_of: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the means of the frames that are kept, one for each value of `mean_of`, in order."""
    starts = np.unique(mean_of[kept], return_index=True)[1]
    counts = np.diff(np.r_[starts, kept.sum()])[:, None]
    return (np.add.reduceat(x[kept].astype(np.float64), starts) / counts).astype(np.float32)


def librispeech(asked: argparse.Namespace) -> Set:
    """Return LibriSpeech: 251 speakers to learn from, ten others (ten recordings each) to judge on."""
    files = sorted(asked.librispeech.glob("*.flac"))
    clips = pd.DataFrame({"clip_id": [f.stem for f in files], "path": map(str, files)})
    clips["speaker"] = "s" + clips["clip_id"].str.split("-").str[0]
    clips = table_of(clips.assign(group=clips["speaker"]), asked.stores / "librispeech.csv")
    store, clips, clip = frames_of(clips, asked, "librispeech")
    clips["recording"] = clips.groupby("speaker").cumcount()
    ten = clips.groupby("speaker")["clip_id"].transform("size").to_numpy() > 1
    held = [(clips["recording"] % 5 == fold).to_numpy() for fold in range(5)]
    second = (store.rows["start_s"].clip(lower=0).astype(int) + 10_000 * clip).to_numpy()
    used, stretch = stretches(clip)
    return Set(
        "LibriSpeech", clips, clip, second, used, stretch,
        {layer: store.layer(layer, dtype="float16") for layer in asked.layers},
        concepts_of(clips, store.rows, clip, asked.stores / "librispeech-concepts.parquet", fricative_hz=2500),
        "speaker", "recording", "recording", [Fold(~ten, [(ten & ~part, ten & part) for part in held])],
    )  # fmt: skip


def fsdd(asked: argparse.Namespace) -> Set:
    """Return FSDD, takes 0 to 19: digits of two speakers that were not heard, thrice."""
    files = [f for f in sorted(asked.fsdd.rglob("*.wav")) if int(f.stem.split("_")[2]) < 20]
    clips = pd.DataFrame({"clip_id": [f.stem for f in files], "path": map(str, files)})
    clips["digit"] = "d" + clips["clip_id"].str.split("_").str[0]
    clips["speaker"] = clips["clip_id"].str.split("_").str[1]
    clips = table_of(clips.assign(group=clips["speaker"]), asked.stores / "fsdd.csv")
    store, clips, clip = frames_of(clips, asked, "fsdd")
    concepts = concepts_of(clips, store.rows, clip, asked.stores / "fsdd-concepts.parquet", fricative_hz=2000)
    for digit in sorted(clips["digit"].unique()):
        said = (clips["digit"] == digit).to_numpy()[clip]
        concepts[f"in the word {digit[1:]}"] = np.where(concepts["quiet"] == 0, said, np.nan)
    speakers = sorted(clips["speaker"].unique())
    unseen = [clips["speaker"].isin(speakers[first::3]).to_numpy() for first in range(3)]
    return Set(
        "FSDD", clips, clip, clip, np.ones(len(clip), bool), clip,
        {layer: store.layer(layer, dtype="float16") for layer in asked.layers},
        concepts, "digit", "speaker", "speaker", [Fold(~test, [(~test, test)]) for test in unseen],
    )  # fmt: skip


def stretches(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each frame is in one of its recording's stretches that were drawn, and the stretch it is of."""
    rng = np.random.default_rng(0)
    counts = np.bincount(clip)
    parts = [np.arange(count) // STRETCH for count in counts]
    drawn = [rng.permutation(max(count // STRETCH, 1))[:STRETCHES] for count in counts]  # whole ones
    used = np.concatenate([np.isin(part, own) for part, own in zip(parts, drawn)])
    return used, 1000 * clip + np.concatenate(parts)


SETS: dict[str, Callable[[argparse.Namespace], Set]] = {"librispeech": librispeech, "fsdd": fsdd}


def frames_of(
    clips: pd.DataFrame, asked: argparse.Namespace, name: str
) -> tuple[oto.Activations, pd.DataFrame, np.ndarray]:
    """Return a framewise store, made if it is not there, its clips in order, and which of them each frame is of."""
    store = oto.extract(
        clips, oto.load_encoder(asked.whisper, precision="auto"), pool="frames", dtype="float16",
        layers="all", out=asked.stores / f"{name}-frames",
    )  # fmt: skip
    clips = pd.DataFrame({"clip_id": store.rows["clip_id"].unique()}).merge(clips, on="clip_id")
    return store, clips, pd.Index(clips["clip_id"]).get_indexer(store.rows["clip_id"])


def concepts_of(
    clips: pd.DataFrame, rows: pd.DataFrame, clip: np.ndarray, kept: Path, *, fricative_hz: float
) -> pd.DataFrame:
    """Return what is heard in each frame, by level, pitch and spectrum: 1, 0, or NaN where it is not defined.

    Quiet: 30 dB or more below the recording's loudest frame. Fricative: neither quiet nor voiced, and most of the
    spectrum high. Pitch: thirds of each speaker's voiced frames. Peaks: the strongest partial below 1.2 kHz, and the
    strongest band of 250 Hz from 1.2 to 3 kHz, in voiced frames (the first two formants, roughly).
    """
    if kept.exists():
        return pd.read_parquet(kept)
    found = moment_factors(clips, rows).table.merge(rows.reset_index(), on=["clip_id", "start_s", "stop_s"])
    heard = found.set_index("index").loc[range(len(rows))]
    loudest = heard.groupby("clip_id")["level_dbfs"].transform("max")
    quiet = (heard["level_dbfs"] < loudest - 30).to_numpy()
    voiced = heard["voiced"].to_numpy() > 0
    speaker = clips["speaker"].to_numpy()[clip]
    third = heard["f0_hz"].groupby(speaker).rank(pct=True).to_numpy() * 3
    low, high = np.concatenate([peaks(path, own) for path, own in _by_clip(clips, rows)]).T
    concepts = {
        "quiet": quiet,
        "voiced": voiced,
        "fricative": ~quiet & ~voiced & (heard["centroid_hz"] > fricative_hz).to_numpy(),
        "onset": (heard["level_change_db"] > 10).to_numpy(),
        "offset": (heard["level_change_db"] < -10).to_numpy(),
        "pitch low": np.where(voiced, third <= 1, np.nan),
        "pitch high": np.where(voiced, third > 2, np.nan),
    }
    for first, last in ((200, 400), (400, 600), (600, 1200)):
        concepts[f"peak {first}-{last} Hz"] = np.where(voiced, (low >= first) & (low < last), np.nan)
    for first, last in ((1200, 1700), (1700, 2200), (2200, 3000)):
        concepts[f"peak {first}-{last} Hz"] = np.where(voiced, (high >= first) & (high < last), np.nan)
    table = pd.DataFrame(concepts).astype(float).reset_index(drop=True)
    table.to_parquet(kept)
    return table


def _by_clip(clips: pd.DataFrame, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each clip's path and its rows, in order."""
    paths = dict(zip(clips["clip_id"], clips["path"]))
    for clip_id, own in rows.groupby("clip_id", sort=False):
        yield paths[clip_id], own


def peaks(path: str, rows: pd.DataFrame) -> np.ndarray:
    """Return [frames, 2]: where the spectrum of 64 ms around each frame is strongest below 1.2 kHz, and above it."""
    waveform, _ = read_audio(path, sample_rate=16_000)
    padded = np.pad(waveform, 512)
    starts = np.rint(rows["time_s"].to_numpy() * 16_000).astype(int).clip(0, len(waveform) - 1)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[starts] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    smooth = np.apply_along_axis(lambda row: np.convolve(row, np.ones(16), "same"), 1, power)
    hz = np.arange(power.shape[1]) * 16_000 / 1024
    sides = (power, (hz >= 200) & (hz < 1200)), (smooth, (hz >= 1200) & (hz < 3000))
    return np.stack([hz[band][values[:, band].argmax(1)] for values, band in sides], axis=1)


if __name__ == "__main__":
    main()
