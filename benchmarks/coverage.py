"""How often intervals over groups hold the truth, and how often a difference is seen where there is none.

Run ``python benchmarks/coverage.py`` (a quarter of an hour; killed, the same command goes on where it was). Clips
are right or wrong; the rates of groups are Beta with mean `mean` and correlation `rho` of two clips of a group; groups
are of 50 clips each ("equal"), or of 10 to 120 ("unequal"). The truth is `mean`, the score of clips of new groups.

Parts (``--parts scores,differences,claims,losses``):

scores
    `coverage` of the 95 % interval of an accuracy; `trusted`, in what share of trials it was said to be trusted;
    `wrongly_trusted`, in what share of trials it was said to be so and missed.
differences
    `false_positives` of paired differences without any difference: "own", two probes each with rates of its own in
    every group; "shared", two probes that find the same groups hard.
claims, losses
    In what share of small experiments each claim is said to hold, or a loss to be shown: see ``coverage_claims.py``
    (ten minutes more). "rotation" and "random_labels" are where nothing was learnt; in "margin" codes lose a little,
    in "planted" they gain, in "lost" they lose much.
"""

from __future__ import annotations

if __name__ == "coverage":  # numba looks for the package of this name, and beside a benchmark finds this file
    raise ImportError("this is a benchmark of Otoscope's, not the package that measures tests")

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from coverage_claims import MEASURES as CLAIMS
from coverage_claims import claimed

from otoscope.probing import mean_interval, paired_difference

MEANS, RHOS, N_GROUPS, SIZES = (0.5, 0.7, 0.9, 0.97), (0.02, 0.1, 0.3), (4, 5, 8, 20), ("equal", "unequal")
CASE = ["part", "kind", "sizes", "mean", "rho", "n_groups"]
MEASURES = {"scores": ["coverage", "trusted", "wrongly_trusted"], "differences": ["false_positives"]}
MEASURES |= {"claims": CLAIMS, "losses": CLAIMS}


def scores(kind: str, sizes: str, mean: float, rho: float, n_groups: int, trials: int) -> dict[str, float]:
    """Return how the interval of a score did over `trials`."""
    held, trusted = np.zeros(trials, dtype=bool), np.zeros(trials, dtype=bool)
    for trial, (groups, (correct,)) in enumerate(drawn("own", sizes, mean, rho, n_groups, trials, probes=1)):
        found = mean_interval(correct, groups, scale="share")
        held[trial], trusted[trial] = found.low <= mean <= found.high, found.trusted
    return {
        "coverage": held.mean(),
        "trusted": trusted.mean(),
        "wrongly_trusted": (trusted & ~held).mean(),
    }


def differences(
    kind: str, sizes: str, mean: float, rho: float, n_groups: int, trials: int
) -> dict[str, float]:
    """Return how often a paired interval excluded 0 where nothing differs."""
    excluded = 0
    for groups, (a, b) in drawn(kind, sizes, mean, rho, n_groups, trials, probes=2):
        found = paired_difference(a, b, groups)
        excluded += not found.low <= 0 <= found.high
    return {"false_positives": excluded / trials}


GRID = list(itertools.product(SIZES, MEANS, RHOS, N_GROUPS))
ONE = [("equal", 0.8, 0.05, 8)]
"""The one experiment that claims are tested on."""
PARTS: dict[str, tuple[Callable[..., dict[str, float]], tuple[str, ...], list[tuple], int]] = {
    "scores": (scores, ("accuracy",), GRID, 4000),
    "differences": (differences, ("own", "shared"), GRID, 6000),
    "claims": (lambda kind, *_, trials: claimed(kind, trials), ("rotation", "random_labels"), ONE, 100),
    "losses": (lambda kind, *_, trials: claimed(kind, trials), ("margin", "planted", "lost"), ONE, 20),
}
"""Part -> what measures a case, kinds of case, cases of each kind, trials."""


def drawn(
    kind: str, sizes: str, mean: float, rho: float, n_groups: int, trials: int, *, probes: int
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yield the group of each clip and, for each probe, 1.0 where it is right; the same trials for the same case."""
    seed = [round(1000 * mean), round(1000 * rho), n_groups, SIZES.index(sizes), probes, kind == "own"]
    rng = np.random.default_rng(seed)
    spread = (1 - rho) / rho
    for _ in range(trials):
        n = np.full(n_groups, 50) if sizes == "equal" else rng.integers(10, 121, n_groups)
        groups = np.repeat(np.arange(n_groups), n)
        rates = rng.beta(mean * spread, (1 - mean) * spread, (probes, n_groups))
        rates = rates if kind == "own" else np.repeat(rates[:1], probes, axis=0)
        yield groups, [(rng.random(len(groups)) < own[groups]).astype(float) for own in rates]


def measure(parts: list[str], trials: int | None, out: Path) -> pd.DataFrame:
    """Return the measures of every case of `parts`; those that are in the file `out` are not measured again."""
    rows = pd.read_csv(out).to_dict("records") if out.exists() else []
    done = {tuple(row[name] for name in CASE) for row in rows if trials in (None, row["trials"])}
    rows = [row for row in rows if tuple(row[name] for name in CASE) in done]
    for part in parts:
        function, kinds, grid, usual = PARTS[part]
        for case in ((kind, *own) for kind in kinds for own in grid):
            if (part, *case) in done:
                continue
            found = function(*case, trials=trials or usual)
            rows.append(dict(zip(CASE, (part, *case))) | found | {"trials": trials or usual})
            pd.DataFrame(rows).to_csv(out, index=False)
    table = pd.DataFrame(rows)
    return table[table.part.isin(parts)]


def main() -> None:
    """Measure what is asked for, print the tables and what the worst cases are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--trials", type=int, help="of each case; default: 4,000, 6,000, 100 and 20")
    parser.add_argument("--out", type=Path, default=Path("coverage.csv"))
    options = parser.parse_args()
    start = time.perf_counter()
    table = measure(options.parts.split(","), options.trials, options.out)
    for (part, kind), own in table.groupby(["part", "kind"], sort=False):
        if part in ("claims", "losses"):
            print(f"\n{part}, {kind}: said of {own.trials.iloc[0]} experiments")
            print(own[MEASURES[part]].T.to_string(header=False, float_format="%.2f"))
            continue
        for name in MEASURES[part]:
            print(f"\n{part}, {kind}: {name} (columns: groups)")
            wide = own.pivot_table(index=["sizes", "mean", "rho"], columns="n_groups", values=name)
            print(wide.to_string(float_format="%.3f"))
    if "coverage" in table:
        bar = table[table["mean"].isin((0.5, 0.7)) & (table.part == "scores")]
        for sizes, own in bar.groupby("sizes"):
            print(
                f"\nmeans .5 and .7, {sizes} sizes: coverage {own.coverage.min():.3f} to {own.coverage.max():.3f}"
            )
    if "false_positives" in table:
        print(f"false positives of paired differences: at most {table.false_positives.max():.3f}")
    print(f"{time.perf_counter() - start:.0f} s; in {options.out}")


if __name__ == "__main__":
    main()
