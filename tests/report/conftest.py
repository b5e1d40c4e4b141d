"""A run directory with made-up but realistic tables: what a demo of ten techniques could leave on disk."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from otoscope.results import BEST_LAYER, CODES, FAMILIES, SCHEMA, TABLES, read_table, to_csv

SPARSITIES = (0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
FACTORS = {
    "f0_hz": ("pitch", 0.94, 8.1),
    "f0_glide_cents": ("pitch", 0.71, 6.0),
    "extent_cents": ("pitch", 0.55, 6.7),
    "f1_hz": ("formants", 0.82, 7.9),
    "f2_hz": ("formants", 0.88, 8.6),
    "f3_hz": ("formants", 0.47, 8.4),
    "tilt_db_per_octave": ("spectral", 0.77, 3.2),
    "breathiness_db": ("quality", 0.69, 4.6),
    "jitter": ("quality", 0.31, -1.9),
    "shimmer": ("quality", 0.05, -1.2),
    "level_dbfs": ("loudness", 0.90, 4.1),
    "am_depth": ("loudness", 0.42, 0.8),
    "am_rate_hz": ("rhythm", 0.36, 2.9),
    "vibrato_rate_hz": ("rhythm", 0.48, 1.7),
}
LABEL_ALONE = {"am_depth": 0.45, "am_rate_hz": 0.4}
"""R2 of class means: factors that are mostly the label's."""
SUMMED = ("r2_label", "r2_beyond", "effective_dims_matched", "completeness_published")
TECHNIQUES = [
    *("belt", "breathy", "inhaled", "lip_trill", "spoken"),
    *("straight", "trill", "trillo", "vibrato", "vocal_fry"),
]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a run and returns its directory."""

    def make(
        name: str = "demo",
        *,
        encoders: dict[str, tuple[int, ...]] | None = None,
        seeds: tuple[int, ...] = (0,),
        n_layers: int = 4,
        classes: list[str] | None = None,
        factors: dict[str, tuple[str, float, float]] | None = None,
        gain: float = 0.12,
        protocol: str = "sound",
        metric: str = "accuracy",
    ) -> Path:
        folder = tmp_path_factory.mktemp("runs") / name
        (folder / "results").mkdir(parents=True)
        models, labels = encoders or {"otoscope-mini": (3, 4)}, classes or TECHNIQUES
        tables = make_tables(models, seeds, n_layers, labels, factors or FACTORS, gain)
        for table_name, table in tables.items():
            write(folder / "results", table_name, table)
        spec = make_spec(name, list(models), seeds, protocol)
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        (folder / "run.json").write_text(json.dumps(make_record(labels, metric, tables)))
        return folder

    return make


@pytest.fixture(scope="session")
def make_paper_run(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a run of VocalSet's shape: four encoders, two layers each, every table there is."""

    def make(name: str = "paper", *, protocol: str = "paper", encoders: dict | None = None) -> Path:
        rng = np.random.default_rng(3)
        factors = {
            f"{family}_{i}": (family, float(rng.uniform(0.02, 0.95)), float(rng.uniform(-1, 4)))
            for family in FAMILIES
            for i in range(5)
        }
        models = encoders or PAPER_LAYERS
        folder = make_run(name, encoders=models, n_layers=12, protocol=protocol, factors=factors)
        spec = yaml.safe_load((folder / "spec.yaml").read_text())
        spec["dataset"] = {"name": "vocalset", "root": "VocalSet", "label": "technique"}
        spec["disentanglement"] |= PAPER_RULES if protocol == "paper" else {}
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        add_more_tables(folder / "results", protocol)
        return folder

    return make


PAPER_LAYERS = {"ast": (6, 12), "wavlm-base-plus": (1, 12), "hubert-base": (3, 12), "mert-v1-95m": (4, 7)}
PAPER_RULES = {
    "fit": "in_sample",
    "selection": "published",
    "entropy": "histogram",
    "empty_completeness": 1.0,
}
CLAIMS = [
    ("error_grows", "The error grows with sparsity", "ρ of at least 0.9 in 7 of 8 layers", "in part"),
    ("probing_kept", "Probes keep their accuracy up to 95 %", "-1.2 points", "yes"),
    ("completeness", "Codes are more complete than the dense state", "+0.31", "as published, not held out"),
    ("entropy", "Factors of higher entropy have lower completeness", "ρ = 0.10", "no"),
    ("families", "Pitch early, formants late", "no pair of layers", "not tested"),
]


