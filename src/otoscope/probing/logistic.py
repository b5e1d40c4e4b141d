"""Many logistic regressions on one set of features, as one batch: the folds of a cross-validation.

Problem b minimises scikit-learn's objective ``||W||^2 / 2 + C_b sum_i m_bi loss(x_i W + v, y_i)``, intercept
v free, where m_b says which rows train it. The problems share the features, so an iteration is two matrix
products for the whole batch. L-BFGS (Nocedal & Wright 2006, alg. 7.4) runs in the principal axes of the
features, each axis scaled by the curvature expected there, in which the problems are nearly round: ten to
thirty iterations do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_MEMORY = 8
_MAX_ITERATIONS = 500


@dataclass(frozen=True)
class PrincipalAxes:
    """Features in their principal axes: ``x = scores @ axes + mean``; scores [rows, rank], axes [rank, features]."""

    scores: np.ndarray
    axes: np.ndarray
    mean: np.ndarray


def principal_axes(x: np.ndarray) -> PrincipalAxes:
    """Rotate `x` [rows, features]; a ridge penalty does not notice, and directions without variance drop out."""
    mean = x.mean(axis=0)
    centred = np.asarray(x - mean, dtype=np.float64)
    wide = centred.shape[1] > len(centred)
    squares, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    keep = squares > 1e-12 * max(float(squares[-1]), 1e-300)
    if wide:  # from the axes of the rows to those of the features
        lengths = np.sqrt(squares[keep])
        return PrincipalAxes(vectors[:, keep] * lengths, (vectors[:, keep] / lengths).T @ centred, mean)
    return PrincipalAxes(centred @ vectors[:, keep], vectors[:, keep].T, mean)


def fit_logistic(
    features: PrincipalAxes,
    targets: np.ndarray,
    masks: np.ndarray,
    strengths: np.ndarray,
    *,
    multi_label: bool = False,
    start: np.ndarray | None = None,
    tol: float = 1e-7,
    dtype: torch.dtype = torch.float64,
) -> np.ndarray:
    """Fit every problem; see `to_features` for weights of the features.

    Parameters
    ----------
    features : PrincipalAxes
    targets : np.ndarray [rows, outputs]
        One-hot for classes; 0 or 1 in any number for several labels at once.
    masks : np.ndarray [problems, rows]
        1 where a row trains the problem, else 0.
    strengths : np.ndarray [problems]
        scikit-learn's C: larger fits closer.
    multi_label : bool
        Sigmoid outputs, each on its own, instead of a softmax.
    start : np.ndarray [problems, rank + 1, outputs], optional
        Where to begin: the answer for a neighbouring C.
    tol : float
        Stop a problem when an iteration lowers its objective by less than this fraction.
    dtype : torch.dtype
        float32 is twice as fast, and enough to choose C by.

    Returns
    -------
    np.ndarray [problems, rank + 1, outputs]
        Weights of the principal axes, the intercept last: ``logits = scores @ w[b, :-1] + w[b, -1]``.
    """
    scores = np.column_stack([features.scores, np.ones(len(features.scores))])
    design, y, mask, c = (
        torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
        for values in (scores, targets, masks, strengths)
    )
    share = y.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    curvature = (share * (1 - share)).mean() * (
        1.0 if multi_label else 0.5
    )  # of the loss, at the shares of the outputs
    expected = c[:, None] * mask.mean(dim=1)[:, None] * (design**2).sum(dim=0) * curvature
    penalised = torch.ones(design.shape[1], dtype=dtype)
    penalised[-1] = 0.0  # the intercept
    scale = (expected + penalised).rsqrt()[:, :, None]
    problem = _Problem(design, y, mask, c, penalised[None, :, None], scale, multi_label)
    shape = (len(c), design.shape[1], y.shape[1])
    at = torch.zeros(shape, dtype=dtype) if start is None else torch.from_numpy(start).to(dtype) / scale
    return (_minimise(problem, at, tol) * scale).double().numpy()


def to_features(features: PrincipalAxes, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [features, outputs] and intercepts [outputs] of one problem of `fit_logistic`."""
    rotated = features.axes.T @ weights[:-1]
    return rotated, weights[-1] - features.mean @ rotated


