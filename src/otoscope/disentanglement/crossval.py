"""Grouped, nested cross-validation of the Lasso, from fold Gram matrices.

The rows are cut once into folds of whole groups. For the outer fold i, the penalty is chosen by predicting
each other fold j from the rows outside i and j. That fit serves the pair both ways, so 5 folds need 10 + 5
paths, not 25; and its Gram matrix is a difference: everything, less fold i, less fold j. Features and factors
are standardised by the rows that train, each time.

The grid comes from the data and goes on downwards, for a factor, while its best penalty is the weakest tried. It
ends early only where the held-out R2 has fallen by `RISEN` from its best: on 200 random cases no better penalty came
after (``benchmarks/lasso.py``). Each outer fold walks by itself, so that it has no say in the penalty that predicts it.

Given classes, everything is centred within them: means are of each class's training rows. What is then predicted is
what the label alone does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from otoscope.compute import cpu_count, thread_map
from otoscope.disentanglement.coordinate_descent import start
from otoscope.disentanglement.homotopy import follow
from otoscope.disentanglement.lasso import MAX_SWEEPS, check_penalties
from otoscope.disentanglement.moments import Moments
from otoscope.disentanglement.scaling import standardised

PER_DECADE = 4
"""Penalties in a factor of ten."""

DECADES = 2
"""How far below the penalty that keeps nothing the grid always goes."""

MOST_DECADES = 4
"""How far it may go where weak penalties predict best."""

MATCHED = 0.01
"""A fit is as good as the best if its held-out R2 is no further below."""

RISEN = 0.05
"""A path ends where held-out R2 is that much below its best: weaker penalties only overfit."""

_TOL = 1e-7  # duality gap over objective; the path is exact, this is what it is checked by
_AT_A_TIME = 3  # penalties fitted between two looks at what they predict
_BEYOND = 2  # of those past the grid, which cost the most


@dataclass(frozen=True)
class CrossValidated:
    """What held-out rows say about each factor.

    Attributes
    ----------
    predictions : np.ndarray [rows, factors]
        Out-of-fold, the penalty chosen inside each fold; in the units of the factors.
    baseline : np.ndarray [rows, factors]
        The mean of the training rows, or of those of the row's class; the grand mean for a class without.
    r2_cv : np.ndarray [factors]
        R2 of the predictions: about the mean of all rows, or, given classes, about the baseline.
    r2_cv_matched : np.ndarray [factors]
        The same of the strongest penalty that is within `MATCHED` of the best, chosen inside each fold.
    alpha, alpha_matched : np.ndarray [factors]
        The penalty that predicts all held-out folds best, and the strongest as good: those for a refit on all rows.
    weak_edge, strong_edge : np.ndarray [factors]
        Share of the fits (outer folds and refit) whose best penalty is the weakest allowed: a weaker one might be
        better; and the strongest: nothing is predicted.
    alphas : np.ndarray [factors, penalties]
        All that were allowed, decreasing.
    n_tried : np.ndarray [factors]
        How many of them were fitted.
    """

    predictions: np.ndarray
    baseline: np.ndarray
    r2_cv: np.ndarray
    r2_cv_matched: np.ndarray
    alpha: np.ndarray
    alpha_matched: np.ndarray
    weak_edge: np.ndarray
    strong_edge: np.ndarray
    alphas: np.ndarray
    n_tried: np.ndarray


def cross_validate(
    x: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
    alphas: np.ndarray | None = None,
    *,
    classes: np.ndarray | None = None,
    workers: int | None = None,
) -> CrossValidated:
    """Predict every fold from the others.

    Parameters
    ----------
    x : np.ndarray [rows, features], float64
    y : np.ndarray [rows, factors], float64
    folds : np.ndarray [rows]
        Fold of each row, 0 ... n - 1: at least 3, one to test, one to choose on, one to learn from.
    alphas : np.ndarray [penalties], optional
        To choose from; default: a grid from the data, extended where weak penalties predict best.
    classes : np.ndarray [rows] of int, optional
        Class of each row, from 0: features and factors are centred within classes.
    workers : int, optional
        Threads.
    """
    # Scaled once, so that sums of squares are of one size and differences of them keep their digits.
    mean_y, std_y = y.mean(axis=0), y.std(axis=0)
    x, y = standardised(x), standardised(y)
    classes = np.zeros(len(x), dtype=np.int64) if classes is None else np.asarray(classes)
    if alphas is None:
        steps = -np.arange(MOST_DECADES * PER_DECADE + 1) / PER_DECADE
        penalties = np.maximum(_strongest(x, y, classes), 1e-12)[:, None] * 10.0**steps
        n_base = DECADES * PER_DECADE + 1
    else:
        penalties = check_penalties(np.sort(np.asarray(alphas, dtype=np.float64))[::-1], y.shape[1])
        n_base = penalties.shape[1]
    search = _Search(x, y, folds, classes, penalties, workers or cpu_count())
    wanted = np.arange(y.shape[1])
    while len(wanted):
        tried = search.n_tried[wanted[0]]  # the same for all that are still wanted
        search.fit_more(wanted, min(_AT_A_TIME, n_base - tried) if tried < n_base else _BEYOND)
        chosen, going = _walk(search.losses, search.spreads, search.n_tried, n_base)
        wanted = np.flatnonzero(going)
    matched = _strongest_as_good(search.losses, chosen, MATCHED * search.spreads)
    predictions, close = search.predictions(chosen[:-1]), search.predictions(matched[:-1])
    about = y.mean(axis=0) if classes.max() == 0 else search.baseline
    spread = np.maximum(((y - about) ** 2).sum(axis=0), 1e-300)
    factors = np.arange(y.shape[1])
    return CrossValidated(
        predictions * std_y + mean_y,
        search.baseline * std_y + mean_y,
        1 - ((y - predictions) ** 2).sum(axis=0) / spread,
        1 - ((y - close) ** 2).sum(axis=0) / spread,
        penalties[factors, chosen[-1]],
        penalties[factors, matched[-1]],
        (chosen == penalties.shape[1] - 1).mean(axis=0),
        (chosen == 0).mean(axis=0),
        penalties,
        search.n_tried,
    )


def _strongest(x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return, per factor, the penalty from which on nothing is kept of all rows."""
    whole = Moments.of(x, y, classes)
    _, correlation, *_ = whole.standardised()
    return np.abs(correlation).max(axis=1) * (1 + 1e-9)  # whatever rounding does, it keeps nothing


