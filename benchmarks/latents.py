"""Do latents' names hold on people that no name was made from? And what do the ten surest latents of real models hear?

Run ``python benchmarks/latents.py synthsing --work FOLDER`` (the built-in singing and model; true factors),
``... fsdd --work FOLDER --whisper FOLDER --clips fsdd.csv`` and ``... librispeech ...`` (Whisper tiny.en; a store that
lies in ``FOLDER/<data>-<rows>`` is taken as it is), and ``... speed --work FOLDER`` (2,048 latents, 1,000 made-up
clips of 3 s, from the store to the explorer).
Stores and dictionaries that are in FOLDER are not made again. Every run adds its rows to two tables in ``--out``:

- ``latents.csv``, a row for each representation: how many latents fire, have a name, could be judged; the mean AUC of
  their names on held-out groups, of another latent's name drawn at random, the share of names with 0.7 or more there.
- ``latents_top.csv``: the surest latents of each dictionary, ten of different names, by their own confidence, which
  never saw the held-out groups; `n_same` says how many latents share the name.

Beside the dictionary stand its untrained twin (codes of the same width and sparsity that learnt nothing) and dense
dimensions, each standardised and taken for two latents, its positive and its negative part.
"""

from __future__ import annotations

import argparse
import gc
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import otoscope as oto
from otoscope.audio import write_audio
from otoscope.cli import RARELY
from otoscope.datasets import DATASETS
from otoscope.experiment import write_latents
from otoscope.factors import Factors, compute_factors, moment_factors
from otoscope.latents import Codes, Description, describe_codes, describe_latents, sampled_rows
from otoscope.saes import SparseAutoencoder, TopKConfig, build_sae, train_saes

CONFIRMED = 0.7
"""Held-out AUC from which a name is said to hold: what it needed where it was made."""
NO_SOUND = ("subset", "index")
"""Columns that say where a recording is from (LibriSpeech's part, FSDD's take), not what is heard."""
TOP = [
    "latent",
    "name",
    "confidence",
    "name_auc",
    "held_out_auc",
    "held_out_random_auc",
    "n_same",
    "frequency",
    "recurrence",
]


