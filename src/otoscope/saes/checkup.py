"""Is a trained dictionary fit to make claims about? Living latents, latents that never switch off, error, convergence.

The verdict looks at three things, each a way in which codes can be sparse on paper only:

- error: held-out rows are told no better than by their mean (FVU of 1 or more);
- always the same latents: over half of all activity comes from latents on in over half of the rows. Such a code says
  the same about every row, whatever its L0; healthy dictionaries of real activations have a few such latents, which
  carry a few percent;
- dead latents: a quarter or less ever fires. At 95 % sparsity k is then a fifth or more of what lives: the code is
  no longer sparse, and its width is not what was asked for. Up to three quarters it is called worn: usable, but not
  what its width says.

Rows on which each number was measured stand beside it. Where held-out rows have many more active latents than
training rows, or far fewer, the verdict says so: kinds that choose latents by a threshold learnt it from other rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from otoscope.saes.metrics import reconstruction_metrics
from otoscope.saes.nulls import Components, fit_pca

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.saes.base import SparseAutoencoder

COLLAPSED_ALIVE = 0.25
"""Share of living latents at or below which a dictionary has collapsed."""
WORN_ALIVE = 0.75
"""Share of living latents below which it is worn."""
COLLAPSED_DENSE = 0.5
"""Share of all activity that comes from latents on in over half of the rows, from which it has collapsed."""
WORN_DENSE = 0.25
"""The same, from which it is worn."""
SHIFTED = 1.5
"""How many times as many latents, or as few, may be on in a held-out row as in a training row before it is said."""
SETTLED = 0.01
"""Fall of the validation error over the last tenth of training, as a share of it, below which it has converged."""

COLUMNS = (
    "n_latents", "alive", "dead", "alive_rows", "dead_held_out", "held_out_rows", "dense", "dense_activity", "l0",
    "fvu", "pca_k", "pca_fvu", "best_epoch", "epochs", "tail_slope", "converged", "state", "verdict",
)  # fmt: skip
STATES = ("healthy", "worn", "collapsed")


@dataclass(frozen=True)
class Health:
    """What :func:`health` finds: a row of ``health.csv``."""

    n_latents: int
    alive: int
    """Latents active in at least one training row."""
    dead: int
    """The others."""
    alive_rows: int
    """Training rows they were counted on."""
    dead_held_out: int
    """Latents active in no held-out row."""
    held_out_rows: int
    dense: int
    """Latents active in over half of the training rows."""
    dense_activity: float
    """Their share of all activity: of L0, on training rows."""
    l0: float
    """Mean number of active latents in a held-out row."""
    fvu: float
    """Fraction of variance unexplained, on held-out rows."""
    pca_k: int
    """Components of the PCA beside it: k, or the L0 where the kind fixes no k."""
    pca_fvu: float
    """What PCA leaves unexplained with so many components, fitted on the training rows, on the held-out ones."""
    best_epoch: float
    """The epoch that was kept, from 1; NaN without a history."""
    epochs: float
    tail_slope: float
    """Relative fall of the validation error (of the training error, without) over the last tenth of the epochs."""
    converged: bool
    """Whether that is under 1 %."""
    state: str
    """``healthy``, ``worn`` or ``collapsed``."""
    verdict: str
    """The state in words, with the numbers behind it."""


class Rows(Protocol):
    """Rows that come in parts, the same ones each time; its length is their number."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


