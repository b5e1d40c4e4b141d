"""Which training recipe keeps a dictionary of real activations alive, and at what price?

Run ``python benchmarks/recipe.py STORE CLIPS --layer 4 --label speaker --out recipe.csv``; killed, it goes on where it
was. STORE holds frames or pooled rows of CLIPS (a table with a ``group``); frames are averaged over seconds. A fifth
of the groups is held out, save those with several clips, by which codes are probed: the label of their clips' mean
rows, five stratified folds over recordings. Each recipe is trained with two seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from otoscope.activations import Activations
from otoscope.cli.tables import read_clips
from otoscope.saes import health, make_config, stability, train_saes
from otoscope.saes.nulls import fit_pca
from otoscope.saes.training.options import AS_PUBLISHED

N_LATENTS = 1024
RECIPES: dict[str, tuple[str, dict, dict]] = {
    "published": ("topk", {}, AS_PUBLISHED),
    "centre": ("topk", {}, AS_PUBLISHED | {"normalise": "center"}),
    "scale": ("topk", {}, AS_PUBLISHED | {"normalise": "scale"}),
    "auto": ("topk", {}, AS_PUBLISHED | {"normalise": "auto"}),
    "auto, decay": ("topk", {}, {"revive": False}),
    "auto, decay, revive": ("topk", {}, {}),
    "auto, decay, data": ("topk", {}, {"revive": False, "start": "data"}),
    "auto, decay, revive, data": ("topk", {}, {"start": "data"}),
    "scale, decay, revive": ("topk", {}, {"normalise": "scale"}),
    "topk-gao, published": ("topk-gao", {}, AS_PUBLISHED),
    "topk-gao": ("topk-gao", {}, {}),
    "batch-topk, published": ("batch-topk", {}, AS_PUBLISHED),
    "batch-topk": ("batch-topk", {}, {}),
    "matryoshka": ("matryoshka", {}, {}),
}


def main() -> None:
    """Train and measure every recipe that is not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store")
    parser.add_argument("clips")
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--label", default="speaker")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.95])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    asked = parser.parse_args()
    data = read(asked.store, asked.clips, asked.layer, asked.label)
    table = pd.read_csv(asked.out) if asked.out.exists() else pd.DataFrame()
    for sparsity in asked.sparsity:
        for name in asked.recipes:
            same = {"store": Path(asked.store).name, "layer": asked.layer, "recipe": name, "sparsity": sparsity,
                    "epochs": asked.epochs}  # fmt: skip
            if len(table) and (table[list(same)] == pd.Series(same)).all(axis=1).any():
                continue
            table = pd.concat([table, pd.DataFrame([same | measure(data, name, sparsity, asked.epochs)])])
            table.to_csv(asked.out, index=False, float_format="%.4g")
            print(table.iloc[-1].to_dict(), file=sys.stderr)
    print(table.to_string(index=False))


def read(store: str, clips: str, layer: int, label: str) -> dict:
    """Return training and held-out rows, mean rows of clips to probe, and their labels."""
    activations = Activations.open(store)
    labels = read_clips(clips)[sorted({"clip_id", "group", label})]
    rows = activations.rows.merge(labels, on="clip_id", how="left")
    x = np.asarray(activations.layer(layer), dtype=np.float64)
    seconds = rows["start_s"].clip(lower=0).astype(int).astype(str)
    second = pd.factorize(rows["clip_id"] + " " + seconds)[0]
    clip = pd.factorize(rows["clip_id"])[0]
    first_of_second, first = (np.unique(values, return_index=True)[1] for values in (second, clip))
    per_group = rows.drop_duplicates("clip_id")["group"].value_counts()
    single = per_group.index[per_group == 1].sort_values().to_numpy()
    held = np.random.default_rng(0).permutation(single if len(single) else per_group.index.sort_values())
    held = set(held[: max(len(held) // 5, 1)])
    group = rows["group"].to_numpy()
    held_out = np.array([name in held for name in group[first_of_second]])
    probed = per_group[group[first]].to_numpy() > 1
    train = ~held_out if not len(single) else ~held_out & (per_group[group[first_of_second]].to_numpy() == 1)
    pooled = means(x, second).astype(np.float32)
    return {
        "train": pooled[train],
        "held_out": pooled[held_out],
        "clips": means(x, clip).astype(np.float32)[probed],
        "labels": rows[label].to_numpy()[first][probed],
    }


def means(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the mean of the rows with index 0, 1, ..., whose rows lie together."""
    starts = np.unique(index, return_index=True)[1]
    return np.add.reduceat(x, starts) / np.bincount(index)[:, None]


def measure(data: dict, name: str, sparsity: float, epochs: int) -> dict:
    """Train a recipe with two seeds and return the means."""
    kind, settings, changes = RECIPES[name]
    started = time.monotonic()
    saes = train_saes(
        {0: data["train"]}, make_config(kind, n_latents=N_LATENTS, sparsity=sparsity, **settings),
        validation={0: data["held_out"]}, seeds=[0, 1], epochs=epochs, progress=False, **changes,
    )  # fmt: skip
    seconds = time.monotonic() - started
    pca = fit_pca(data["train"])
    found = [health(sae, data["train"], data["held_out"], pca=pca) for sae in saes]
    alive, accuracies = [], []
    with torch.no_grad():
        for sae in saes:
            alive.append((sae.encode(torch.from_numpy(data["train"])) != 0).any(0).numpy())
            accuracies.append(probe(sae.encode(torch.from_numpy(data["clips"])).numpy(), data["labels"]))
    same = stability(saes, alive=alive, scale=data["train"].std(0)).summary
    numbers = (
        "alive",
        "dead_held_out",
        "dense",
        "dense_activity",
        "l0",
        "fvu",
        "pca_fvu",
        "best_epoch",
        "tail_slope",
    )
    row = {number: float(np.mean([getattr(one, number) for one in found])) for number in numbers}
    return row | {
        "code_probe": float(np.mean(accuracies)),
        "dense_probe": probe(data["clips"], data["labels"]),
        "pw_mcc": same["pw_mcc"],
        "recurring_0.7": same["recurring_0.7"],
        "state": found[0].state,
        "seconds": round(seconds),
    }


def probe(x: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy of logistic regression over five stratified folds."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(model, x, labels, cv=folds).mean())


if __name__ == "__main__":
    main()
