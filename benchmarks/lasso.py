"""Our Lasso against scikit-learn's: is the cross-validation exact, and how fast is it? ``python benchmarks/lasso.py``.

1. ``--cases`` random cases (n 100 to 1,000, p 50 to 512, correlated columns, a fourth of the factors chance): the
   held-out R2 of `cross_validate` against nested loops over scikit-learn's `lasso_path` at tol 1e-8, same penalties and
   folds. Cases whose two best penalties tie within 1e-6 of R2 are counted apart. (Half an hour of processor time.)
   On the first ``--timed`` of them, the time beside scikit-learn's at every tolerance (each training set is fitted
   once there too, its Gram matrix made once, and a path starts warm), and how far off each is.
2. 88 factors on 400 clips at one penalty, as published, spread over the same cores by joblib: codes of 2,048 latents at
   six sparsities (TopK of a mixture of hidden causes) and the dense 768 they come from. Both sides must reach the same
   objective (1e-6 relative, by factor). Each is timed `--repeats` times, in turns. Takes celer in if it is installed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso
from sklearn.linear_model import lasso_path as scikit_path

from otoscope.clips import group_folds
from otoscope.compute import cpu_count, one_thread_each
from otoscope.disentanglement import lasso_path
from otoscope.disentanglement.crossval import DECADES, PER_DECADE, cross_validate

ALPHA = 0.1
SPARSITIES = (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)
EXACT = 1e-8
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
TIE = 1e-6
BAR = 1e-4


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--timed", type=int, default=20)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--factors", type=int, default=88)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.timed:
        compare_times(options.timed)
    if options.cases:
        compare_cases(options.cases)
    if options.repeats:
        compare_published(options)


def compare_cases(n_cases: int) -> None:
    """Print how far our held-out R2 is from the exact one."""
    print(f"{n_cases} random cases: cross_validate against scikit-learn at tol {EXACT:.0e}")
    errors, ties = [], 0
    with Parallel(n_jobs=cpu_count(), return_as="generator", pre_dispatch="all") as pool:
        for seed, (ours, exact) in enumerate(pool(delayed(both)(seed) for seed in range(n_cases))):
            if exact.tie < TIE:
                ties += 1
                continue
            errors.append(abs(ours - exact.r2))
            if errors[-1] > BAR:
                print(f"  case {seed}: {ours:.6f}, exactly {exact.r2:.6f}")
            if seed % 20 == 19 or seed == n_cases - 1:
                found = np.array(errors)
                print(
                    f"  {seed + 1:4d} cases: largest error {found.max():.1e}, {(found > BAR).sum()} over {BAR:.0e}, "
                    f"{ties} ties apart",
                    flush=True,
                )


def both(seed: int) -> tuple[float, Nested]:
    """Return our held-out R2 of a random case, and the exact one."""
    x, y, folds = random_case(seed)
    with one_thread_each():
        ours = cross_validate(x, y, folds, workers=1)
        return float(ours.r2_cv[0]), nested(x, y[:, 0], folds, ours.alphas[0], tol=EXACT)


def compare_times(n_cases: int) -> None:
    """Print the time of our cross-validation and of scikit-learn's at each tolerance, and how far each is off."""
    names = ["otoscope", *(f"scikit-learn {tol:.0e}" for tol in TOLERANCES)]
    seconds, errors = dict.fromkeys(names, 0.0), {name: [] for name in names}
    cross_validate(*random_case(0))  # compiles
    with one_thread_each():
        for seed in range(n_cases):
            x, y, folds = random_case(seed)
            found = {}
            start = time.process_time()
            ours = cross_validate(x, y, folds, workers=1)
            seconds["otoscope"] += time.process_time() - start
            found["otoscope"] = ours.r2_cv[0]
            for name, tol in zip(names[1:], TOLERANCES):
                start = time.process_time()
                found[name] = nested(x, y[:, 0], folds, ours.alphas[0], tol=tol).r2
                seconds[name] += time.process_time() - start
            for name, r2 in found.items():
                errors[name].append(abs(r2 - found["otoscope"]))
    print(f"the first {n_cases} of them, one core, processor seconds; how far from ours, which is exact")
    print(f"{'':>20}{'largest error':>16}{f'over {BAR:.0e}':>12}{'seconds':>10}{'ratio':>8}")
    for name in names:
        own, ratio = np.array(errors[name]), seconds[name] / seconds["otoscope"]
        print(f"{name:>20}{own.max():16.1e}{(own > BAR).sum():12d}{seconds[name]:10.1f}{ratio:8.1f}")


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features [rows, p], a factor [rows, 1] and folds of a random case."""
    rng = np.random.default_rng(seed)
    n, p = int(np.exp(rng.uniform(np.log(100), np.log(1000)))), int(rng.integers(50, 513))
    causes = rng.standard_normal((n, int(rng.integers(5, 60))))
    x = causes @ rng.standard_normal((causes.shape[1], p)) / np.sqrt(causes.shape[1])
    x += rng.uniform(0.05, 2) * rng.standard_normal((n, p))
    if rng.random() < 0.5:  # codes: the largest of each row
        kept = rng.uniform(0.02, 0.5)
        x = np.where(x >= np.quantile(x, 1 - kept, axis=1, keepdims=True), np.maximum(x, 0), 0)
    groups = rng.integers(0, rng.integers(5, 25), n)
    signal = np.zeros(n)
    if rng.random() < 0.75:
        members = rng.choice(p, int(np.exp(rng.uniform(0, np.log(50)))), replace=False)
        signal = x[:, members] @ rng.standard_normal(len(members))
        signal /= max(signal.std(), 1e-9)
    y = signal + np.exp(rng.uniform(-3, 1)) * rng.standard_normal(n) + 0.3 * rng.standard_normal(25)[groups]
    return x, y[:, None], group_folds(groups, 5)


@dataclass(frozen=True)
class Nested:
    """A plain nested cross-validation: held-out R2, and how near (in R2) the two best penalties of a choice came."""

    r2: float
    tie: float


def nested(x: np.ndarray, y: np.ndarray, folds: np.ndarray, alphas: np.ndarray, *, tol: float) -> Nested:
    """Cross-validate by scikit-learn's `lasso_path`, every penalty of the grid, further ones while the last is best."""
    n_folds = folds.max() + 1
    paths = {
        out: Path(x, y, ~np.isin(folds, out), alphas, tol)
        for out in [*combinations(range(n_folds), 2), *((fold,) for fold in range(n_folds))]
    }
    predicted, tie = np.empty(len(y)), np.inf
    for fold in range(n_folds):
        inner = [other for other in range(n_folds) if other != fold]
        losses: list[float] = []
        while len(losses) < len(alphas):
            at = len(losses)
            if at >= DECADES * PER_DECADE + 1 and np.argmin(losses) < at - 1:
                break
            losses.append(
                sum(
                    (
                        (y[folds == j] - paths[min(j, fold), max(j, fold)].predict(x[folds == j], at)) ** 2
                    ).sum()
                    for j in inner
                )
            )
        best, second = np.sort(losses)[:2]
        own = np.isin(folds, inner)
        tie = min(tie, (second - best) / ((y[own] - y[own].mean()) ** 2).sum())
        predicted[folds == fold] = paths[(fold,)].predict(x[folds == fold], int(np.argmin(losses)))
    return Nested(float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()), float(tie))


