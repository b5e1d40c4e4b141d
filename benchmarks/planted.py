"""Does ``auto`` keep latents alive where raw rows kill them? Activations with a planted fault, five seeds.

Run ``python benchmarks/planted.py [--out benchmarks/planted.csv]``; killed, it goes on where it was. Rows are sums of
13 of 512 random directions on average (amplitudes .5 to 1.5) and noise, 20,000 for training and 5,000 held out, width
256, 1,024 latents at 95 % sparsity. Faults: one dimension of 100 times the rest; a mean of 20 times the spread; a
rank of a tenth of the width; all three. The bar, on held-out rows in raw units: where raw rows kill over half of the
latents, auto leaves at most 1 % dead, its FVU is no worse, and no latent is on in over half of the rows (no planted
direction is).

``--limit 10`` trains ``auto`` alone, with another limit of outlying dimensions than the default
(`otoscope.saes.training.preflight.LIMIT`), and adds to planted_limits.csv, which has the trade that the default was
chosen by.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from otoscope.saes import make_config, reconstruction_metrics, train_saes
from otoscope.saes.training import preflight
from otoscope.saes.training.options import AS_PUBLISHED

FAULTS = ("outlier", "mean", "rank", "all")
RECIPES = {"raw": AS_PUBLISHED, "auto": {}}
N_TRAIN, N_TEST, WIDTH, N_DIRECTIONS, N_ACTIVE, NOISE = 20_000, 5_000, 256, 512, 13, 0.05


def planted(
    fault: str,
    seed: int,
    *,
    n_rows: int = N_TRAIN + N_TEST,
    width: int = WIDTH,
    n_directions: int = N_DIRECTIONS,
) -> np.ndarray:
    """Return rows [n_rows, width], float32, with a fault."""
    rng = np.random.default_rng([seed, 17])
    faults = FAULTS[:3] if fault == "all" else (fault,)
    rank = width // 10 if "rank" in faults else width
    basis = np.linalg.qr(rng.normal(size=(width, rank)))[0].T if rank < width else np.eye(width)
    directions = rng.normal(size=(n_directions, rank))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    active = rng.random((n_rows, n_directions)) < N_ACTIVE / N_DIRECTIONS
    x = (active * rng.uniform(0.5, 1.5, active.shape)) @ directions
    x += rng.normal(size=x.shape) * NOISE * np.sqrt(x.var(0).sum() / rank)
    x = x @ basis
    if "outlier" in faults:
        x[:, 7] *= 100
    if "mean" in faults:
        mean = rng.normal(size=width)
        x += mean / np.linalg.norm(mean) * 20 * np.sqrt(x.var(0).sum())
    return x.astype(np.float32)


def measure(fault: str, recipe: str, seed: int, epochs: int) -> dict:
    """Train one dictionary and return its row of the table."""
    x = planted(fault, seed)
    train, test = x[:N_TRAIN], x[N_TRAIN:]
    started = time.monotonic()
    (sae,) = train_saes(
        {0: train}, make_config("topk", n_latents=4 * WIDTH, sparsity=0.95), validation={0: test}, seeds=[seed],
        epochs=epochs, progress=False, **RECIPES[recipe],
    )  # fmt: skip
    found = reconstruction_metrics(sae, test)
    assert sae.history is not None
    return {
        "fault": fault,
        "recipe": recipe,
        "seed": seed,
        "epochs": epochs,
        "dead_fraction": found.dead_fraction,
        "dense": int((found.density > 0.5).sum()),
        "fvu": found.fvu,
        "l0": found.l0,
        "best_epoch": int(sae.history["best"].to_numpy().argmax()) + 1,
        "seconds": round(time.monotonic() - started, 1),
    }


def measure_limit(asked: argparse.Namespace, out: Path) -> None:
    """Add to `out` what ``auto`` does with another limit."""
    preflight.LIMIT = asked.limit
    table = pd.read_csv(out)
    for seed, fault in itertools.product(range(asked.seeds), asked.faults):
        here = {"limit": asked.limit, "fault": fault, "seed": seed, "epochs": asked.epochs}
        if (table[list(here)] == pd.Series(here)).all(axis=1).any():
            continue
        found = measure(fault, "auto", seed, asked.epochs)
        row = here | {name: found[name] for name in ("dead_fraction", "dense", "fvu")}
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        table.to_csv(out, index=False, float_format="%.5g")


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per fault and seed of which both recipes are there, and whether the bar is held."""
    both = (
        table.set_index(["fault", "seed", "recipe"])[["dead_fraction", "dense", "fvu"]]
        .unstack("recipe")
        .dropna()
    )
    raw, auto = (both.xs(name, axis=1, level="recipe") for name in RECIPES)
    kills = raw["dead_fraction"] > 0.5
    held = (auto["dead_fraction"] <= 0.01) & (auto["fvu"] <= raw["fvu"]) & (auto["dense"] == 0)
    words = np.where(~kills, "raw rows do not kill half", np.where(held, "held", "NOT held"))
    return raw.join(auto, lsuffix="_raw", rsuffix="_auto").assign(bar=words).reset_index()


def main() -> None:
    """Measure what is not there yet, then print the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS))
    parser.add_argument("--limit", type=float)
    asked = parser.parse_args()
    if asked.limit is not None:
        measure_limit(asked, asked.out.with_name("planted_limits.csv"))
        return
    table = pd.read_csv(asked.out) if asked.out.exists() else pd.DataFrame()
    for seed, fault, recipe in itertools.product(range(asked.seeds), asked.faults, RECIPES):
        same = {"fault": fault, "recipe": recipe, "seed": seed, "epochs": asked.epochs}
        if len(table) and (table[list(same)] == pd.Series(same)).all(axis=1).any():
            continue
        table = pd.concat([table, pd.DataFrame([measure(**same)])], ignore_index=True)
        table.to_csv(asked.out, index=False, float_format="%.5g")
        print(table.iloc[-1].to_dict(), file=sys.stderr)
    print(
        verdicts(table[table["epochs"] == asked.epochs]).to_string(
            index=False, float_format=lambda v: f"{v:.4f}"
        )
    )


if __name__ == "__main__":
    main()
