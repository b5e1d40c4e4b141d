"""88 factors on 400 clips: our Lasso solver against scikit-learn's, spread over the same cores by joblib.

Run ``python benchmarks/lasso.py``. Codes of 2,048 latents at six sparsities (TopK of a mixture of hidden causes) and
the dense 768 they come from, penalty 0.1, standardised. Both sides must reach the same objective (1e-6 relative, by
factor). Each is timed `--repeats` times, in turns; the best times are compared. Takes celer in if it is installed.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

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
    contenders = {"scikit-learn": Lasso}
    if find_spec("celer"):
        from celer import Lasso as Celer

        contenders["celer"] = Celer
    print(f"{'':>16}" + "".join(f"{name:>14}" for name in [*contenders, "otoscope"]))
    sums = dict.fromkeys([*contenders, "otoscope"], 0.0)
    with Parallel(n_jobs=cores) as pool:
        for name, x in {"": representations["dense"][:50, :20], **representations}.items():
            y = factors[: len(x)]
            times = dict.fromkeys(sums, np.inf)
            for _ in range(options.repeats):
                found = {}
                for contender in sums:
                    start = time.perf_counter()
                    if contender == "otoscope":
                        found[contender] = lasso_path(x, y, np.array([ALPHA]))[:, 0]
                    else:
                        found[contender] = loop(pool, contenders[contender], x, y)
                    times[contender] = min(times[contender], time.perf_counter() - start)
            if not name:
                continue  # the workers are started and the solvers compiled
            reached = {contender: objective(x, y, coefs) for contender, coefs in found.items()}
            difference = (reached["otoscope"] / reached["scikit-learn"] - 1).max()
            if difference > 1e-6:
                raise SystemExit(f"{name}: our objective is {difference:.1e} above scikit-learn's")
            for contender, seconds in times.items():
                sums[contender] += seconds
            print(f"{name:>16}" + "".join(f"{seconds:14.2f}" for seconds in times.values()))
    print(f"{'all':>16}" + "".join(f"{seconds:14.2f}" for seconds in sums.values()))
    print(f"{'ratio':>16}" + "".join(f"{seconds / sums['otoscope']:14.1f}" for seconds in sums.values()))


def loop(pool: Parallel, solver: type, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a solver's coefficients [factors, features], a factor at a time on each core."""
    return np.array(pool(delayed(fit)(solver, x, target) for target in y.T))


def fit(solver: type, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit one factor as published; the tolerance is the solver's own."""
    return solver(alpha=ALPHA, max_iter=10_000).fit(x, y).coef_


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
