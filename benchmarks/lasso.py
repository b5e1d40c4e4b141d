"""88 factors on 400 clips: our Lasso solver against scikit-learn's, spread over the same cores by joblib.

Run ``python benchmarks/lasso.py``. Codes of 2,048 latents at six sparsities (TopK of a mixture of hidden causes) and
the dense 768 they come from, penalty 0.1, standardised. Both sides must reach the same objective (1e-6 relative, by
factor). Each side is timed `--repeats` times, in turns; the best times are compared.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import Lasso

from otoscope.compute import cpu_count
from otoscope.disentanglement import lasso_path

ALPHA = 0.1
SPARSITIES = (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)


def main() -> None:
    """Print a line per representation and the ratio of the sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--factors", type=int, default=88)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    representations, factors = make(options.rows, options.latents, options.factors)
    cores = cpu_count()
    print(
        f"{options.factors} factors, {options.rows} rows, {cores} cores; seconds, best of {options.repeats}"
    )
    print(f"{'representation':>16} {'scikit-learn':>13} {'otoscope':>9} {'ratio':>6} {'objective':>10}")
    sums = np.zeros(2)
    with Parallel(n_jobs=cores) as pool:
        loop(pool, representations["dense"][:50, :20], factors[:50])  # start the workers,
        lasso_path(representations["dense"][:50, :20], factors[:50], np.array([ALPHA]))  # compile
        for name, x in representations.items():
            theirs_s, ours_s = np.inf, np.inf
            for _ in range(options.repeats):
                start = time.perf_counter()
                theirs = loop(pool, x, factors)
                theirs_s = min(theirs_s, time.perf_counter() - start)
                start = time.perf_counter()
                ours = lasso_path(x, factors, np.array([ALPHA]))[:, 0]
                ours_s = min(ours_s, time.perf_counter() - start)
            difference = (objective(x, factors, ours) / objective(x, factors, theirs) - 1).max()
            if difference > 1e-6:
                raise SystemExit(f"{name}: our objective is {difference:.1e} above scikit-learn's")
            sums += theirs_s, ours_s
            print(f"{name:>16} {theirs_s:13.2f} {ours_s:9.2f} {theirs_s / ours_s:6.1f} {difference:+10.0e}")
    print(f"{'all':>16} {sums[0]:13.2f} {sums[1]:9.2f} {sums[0] / sums[1]:6.1f}")


def loop(pool: Parallel, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return scikit-learn's coefficients [factors, features], a factor at a time on each core."""
    return np.array(pool(delayed(fit)(x, target) for target in y.T))


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit one factor as published."""
    return Lasso(alpha=ALPHA, max_iter=10_000).fit(x, y).coef_


def objective(x: np.ndarray, y: np.ndarray, coefs: np.ndarray) -> np.ndarray:
    """Return the objective of each factor."""
    return ((y - x @ coefs.T) ** 2).mean(axis=0) / 2 + ALPHA * np.abs(coefs).sum(axis=1)


def make(rows: int, latents: int, n_factors: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return standardised representations, codes and dense, and factors, of clips with 60 hidden causes."""
    rng = np.random.default_rng(0)
    causes = rng.standard_normal((rows, 60))
    dense = causes @ rng.standard_normal((60, 768)) + 2 * rng.standard_normal((rows, 768))
    raw = dense @ rng.standard_normal((768, latents)) / np.sqrt(768)
    representations = {"dense": standardised(dense)}
    for sparsity in SPARSITIES:
        k = int((1 - sparsity) * latents)
        threshold = np.partition(raw, -k, axis=1)[:, [-k]]
        representations[f"codes {sparsity:.0%}"] = standardised(
            np.where(raw >= threshold, np.maximum(raw, 0), 0)
        )
    factors = causes[:, :40] @ rng.standard_normal((40, n_factors)) + 3 * rng.standard_normal(
        (rows, n_factors)
    )
    return representations, standardised(factors)


def standardised(values: np.ndarray) -> np.ndarray:
    """Return columns of mean 0 and deviation 1 (0 where constant)."""
    std = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(std > 0, std, 1)


if __name__ == "__main__":
    main()
