"""How often each claim is made where it is false, and where it is true: tables of small experiments, judged.

Twelve factors (four each of pitch, formants and the spectrum) of 160 rows of eight groups are mixed into 16 dense
dimensions, in a layer 1 and a layer 12 of 12; codes have two seeds, and for probes and errors four sparsities. Kinds
of case:

rotation
    Codes are dense, rotated at random. Nothing is more complete, takes fewer dimensions, or hangs on depth or entropy;
    the errors of all sparsities differ by noise alone. R2 and accuracy are kept.
random_labels
    As rotation, and factors and labels are drawn anew, with nothing in them of the clips: nothing is held.
margin
    Codes lose 5 points of accuracy, and a little over .05 of R2: just too much to be called kept.
planted
    A factor has one to three dimensions of the codes to itself, the more the higher its entropy; pitch fades with
    depth, formants come. R2 is no worse; errors grow with sparsity.
lost
    Codes lose 25 points of accuracy, and half of the R2.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.claims import claims
from otoscope.disentanglement import measure_all, measure_disentanglement, random_codes
from otoscope.probing import mean_interval, p_value, paired_difference
from otoscope.results import CODES, DENSE, NO

CLAIMS = (
    "error_grows", "probing_kept", "r2_kept", "completeness_above", "fewer_dimensions",
    "entropy_lowers_completeness", "families_by_depth",
)  # fmt: skip
KINDS = ("rotation", "random_labels", "margin", "planted", "lost")
MEASURES = [*CLAIMS, "probing_lost", "r2_lost"]
FAMILIES = {f"{family}{i}": family for family in ("pitch", "formants", "spectral") for i in range(4)}
LAYERS, SPARSITIES, SEEDS = (1, 12), (0.75, 0.85, 0.9, 0.95), (0, 1)
N_GROUPS, N_EACH, WIDTH, CHANCE = 8, 20, 16, 0.1


def claimed(kind: str, trials: int) -> dict[str, float]:
    """Return in what share of trials each claim is said to hold, if in part, and each loss is said to be shown."""
    counts = dict.fromkeys(MEASURES, 0)
    for trial in range(trials):
        rng = np.random.default_rng([KINDS.index(kind), trial])
        table = claims(tables(kind, rng), protocol="sound", fit="held_out", chance=CHANCE, n_permutations=999)
        holds = table.set_index("claim").holds
        for claim in CLAIMS:
            counts[claim] += holds[claim] in ("yes", "in part")
        counts["probing_lost"] += holds.probing_kept == NO
        counts["r2_lost"] += holds.r2_kept == NO
    return {name: count / trials for name, count in counts.items()}


def tables(kind: str, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Return the tables of one experiment."""
    entropy = pd.DataFrame({"factor": list(FAMILIES), "entropy_knn_bits": rng.random(12), "mixed": False})
    if kind == "planted":
        entropy["entropy_knn_bits"] = np.arange(12.0)
    probing, comparisons = probes(kind, rng)
    return {
        "reconstruction": errors(kind, rng),
        "layer_probing": probing,
        "comparisons": comparisons,
        "disentanglement": disentanglement(kind, rng),
        "factor_entropy": entropy,
    }