def _walk(
    losses: np.ndarray, spreads: np.ndarray, n_tried: np.ndarray, n_base: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best penalty of each curve, and which factors should be tried at weaker ones.

    A curve ends where it has risen, else with the grid; beyond that it goes on while the last penalty is the best.

    Parameters
    ----------
    losses : np.ndarray [curves, factors, penalties]
    spreads : np.ndarray [curves, factors]
    n_tried : np.ndarray [factors]
    n_base : int
        Penalties of the grid.
    """
    tried = np.arange(losses.shape[2]) < n_tried[:, None]
    lowest = np.minimum.accumulate(losses, axis=2)
    over = tried & (losses > lowest + RISEN * spreads[:, :, None])
    beyond_best = np.roll(losses > lowest, 1, axis=2)  # the one before was no longer the best
    over[:, :, n_base:] |= (tried & beyond_best)[:, :, n_base:]
    ended = np.logical_or.accumulate(over, axis=2)
    chosen = np.where(ended, np.inf, losses).argmin(axis=2)
    last = np.minimum(n_tried, losses.shape[2]) - 1
    in_grid = (n_tried < n_base) & ~ended.any(axis=2)
    beyond = (chosen == last) & (n_tried < losses.shape[2])
    return chosen, (in_grid | beyond).any(axis=0)


def _strongest_as_good(losses: np.ndarray, chosen: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Return the first penalty of each curve whose loss is within `margin` [curves, factors] of the chosen one's."""
    lowest = np.take_along_axis(losses, chosen[:, :, None], axis=2)
    return (losses <= lowest + margin[:, :, None]).argmax(axis=2)


@dataclass
class _Search:
    """Paths of every training set, as far as they have been followed.

    Attributes
    ----------
    losses : np.ndarray [outer folds + 1, factors, penalties]
        Squared errors of all inner folds, for each outer one; then of all outer folds. Infinite where not tried.
    spreads : np.ndarray [outer folds + 1, factors]
        Squared deviations of the same rows from their baselines.
    """

    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    classes: np.ndarray
    penalties: np.ndarray
    workers: int
    states: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.n_folds = int(self.folds.max()) + 1
        n_classes = int(self.classes.max()) + 1
        self.parts = [
            Moments.of(self.x[own], self.y[own], self.classes[own], n_classes)
            for own in (self.folds == fold for fold in range(self.n_folds))
        ]
        n_factors, n_penalties = self.penalties.shape
        self.n_tried = np.zeros(n_factors, dtype=np.int64)
        self.losses = np.full((self.n_folds + 1, n_factors, n_penalties), np.inf)
        self.spreads = np.zeros((self.n_folds + 1, n_factors))
        self.path = np.zeros((n_factors, n_penalties, len(self.x)))  # of the outer folds
        self.baseline = np.empty_like(self.y)

    def fit_more(self, factors: np.ndarray, count: int) -> None:
        """Fit the next `count` penalties of these factors [some] (places in the table), on every training set."""
        first = not self.n_tried.any()
        at = self.n_tried[factors[0]]
        new = slice(at, min(at + count, self.penalties.shape[1]))
        self.losses[:, factors, new] = 0.0
        whole = sum(self.parts[1:], self.parts[0])
        for out in [*combinations(range(self.n_folds), 2), *((fold,) for fold in range(self.n_folds))]:
            train = whole
            for fold in out:
                train = train - self.parts[fold]
            rows = np.isin(self.folds, out)
            path, baseline = self._follow(out, train, rows, factors, new)
            squares = (path - self.y[rows][:, factors].T[:, None]) ** 2
            spread = (baseline - self.y[rows]) ** 2
            own = self.folds[rows]
            if len(out) == 1:
                curves = [(self.n_folds, own == out[0])]
                self.path[np.ix_(factors, np.arange(new.start, new.stop), rows)] = path
                self.baseline[rows] = baseline
            else:  # fold j, as predicted without i and j, is an inner fold of i
                curves = [(out[0], own == out[1]), (out[1], own == out[0])]
            for curve, where in curves:
                self.losses[curve, factors, new] += squares[:, :, where].sum(axis=2)
                if first:
                    self.spreads[curve] += spread[where].sum(axis=0)
        self.n_tried[factors] = new.stop

    def predictions(self, chosen: np.ndarray) -> np.ndarray:
        """Return out-of-fold predictions [rows, factors] at the penalties chosen [outer folds, factors]."""
        found = np.empty_like(self.y)
        for fold in range(self.n_folds):
            rows = self.folds == fold
            found[rows] = self.path[np.arange(len(self.path)), chosen[fold]][:, rows].T
        return found

    def _follow(
        self, out: tuple, train: Moments, rows: np.ndarray, factors: np.ndarray, new: slice
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions [factors, penalties, rows] of held-out rows, as learnt from `train`, and baselines."""
        gram, correlation, inverse_x, inverse_y = train.standardised()
        means_x, means_y = train.means()
        x = (self.x[rows] - means_x[self.classes[rows]]) * inverse_x
        baseline = means_y[self.classes[rows]]
        if out not in self.states:
            self.states[out] = [start(own) for own in correlation]
        path = np.empty((len(factors), new.stop - new.start, len(x)))

        def fit(place: int) -> None:
            factor = factors[place]
            coefs = np.empty((path.shape[1], len(gram)))
            alive = 1.0 if inverse_y[factor] > 0 else 0.0
            state = self.states[out][factor]
            follow(
                gram, correlation[factor], alive, self.penalties[factor, new], _TOL, MAX_SWEEPS, state, coefs
            )
            active = np.flatnonzero(coefs.any(axis=0))
            scale = alive / inverse_y[factor] if alive else 0.0
            path[place] = (x[:, active] @ coefs[:, active].T * scale + baseline[:, [factor]]).T

        places = range(len(factors))
        for _ in thread_map(fit, places, workers=self.workers) if self.workers > 1 else map(fit, places):
            pass
        return path, baseline