def main() -> None:
    """Describe one data set's latents, or measure speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["synthsing", "fsdd", "librispeech", "speed"])
    parser.add_argument("--work", type=Path, default=Path("benchmarks/latents-work"))
    parser.add_argument("--whisper", help="Folder of Whisper tiny.en.")
    parser.add_argument("--clips", help="The clips table of real speech.")
    parser.add_argument("--rows", choices=["mean", "frames"], nargs="+")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    options = parser.parse_args()
    gc.set_threshold(*RARELY)  # as the command line does
    if options.data == "speed":
        speed(options.work / "speed")
        return
    usual = {"synthsing": ["mean", "frames"], "fsdd": ["mean"], "librispeech": ["frames"]}[options.data]
    for rows in options.rows or usual:
        study(options, rows)


def study(options: argparse.Namespace, rows: str) -> None:
    """Describe the dictionary of one kind of rows and its nulls, and add what was found to the tables."""
    data, layer = options.data, options.layer
    if data == "synthsing":
        clips, model, label, n_latents = oto.load_clips("synthsing"), "otoscope-mini", "technique", 512
        factors: Factors | None = Factors(*DATASETS.get("synthsing").true_factors(clips))
    else:
        clips = oto.load_clips(options.clips, group="speaker").drop(columns=list(NO_SOUND), errors="ignore")
        model, label, n_latents = options.whisper, ("digit" if data == "fsdd" else None), 1024
        factors = compute_factors("descriptors", clips) if data == "fsdd" else None
    store = store_of(options.work / f"{data}-{rows}", clips, model, rows, layer)
    saes = dictionaries(options.work, f"{data}-{rows}", store, clips, layer, n_latents)
    moments = moment_factors(clips, store.rows.iloc[sampled_rows(store.rows)]) if rows == "frames" else None
    known: dict[str, Any] = {"factors": factors, "moments": moments, "label": label}
    untrained = build_sae(saes[0].config, saes[0].n_inputs, seed=0)
    found = {
        "trained": describe_latents(saes[0], store, clips, layer=layer, others=saes[1:], **known),
        "untrained": describe_latents(untrained, store, clips, layer=layer, **known),
        "dense": describe_codes(both_signs(store, layer), store.rows, clips, **known),
    }
    write_latents(found["trained"], options.work / f"latents-{data}-{rows}")
    where = {"data": data, "rows": rows, "layer": layer}
    add(
        options.out / "latents.csv",
        pd.DataFrame([where | {"codes": name} | numbers(of) for name, of in found.items()]),
    )
    named = found["trained"].latents.sort_values("confidence", ascending=False)
    named = named[named.rule != ""].assign(n_same=lambda table: table.groupby("name").name.transform("size"))
    best = named.drop_duplicates("name").head(10)
    add(options.out / "latents_top.csv", best[[*TOP, "evidence", "caveat"]].assign(**where))


def numbers(found: Description) -> dict[str, Any]:
    """Return what stands in latents.csv of one representation."""
    judged, named = found.judged, found.latents[found.latents.rule != ""]
    surest = found.latents.sort_values("confidence", ascending=False).head(10)
    return {
        "n_latents": len(found.latents),
        "n_alive": found.about["n_alive"],
        "n_tested": found.about["n_tested"],
        "n_named": len(named),
        "n_of_one_person": int(named.name.str.endswith(" only").sum()),
        "n_names": named.name.nunique(),
        "n_judged": len(judged),
        "held_out_auc": judged.auc.mean(),
        "random_auc": judged.random_auc.mean(),
        "as_good": judged.as_good.mean(),
        "confirmed": (judged.auc >= CONFIRMED).mean(),
        "n_confirmed": int((judged.auc >= CONFIRMED).sum()),
        "detection": judged.detection.mean(),
        "n_both_ways": int(((judged.auc >= CONFIRMED) & (judged.detection >= CONFIRMED)).sum()),
        "surest_ten_auc": surest.held_out_auc.mean(),
        "confidence_tells": judged.confidence.corr(judged.auc, method="spearman"),
    }


def store_of(folder: Path, clips: pd.DataFrame, model: str, rows: str, layer: int) -> Any:
    """Return the store in `folder`, made if it is not there."""
    if folder.exists():
        return oto.Activations.open(folder)
    return oto.extract(clips, oto.load_encoder(model), out=folder, layers=[layer], pool=rows)


def dictionaries(
    work: Path, name: str, store: Any, clips: pd.DataFrame, layer: int, n_latents: int
) -> list[SparseAutoencoder]:
    """Return dictionaries of two seeds, trained on the training groups, from `work` if they lie there."""
    folders = [work / f"sae-{name}-layer{layer}-seed{seed}" for seed in (0, 1)]
    if not all(folder.exists() for folder in folders):
        split = store.labelled(clips).split
        frames = "time_s" in store.rows
        saes = train_saes(
            store,
            [TopKConfig(n_latents=n_latents, sparsity=0.95 if n_latents < 1000 else 0.97)],
            layers=[layer],
            seeds=[0, 1],
            rows=np.flatnonzero(split == "train"),
            validation_rows=np.flatnonzero(split == "valid"),
            epochs=3 if frames else 50,
            batch_size=256 if frames else 32,
        )
        for sae, folder in zip(saes, folders):
            sae.save_pretrained(folder)
    return [SparseAutoencoder.from_pretrained(folder) for folder in folders]


def both_signs(store: Any, layer: int) -> Codes:
    """Return dense dimensions as codes: what lies above the mean, and what lies below, in standard deviations."""
    whole = store.layer(layer)
    mean, scale = whole.mean(0), whole.std(0) + 1e-12

    def blocks():
        for start in range(0, len(whole), 4096):
            part = torch.from_numpy((whole[start : start + 4096] - mean) / scale)
            yield np.arange(start, start + len(part)), torch.cat([part, -part], dim=1).clamp(min=0)

    return Codes(len(whole), 2 * whole.shape[1], blocks)


def add(path: Path, table: pd.DataFrame) -> None:
    """Add rows to a table; those of the same data and rows are replaced."""
    if path.exists():
        old = pd.read_csv(path)
        same = (old["data"] == table["data"].iloc[0]) & (old["rows"] == table["rows"].iloc[0])
        table = pd.concat([old[~same & (old.layer == old.layer)], table], ignore_index=True)
    first = ["data", "rows", "layer"]
    table = table[[*first, *(name for name in table if name not in first)]]
    table.sort_values(["data", "rows"], kind="stable").to_csv(path, index=False, float_format="%.4g")
    print(table.round(3).to_string(index=False))


def speed(
    work: Path, n_latents: int = 2048, n_clips: int = 1000, frames: int = 150, width: int = 384
) -> None:
    """Describe made-up codes of a store that is read in blocks, and build the explorer; print what both took.

    Codes are noise about a mean of each clip, the worst case for what is kept of their courses in time.
    """
    ids = np.array([f"clip{i}" for i in range(n_clips)])
    time_s = np.tile(0.01 + 0.02 * np.arange(frames), n_clips)
    rows = pd.DataFrame({"clip_id": np.repeat(ids, frames), "start_s": 0.0, "stop_s": 3.0, "time_s": time_s})
    rng = np.random.default_rng(0)
    voices = rng.standard_normal((n_clips, width), dtype=np.float32)

    class Store:
        layers, widths, provenance = (0,), {0: width}, {"encoder": "made up"}

        def __init__(self) -> None:
            self.rows = rows

        def batches(self, layers, *, batch_size, seed, buffer_rows):
            for start in range(0, len(rows), batch_size):
                own = np.arange(start, min(start + batch_size, len(rows)))
                noise = np.random.default_rng(start).standard_normal((len(own), width), dtype=np.float32)
                yield own, {0: voices[own // frames] + noise}

    clips = pd.DataFrame(
        {"clip_id": ids, "path": sounds(work / "clips", n_clips), "start_s": 0.0, "stop_s": 3.0}
    )
    clips["group"] = [f"group{i // 50}" for i in range(n_clips)]
    clips["split"] = np.where(np.arange(n_clips) < 800, "train", "test")
    clips["vowel"] = rng.choice(list("aeiou"), n_clips)
    clips["technique"] = rng.choice(list("abcdefghij"), n_clips)
    made_up = pd.DataFrame(rng.standard_normal((n_clips, 22)), columns=[f"factor{i}" for i in range(22)])
    info = pd.DataFrame({"name": made_up.columns, "unit": "", "family": "other"})
    factors = Factors(pd.concat([clips[["clip_id", "start_s", "stop_s"]], made_up], axis=1), info)
    sae = build_sae(TopKConfig(n_latents=n_latents, sparsity=0.95), width)
    shutil.rmtree(work / "latents", ignore_errors=True)
    clock = [(time.perf_counter(), time.process_time())]
    found = describe_latents(sae, Store(), clips, layer=0, factors=factors, label="technique", progress=False)
    clock.append((time.perf_counter(), time.process_time()))
    home = oto.write_explorer(write_latents(found, work / "latents")).parent
    clock.append((time.perf_counter(), time.process_time()))
    print(f"{n_latents} latents, {n_clips} clips of {frames} frames, {torch.get_num_threads()} threads")
    for what, begun, ended in (("latents", 0, 1), ("explorer", 1, 2), ("both", 0, 2)):
        wall_s, used_s = (now - then for now, then in zip(clock[ended], clock[begun]))
        print(f"{what}: {wall_s:.1f} s, {used_s:.1f} s of processor")
    size_mb = sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) / 1e6
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"the explorer has {size_mb:.1f} MB; {peak_mb:.0f} MB of memory at most")


def sounds(folder: Path, n: int, *, seconds: float = 3.0, rate: int = 16_000) -> list[str]:
    """Return recordings of gliding harmonics in noise, made if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(seconds * rate)) / rate
    paths = [folder / f"{i}.wav" for i in range(n)]
    for i, path in enumerate(paths):
        if not path.exists():
            rng = np.random.default_rng(i)
            f0_hz = rng.uniform(90, 400) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.2, 5) * time_s))
            phase = 2 * np.pi * np.cumsum(f0_hz) / rate
            wave = sum(np.sin(h * phase + rng.uniform(0, 6)) / h for h in range(1, 20))
            swell = np.interp(time_s, np.linspace(0, seconds, 9), rng.random(9))
            write_audio(path, 0.2 * swell * wave + 0.005 * rng.standard_normal(len(time_s)), rate)
    return [str(path) for path in paths]


if __name__ == "__main__":
    main()