@dataclass(frozen=True)
class _Problem:
    design: torch.Tensor  # [rows, axes + 1]
    y: torch.Tensor  # [rows, outputs]
    mask: torch.Tensor  # [problems, rows]
    c: torch.Tensor  # [problems]
    penalised: torch.Tensor  # [1, axes + 1, 1]
    scale: torch.Tensor  # [problems, axes + 1, 1]: weights are parameters times this
    multi_label: bool

    def pick(self, which: torch.Tensor) -> _Problem:
        return _Problem(
            self.design,
            self.y,
            self.mask[which],
            self.c[which],
            self.penalised,
            self.scale[which],
            self.multi_label,
        )

    def __call__(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the objective [problems] and its gradient [problems, axes + 1, outputs]."""
        weights = parameters * self.scale
        b, p, k = weights.shape
        logits = (self.design @ weights.permute(1, 0, 2).reshape(p, b * k)).view(-1, b, k)
        if self.multi_label:
            probability = logits.sigmoid()
            losses = (torch.nn.functional.softplus(logits) - logits * self.y[:, None]).sum(dim=2)
        else:
            log_norm = logits.logsumexp(dim=2, keepdim=True)
            losses = log_norm.squeeze(2) - (logits * self.y[:, None]).sum(dim=2)
            probability = logits.sub_(log_norm).exp_()
        row_weight = self.mask.T * self.c  # [rows, problems]
        penalty = weights * self.penalised
        value = 0.5 * (weights * penalty).sum(dim=(1, 2)) + (losses * row_weight).sum(dim=0)
        error = probability.sub_(self.y[:, None]).mul_(row_weight[:, :, None])
        gradient = (self.design.T @ error.view(-1, b * k)).view(p, b, k).permute(1, 0, 2)
        return value, (gradient + penalty) * self.scale


def _minimise(problem: _Problem, at: torch.Tensor, tol: float) -> torch.Tensor:
    """Return the parameters [problems, axes + 1, outputs]; each problem has its own step, and leaves when done."""
    rounding = 50 * torch.finfo(at.dtype).eps  # of an objective
    result = at.clone()
    alive = torch.arange(len(at))
    value, gradient = problem(at)
    steps: list[torch.Tensor] = []
    changes: list[torch.Tensor] = []
    rhos: list[torch.Tensor] = []
    for _ in range(_MAX_ITERATIONS):
        direction = _direction(gradient, steps, changes, rhos)
        slope = _dot(direction, gradient)
        rate = torch.ones_like(value)
        new_value, new_gradient = problem(at + direction)
        for _ in range(25):  # halve the steps that do not lower their problem (Armijo)
            short = ~(new_value <= value + 1e-4 * rate * slope + rounding * value.abs())
            if not short.any():
                break
            rate[short] *= 0.5
            part = problem.pick(short)
            new_value[short], new_gradient[short] = part(
                at[short] + rate[short, None, None] * direction[short]
            )
        step = rate[:, None, None] * direction
        steps.append(step)
        changes.append(new_gradient - gradient)
        curvature = _dot(step, changes[-1])  # a step without any is skipped
        rhos.append(torch.where(curvature > 1e-12, 1 / curvature.clamp_min(1e-12), 0.0))
        steps, changes, rhos = steps[-_MEMORY:], changes[-_MEMORY:], rhos[-_MEMORY:]
        at = at + step
        fell = value - new_value
        value, gradient = new_value, new_gradient
        done = fell <= max(tol, rounding) * value.abs()
        if done.any():
            result[alive[done]] = at[done]
            stay = ~done
            if not stay.any():
                return result
            alive, at, value, gradient = (t[stay] for t in (alive, at, value, gradient))
            problem = problem.pick(stay)
            steps, changes, rhos = ([t[stay] for t in kept] for kept in (steps, changes, rhos))
    result[alive] = at
    return result


def _direction(
    gradient: torch.Tensor,
    steps: list[torch.Tensor],
    changes: list[torch.Tensor],
    rhos: list[torch.Tensor],
) -> torch.Tensor:
    """Return minus the inverse Hessian, as remembered, times the gradient: the two-loop recursion."""
    q = gradient.clone()
    kept = []
    for step, change, rho in zip(reversed(steps), reversed(changes), reversed(rhos)):
        a = rho * _dot(step, q)
        q -= a[:, None, None] * change
        kept.append((step, change, rho, a))
    if steps:
        size = _dot(changes[-1], changes[-1])
        gamma = torch.where(size > 0, _dot(steps[-1], changes[-1]) / size.clamp_min(1e-300), 1.0).clamp_min(
            1e-6
        )
        q *= gamma[:, None, None]
    for step, change, rho, a in reversed(kept):
        q += (a - rho * _dot(change, q))[:, None, None] * step
    return -q


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    n = len(a)
    return torch.bmm(a.reshape(n, 1, -1), b.reshape(n, -1, 1)).view(n)