def health(
    sae: SparseAutoencoder,
    train: np.ndarray | Rows,
    held_out: np.ndarray | Rows,
    *,
    pca: Components | None = None,
) -> Health:
    """Examine an autoencoder on the rows that it was trained on and on others.

    Parameters
    ----------
    sae
        A trained autoencoder.
    train, held_out : [rows, n_inputs], or parts of such
        Raw activations.
    pca
        Components of `train`, where they are at hand (:func:`otoscope.saes.nulls.fit_pca`).
    """
    pca = fit_pca(train) if pca is None else pca
    on_train, on_held_out = reconstruction_metrics(sae, train), reconstruction_metrics(sae, held_out)
    alive = int((on_train.density > 0).sum())
    dense = on_train.density > 0.5
    activity = float(on_train.density[dense].sum() / on_train.l0) if on_train.l0 > 0 else 0.0
    k = sae.config.active or max(round(on_held_out.l0), 1)
    best_epoch, epochs, slope = convergence(sae.history)
    state, verdict = judge(sae.n_latents, alive, int(dense.sum()), activity, on_held_out.fvu)
    shift = on_held_out.l0 / on_train.l0 if on_train.l0 > 0 else 1.0
    if not 1 / SHIFTED <= shift <= SHIFTED and state != "collapsed":
        verdict += (
            f"; {on_held_out.l0:.3g} latents are on in a held-out row and {on_train.l0:.3g} in a training row: "
            "held-out rows are unlike what it learnt from"
        )
    converged = bool(slope < SETTLED)
    if not converged and np.isfinite(slope) and state != "collapsed":
        verdict += f"; the error still fell by {slope:.1%} in the last tenth of training"
    return Health(
        n_latents=sae.n_latents,
        alive=alive,
        dead=sae.n_latents - alive,
        alive_rows=len(train),
        dead_held_out=int((on_held_out.density == 0).sum()),
        held_out_rows=len(held_out),
        dense=int(dense.sum()),
        dense_activity=activity,
        l0=on_held_out.l0,
        fvu=on_held_out.fvu,
        pca_k=k,
        pca_fvu=pca.fvu(held_out, k),
        best_epoch=best_epoch,
        epochs=epochs,
        tail_slope=slope,
        converged=converged,
        state=state,
        verdict=verdict,
    )


def judge(n_latents: int, alive: int, dense: int, dense_activity: float, fvu: float) -> tuple[str, str]:
    """Return the state of a dictionary and the verdict in words (see the module's thresholds)."""
    living = f"{alive:,} of {n_latents:,} latents"
    if not fvu < 1:
        return "collapsed", f"collapsed: it tells held-out rows no better than their mean (FVU {fvu:.2f})"
    if alive <= COLLAPSED_ALIVE * n_latents:
        return "collapsed", f"collapsed: {living} carry everything"
    if dense_activity >= COLLAPSED_DENSE:
        what = f"{dense:,} latents that are on in over half of the rows make {dense_activity:.0%} of all activity"
        return "collapsed", f"collapsed: {what}"
    worn = []
    if alive < WORN_ALIVE * n_latents:
        worn.append(f"{living} alive")
    if dense_activity >= WORN_DENSE:
        worn.append(
            f"{dense:,} latents on in over half of the rows make {dense_activity:.0%} of all activity"
        )
    if worn:
        return "worn", "worn: " + ", ".join(worn)
    return "healthy", "healthy" if alive == n_latents else f"healthy: {living} alive"


def convergence(history: pd.DataFrame | None) -> tuple[float, float, float]:
    """Return the best epoch (from 1), the number of epochs, and the relative fall of the error over the last tenth.

    The fall is that of the mean error from the tenth before the last to the last one, a tenth being one epoch at
    least; negative where the error rises. NaN where there is no history, or one epoch.
    """
    if history is None or not len(history):
        return float("nan"), float("nan"), float("nan")
    best = float(history["best"].to_numpy().argmax()) + 1
    errors = history["validation_mse"].to_numpy(dtype=float)
    if np.isnan(errors).any():
        errors = history["train_mse"].to_numpy(dtype=float)
    tenth = max(len(errors) // 10, 1)
    if len(errors) < 2 * tenth or len(errors) < 2:
        return best, float(len(errors)), float("nan")
    before, last = errors[-2 * tenth : -tenth].mean(), errors[-tenth:].mean()
    slope = (before - last) / before if before > 0 else 0.0
    return best, float(len(errors)), float(slope)