def add_more_tables(results: Path, protocol: str) -> None:
    """Add selections, non-unique solutions, few latents, gaps, forests, factors not measured, and claims."""
    rng = np.random.default_rng(5)
    by = ["encoder", "layer", "representation", "sparsity", "seed"]
    factors = read_table(results / "disentanglement.csv")
    factors["n_free"] = np.where((factors["sparsity"] == 0.99) & (rng.random(len(factors)) < 0.3), 2, 0)
    if protocol == "paper":
        for name in ("completeness", "completeness_published"):
            factors[name] = factors[name].where(factors["r2"] > 0.15, 1.0)
        factors["n_nonzero"] = factors["n_nonzero"].where(factors["r2"] > 0.15, 0)
        factors["r2_cv"] = float("nan")
    write(results, "disentanglement", factors)
    score = "r2" if protocol == "paper" else "r2_cv"
    parts = []
    for key, here in factors.groupby(by, dropna=False, sort=False):
        for selection, column in (("top10_r2", score), ("top10_completeness", "completeness")):
            top = here.nlargest(10, column)
            row = dict(zip(by, key)) | {"selection": selection, "n_factors": 10, "r2_std": 0.1}
            row |= {"completeness_std": 0.1, "r2_mean": top[score].mean()}
            row |= {"completeness_mean": top["completeness"].mean()}
            row |= {f"{c}_mean": top[c].mean() for c in SUMMED}
            parts.append(row | {"effective_dims_mean": top["effective_dims"].mean()})
    summary = pd.DataFrame(parts)
    write(results, "disentanglement_summary", summary)
    kept = summary[(summary["representation"] == "dense") | (summary["sparsity"] == 0.95)]
    kept = kept[kept["representation"].isin(["dense", "topk"])]
    forest = kept.assign(completeness_mean=kept["completeness_mean"] / 2)
    write(results, "forest_summary", forest)
    places = kept[kept["selection"] == "top10_r2"][by].to_dict("records")
    gaps = [
        row | {"factor": f, "mig": 0.1, "sap": 0.05} for row in places for f in factors["factor"].unique()[:4]
    ]
    write(results, "gap_scores", pd.DataFrame(gaps))
    few = [
        row
        | {
            "class": c,
            "k": k,
            "average_precision": 0.9 - 0.6 / (k + 1),
            "low": 0.3,
            "high": 0.95,
            "chance": 0.1,
            "valid_average_precision": 0.9 - 0.6 / (k + 1),
            "n_groups": 5,
        }
        for row in places
        for c in TECHNIQUES
        for k in (1, 2, 4, 8, 16, 32, 512)
    ]
    write(results, "sparse_probing", pd.DataFrame(few).assign(latents="1 2"))
    problem = {"clip_id": "a/b.wav", "start_s": np.nan, "stop_s": np.nan, "problem": "too short"}
    write(results, "factor_problems", pd.DataFrame([problem, problem | {"clip_id": "c.wav"}]))
    claims = pd.DataFrame(CLAIMS, columns=["claim", "statement", "measured", "holds"])
    claims = claims.assign(protocol=protocol, rule="a stated rule", scope="8 layers")
    write(results, "claims", claims)
    probes = read_table(results / "layer_probing.csv")
    write(results, "layer_probing", probes.assign(balanced_accuracy=probes["score"] - 0.01))


def make_spec(name: str, encoders: list[str], seeds: tuple[int, ...], protocol: str) -> dict:
    return {
        "name": name,
        "protocol": protocol,
        "seed": 0,
        "dataset": {"name": "synthsing", "root": "clips", "label": "technique", "group": "singer"},
        "encoders": [{"name": encoder, "layers": ["best", "last"]} for encoder in encoders],
        "saes": {
            "kind": "topk",
            "n_latents": 512,
            "sparsities": list(SPARSITIES),
            "seeds": list(seeds),
            "epochs": 60,
        },
        "factors": {"name": "ground_truth"},
        "disentanglement": {"min_r2": 0.1, "top": 10, "null_sparsity": 0.95},
        "versions": {"otoscope": "0.1.0", "torch": "2.13.0", "numpy": "2.3.0"},
    }


def make_record(classes: list[str], metric: str, tables: dict[str, pd.DataFrame]) -> dict:
    best = tables["layer_probing"].groupby(["encoder", "layer"], sort=False)["score"].mean()
    studied = tables["reconstruction"].groupby("encoder", sort=False)["layer"].unique()
    return {
        "schema": SCHEMA,
        "layers": {
            encoder: {"best": int(best[encoder].idxmax()), "studied": [int(layer) for layer in layers]}
            for encoder, layers in studied.items()
        },
        "summary": {
            "n_clips": 2000,
            "n_groups": 20,
            "n_train": 1200,
            "n_valid": 300,
            "n_test": 500,
            "n_left_out": 1,
            "left_out": ["clips/broken.wav"],
            "label": "technique",
            "label_kind": "class",
            "classes": classes,
            "chance": 1 / len(classes) if metric == "accuracy" else 0.0,
            "metric": metric,
        },
        "stages": [
            {"stage": "clips", "seconds": 9.4, "status": "made"},
            {"stage": "extract", "seconds": 41.0, "status": "made"},
            {"stage": "saes", "seconds": 132.0, "status": "kept"},
        ],
        "notes": ["512 latents instead of the paper's 2,048, to stay within minutes on two cores."],
    }