def errors(kind: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return errors by sparsity: noise, or growing."""
    rows = [
        ("m", layer, s, seed, 1 + 0.01 * rng.standard_normal() + (s if kind == "planted" else 0))
        for layer in LAYERS for seed in SEEDS for s in SPARSITIES
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["encoder", "layer", "sparsity", "seed", "mse"])


def probes(kind: str, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return dense scores and paired differences: 400 clips, .8 right, in .9 of them codes answer as dense does."""
    groups = np.repeat(np.arange(N_GROUPS), 50)
    right = CHANCE if kind == "random_labels" else 0.8
    loss = {"margin": 0.05, "lost": 0.25}.get(kind, 0.0)
    scores, rows = [("m", layer, 1.0, 1.0, N_GROUPS) for layer in range(13) if layer not in LAYERS], []
    for layer in LAYERS:
        rates = rng.beta(19 * right, 19 * (1 - right), N_GROUPS)[groups]  # correlation .05 within groups
        dense = (rng.random(len(groups)) < rates).astype(float)
        found = mean_interval(dense, groups, scale="share")
        scores.append(("m", layer, found.value, found.low, N_GROUPS))
        for s in SPARSITIES:
            for seed in SEEDS:
                codes = np.where(rng.random(len(groups)) < 0.9, dense, rng.random(len(groups)) < rates)
                codes = codes * (rng.random(len(groups)) >= loss / right)  # of those right, so many get lost
                d = paired_difference(codes, dense, groups)
                rows.append(("m", layer, CODES, s, seed, N_GROUPS, d.value, d.se, d.df, p_value(d)))
    names = ["encoder", "layer", "comparison", "sparsity", "seed", "n_groups"]
    names += ["difference", "difference_se", "difference_df", "difference_p"]
    columns = ["encoder", "layer", "score", "score_low", "n_groups"]
    return pd.DataFrame(scores, columns=columns), pd.DataFrame(rows, columns=names)


def disentanglement(kind: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return disentanglement.csv of both layers."""
    groups = np.repeat(np.arange(N_GROUPS), N_EACH)
    values = rng.standard_normal((len(groups), 12))
    if kind == "random_labels":
        factors = pd.DataFrame(rng.standard_normal(values.shape), columns=list(FAMILIES))
    else:
        factors = pd.DataFrame(values, columns=list(FAMILIES))
    parts = []
    for layer in LAYERS:
        about, codes = representations(kind, values, layer, rng)
        found = measure_all(
            dict(enumerate(codes)),
            dict.fromkeys(range(len(codes)), factors),
            measure=lambda x, y, **more: measure_disentanglement(x, y, groups=groups, n_folds=3, **more),
            base="common",
            families=FAMILIES,
        )
        for index, (name, sparsity, seed) in enumerate(about):
            own = {"encoder": "m", "layer": layer, "representation": name, "sparsity": sparsity, "seed": seed}
            parts.append(found[index].factors.assign(**own))
    return pd.concat(parts, ignore_index=True)


def representations(
    kind: str, values: np.ndarray, layer: int, rng: np.random.Generator
) -> tuple[list[tuple], list[np.ndarray]]:
    """Return (name, sparsity, seed) and the activations of the dense layer, of codes and of nulls."""
    held = np.ones(12)
    if kind == "planted":  # pitch is plain early, formants late
        held[:8] = np.repeat([1.0, 0.4] if layer == LAYERS[0] else [0.4, 1.0], 4)
    noise = 0.5 * rng.standard_normal((len(values), WIDTH))
    dense = (values * held) @ rng.standard_normal((12, WIDTH)) / 2 + noise
    about: list[tuple] = [(DENSE, np.nan, 0)]
    codes = [dense]
    for seed in SEEDS:
        about.append(("topk", SPARSITIES[-1], seed))
        codes.append(coded(kind, dense, values * held, rng))
    for name in ("untrained", "random"):
        about.append((name, np.nan, 0))
        drawn = random_codes(dense, WIDTH, seed=int(rng.integers(2**31)))
        codes.append(np.maximum(drawn, 0) if name == "untrained" else drawn)
    return about, codes


def coded(kind: str, dense: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return codes [rows, dimensions] of a layer."""
    if kind == "planted":
        owner = np.repeat(
            np.arange(12), np.repeat([1, 2, 3], 4)
        )  # a factor of higher entropy has more dimensions
        return values[:, owner] + 0.3 * rng.standard_normal((len(values), len(owner)))
    turned = dense @ np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    return turned + {"margin": 0.5, "lost": 3.0}.get(kind, 0.0) * rng.standard_normal(dense.shape)