class Path:
    """A training set's path, fitted as far as it is asked for."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, train: np.ndarray, alphas: np.ndarray, tol: float
    ) -> None:
        self.mean, self.std = x[train].mean(axis=0), x[train].std(axis=0)
        self.alive = self.std > 1e-6
        self.std[~self.alive] = 1.0
        self.mean_y, self.std_y = y[train].mean(), y[train].std()
        self.x = np.asfortranarray((x[train] - self.mean) / self.std * self.alive)
        self.y = (y[train] - self.mean_y) / self.std_y
        self.alphas, self.tol = alphas, tol
        self.coefs = np.zeros((x.shape[1], 0))

    def predict(self, x: np.ndarray, at: int) -> np.ndarray:
        """Predict rows at the penalty number `at`."""
        if at >= self.coefs.shape[1]:
            stop = max(at + 1, min(DECADES * PER_DECADE + 1, len(self.alphas)))
            new = self.alphas[self.coefs.shape[1] : stop]
            begin = self.coefs[:, -1].copy() if self.coefs.shape[1] else None
            with warnings.catch_warnings():
                warnings.simplefilter("error", ConvergenceWarning)
                _, coefs, _ = scikit_path(
                    self.x, self.y, alphas=new, tol=self.tol, max_iter=1_000_000, coef_init=begin
                )
            self.coefs = np.column_stack([self.coefs, coefs])
        return ((x - self.mean) / self.std * self.alive) @ self.coefs[:, at] * self.std_y + self.mean_y


def compare_published(options: argparse.Namespace) -> None:
    """Print a line per representation and the ratio of the sums."""
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