def make_tables(
    encoders: dict[str, tuple[int, ...]],
    seeds: tuple[int, ...],
    n_layers: int,
    classes: list[str],
    factors: dict[str, tuple[str, float, float]],
    gain: float,
) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(7)
    rows: dict[str, list[dict]] = defaultdict(list)
    for e, (encoder, chosen) in enumerate(encoders.items()):
        dense = {
            layer: 0.52 - 0.04 * e + gain * np.sin(np.pi * layer / (1.4 * n_layers))
            for layer in range(n_layers + 1)
        }
        for layer, accuracy in dense.items():
            for seed in seeds:
                value = round(accuracy + 0.004 * seed, 4)
                rows["layer_probing"].append(
                    {"encoder": encoder, "layer": layer, "seed": seed, **interval(value), "n_test": 500}
                )
        best = max(dense, key=dense.__getitem__)
        pair = {
            "encoder": encoder,
            "comparison": BEST_LAYER,
            "side": "best_layer",
            "against": "layer_0",
        }
        rows["comparisons"].append(pair | difference(dense[best] - dense[0]) | {"layer": best})
        for truth in classes:
            guesses = rng.multinomial(50, rng.dirichlet([10.0 if c == truth else 0.4 for c in classes]))
            rows["confusion"] += [
                {"encoder": encoder, "layer": best, "truth": truth, "predicted": predicted, "count": n}
                for predicted, n in zip(classes, guesses)
            ]
        for layer in chosen:
            add_codes(rows, encoder, layer, dense[layer], seeds, factors, rng)
    tables = {name: pd.DataFrame(values) for name, values in rows.items()}
    tables["factor_entropy"] = pd.DataFrame(
        [
            {
                "factor": f,
                "family": family,
                "entropy_knn_bits": bits,
                "entropy_hist_bits": 2 + 0.1 * bits,
                "mixed": f == "am_depth",
                "largest_tie": 0.68 if f == "am_depth" else 0.0,
            }
            for f, (family, _, bits) in factors.items()
        ]
    )
    return tables


def add_codes(rows: dict, encoder: str, layer: int, dense: float, seeds: tuple, factors: dict, rng) -> None:
    """Add what one chosen layer's codes, dense states and nulls give."""
    represented = [("dense", float("nan"))] + [("topk", s) for s in SPARSITIES]
    trained_nulls = ("untrained", "frozen_decoder", "frozen_encoder", "permuted")
    represented += [(null, 0.95) for null in (*trained_nulls, "shuffled")]
    represented += [(null, float("nan")) for null in ("pca", "ica", "random")]
    advice = "" if layer != 4 else "centre the rows: their mean is 2.7 times their spread"
    rows["preflight"].append(
        {
            "encoder": encoder,
            "layer": layer,
            "n_rows": 1200,
            "width": 192,
            "mean_over_spread": 0.3 + (layer == 4),
        }
        | {"outliers": 1, "outlier_share": 0.12, "effective_rank": 31.4, "duplicates": 0, "advice": advice}
    )
    for seed in seeds:
        key = {"encoder": encoder, "layer": layer}
        for s in SPARSITIES:
            loss = 0.004 + 0.02 * layer / 4 + 0.05 * ((s - 0.75) / 0.24) ** 4
            sae = {"sae": f"topk-512-s{s}-seed{seed}", "sparsity": s, "k": int((1 - s) * 512), "seed": seed}
            rows["reconstruction"].append(
                {**key, **sae, "mse": loss / 40, "fvu": loss, "l0": sae["k"] - 0.4, "dead_fraction": 0.11}
            )
            rows["health"].append({**key, **sae, **healthy(s, loss)})
            accuracy = round(dense - 0.01 - 0.06 * (s == 0.99) + rng.normal(0, 0.006), 4)
            rows["sae_probing"].append({**key, **sae, **interval(accuracy), "n_test": 500})
            pair = {**key, "sae": sae["sae"], "sparsity": s, "seed": seed}
            pair |= {"comparison": CODES, "side": "codes", "against": "dense"}
            rows["comparisons"].append(pair | difference(accuracy - dense))
            for other in range(seed + 1, len(seeds)):
                for name, share in (("topk", 0.8), ("untrained", 0.01), ("permuted", 0.1)):
                    pairs = {**key, "sae": sae["sae"], "sparsity": s, "k": sae["k"], "seed": seed}
                    pairs |= {"representation": name, "other_seed": other, "n_matched": 450, "pw_mcc": share}
                    pairs |= {"matched_cosine": share, "recurring_0.7": share, "recurring_0.9": share / 2}
                    rows["stability"].append(pairs)
        for representation, s in represented:
            add_factors(
                rows, {**key, "representation": representation, "sparsity": s, "seed": seed}, factors, rng
            )


def add_factors(rows: dict, key: dict, factors: dict, rng: np.random.Generator) -> None:
    lost = {"dense": 0, "topk": 0.02, "untrained": 0.08, "pca": 0.01, "random": 0.1, "shuffled": 1.0}
    lost |= {"frozen_decoder": 0.03, "frozen_encoder": 0.05, "permuted": 0.09, "ica": 0.02}
    dims = {"dense": 46, "topk": 12, "untrained": 24, "pca": 19, "random": 52, "shuffled": 60}
    dims |= {"frozen_decoder": 15, "frozen_encoder": 21, "permuted": 28, "ica": 17}
    name = key["representation"]
    table = []
    for factor, (family, r2, bits) in factors.items():
        held_out = r2 * (1 - lost[name]) - 0.02 * key["layer"] + rng.normal(0, 0.015)
        effective = (
            dims[name] * (1 + 0.08 * bits) * rng.uniform(0.8, 1.2) * (0.6 if key["sparsity"] == 0.99 else 1)
        )
        row = {"factor": factor, "family": family, "r2": min(held_out + 0.07, 0.99), "r2_cv": held_out}
        row |= {"completeness": 1 - np.log(effective) / np.log(512), "effective_dims": effective}
        width = 192 if name in ("dense", "pca", "ica") else 512
        row |= {"base": 512, "n_alive": width, "effective_dims_matched": effective * 0.6}
        row |= {"completeness_published": 1 - np.log(effective) / np.log(width)}
        label = LABEL_ALONE.get(factor, 0.04)
        row |= {"r2_label": label, "r2_beyond": held_out - 0.8 * label, "label_owned": label > 0.1}
        row |= {"r2_counted": row["r2_beyond"] if row["label_owned"] else held_out}
        table.append({**key, **row, "n_nonzero": int(2 * effective), "importance": "lasso"})
    rows["disentanglement"] += table
    ranked = pd.DataFrame(table).query("r2_counted >= 0.1")
    top = ranked.nlargest(10, "r2_counted")
    summary = {"selection": "top10_r2", "r2_mean": top["r2_counted"].mean()}
    summary |= {"r2_std": top["r2_counted"].std(ddof=0)}
    summary |= {f"{c}_mean": top[c].mean() for c in SUMMED}
    summary |= {
        "completeness_mean": top["completeness"].mean(),
        "completeness_std": top["completeness"].std(ddof=0),
    }
    summary |= {"effective_dims_mean": top["effective_dims"].mean(), "n_factors": len(top)}
    rows["disentanglement_summary"].append({**key, **summary})
    rows["factor_families"].append(
        {**key, **{family: int((top["family"] == family).sum()) for family in FAMILIES}}
    )


def write(results: Path, name: str, table: pd.DataFrame) -> None:
    """Write a result table; columns that these made-up numbers leave out are empty."""
    empty: dict[str, Any] = {"text": "", "number": np.nan, "count": 0, "flag": True}
    filled = table.assign(**{c.name: empty[c.kind] for c in TABLES[name].columns if c.name not in table})
    (results / f"{name}.csv").write_text(to_csv(name, filled[list(TABLES[name].names)]))


def difference(value: float) -> dict[str, float]:
    ends = {"difference_low": value - 0.05, "difference_high": value + 0.045}
    return {"difference": value, **ends, "n_test": 500, "n_groups": 5}


def interval(accuracy: float) -> dict[str, float]:
    return {"score": accuracy, "score_low": accuracy - 0.06, "score_high": accuracy + 0.055, "n_groups": 5}


def healthy(sparsity: float, fvu: float) -> dict[str, Any]:
    """A row of health.csv, but for its key; worn at 99 %."""
    alive = 507 if sparsity < 0.99 else 340
    state = "healthy" if alive == 507 else "worn"
    found = {"n_latents": 512, "alive": alive, "dead": 512 - alive, "alive_rows": 1200, "dead_held_out": 60}
    found |= {"held_out_rows": 500, "dense": 2, "dense_activity": 0.03, "fvu": fvu, "converged": True}
    found |= {"pca_k": round((1 - sparsity) * 512), "pca_fvu": 0.0006 + 1.5 * (sparsity - 0.75) ** 2}
    found |= {"best_epoch": 58, "epochs": 60, "tail_slope": 0.002, "state": state}
    return found | {"verdict": "healthy" if state == "healthy" else "worn: 340 of 512 latents alive"}
