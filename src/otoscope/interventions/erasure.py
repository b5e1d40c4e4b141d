"""Taking a label out of a layer: by latents, one after the other, by LEACE, and by mean projection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from otoscope.errors import InputError
from otoscope.probing import probe

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder


@dataclass(frozen=True)
class Eraser:
    """An affine change of rows: ``x - (x - mean) @ remove.T``.

    Attributes
    ----------
    mean : np.ndarray [width]
    remove : np.ndarray [width, width]
        The projection, oblique for LEACE, of what is taken away.
    """

    mean: np.ndarray
    remove: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return ``x [..., width]`` without the label, float64."""
        x = np.asarray(x, dtype=np.float64)
        return x - (x - self.mean) @ self.remove.T

    def edit(self, state: torch.Tensor) -> torch.Tensor:
        """Return a state [clips, tokens, width] without the label: an edit of a layer."""
        mean, remove = torch.as_tensor(self.mean).to(state), torch.as_tensor(self.remove).to(state)
        return state - (state - mean) @ remove.T


def leace(x: np.ndarray, labels: Sequence | np.ndarray) -> Eraser:
    """Fit least-squares concept erasure: no linear classifier can do better than a constant, and least is changed.

    Parameters
    ----------
    x : np.ndarray [rows, width]
    labels : sequence [rows]
        Classes, or numbers as [rows, numbers].

    Notes
    -----
    ``r(x) = x - W^+ P W (x - E[x])`` with ``W = (Cov[x]^(1/2))^+`` and P the orthogonal projection on the column space
    of ``W Cov[x, z]``, z one-hot (Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form",
    theorem 4.3). Of all affine changes that make ``Cov[r(x), z] = 0`` it has the least mean squared change.
    """
    x, z = np.asarray(x, dtype=np.float64), one_hot(labels)
    _check(x, z)
    mean = x.mean(0)
    centred, sides = x - mean, z - z.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(x))
    alive = values > 1e-12 * max(float(values[-1]), 1e-300)
    roots, axes = np.sqrt(values[alive]), axes[:, alive]
    whitened = (axes / roots).T @ (centred.T @ sides / len(x))  # in the coordinates of the axes
    left, sizes, _ = np.linalg.svd(whitened, full_matrices=False)
    span = left[:, sizes > 1e-10 * max(float(sizes[0]), 1e-300)]
    return Eraser(mean, (axes * roots) @ span @ span.T @ (axes / roots).T)


def mean_projection(x: np.ndarray, labels: Sequence | np.ndarray) -> Eraser:
    """Fit the orthogonal projection that takes out the span of the differences between class means."""
    x, z = np.asarray(x, dtype=np.float64), one_hot(labels)
    _check(x, z)
    mean = x.mean(0)
    cross = (x - mean).T @ (z - z.mean(0)) / len(x)
    left, sizes, _ = np.linalg.svd(cross, full_matrices=False)
    span = left[:, sizes > 1e-10 * max(float(sizes[0]), 1e-300)]
    return Eraser(mean, span @ span.T)


def random_projection(x: np.ndarray, n_directions: int, *, seed: int) -> Eraser:
    """Return the projection that takes out as many random directions: what erasing anything would do."""
    x = np.asarray(x, dtype=np.float64)
    drawn = np.random.default_rng(seed).standard_normal((x.shape[1], n_directions))
    span = np.linalg.qr(drawn)[0]
    return Eraser(x.mean(0), span @ span.T)


@dataclass(frozen=True)
class Concept:
    """A label, and which rows a probe of it learns from and is scored on.

    Attributes
    ----------
    labels : sequence [rows]
        Classes.
    split : sequence [rows] of str
        train, test, or anything else for rows that are left out.
    groups : sequence [rows]
        What keeps rows apart: singer, speaker, recording.
    """

    labels: Sequence | np.ndarray
    split: Sequence[str] | np.ndarray
    groups: Sequence | np.ndarray

    def score(self, x: np.ndarray) -> dict[str, float]:
        """Return a fresh probe's accuracy on ``x [rows, width]``, its interval, and the commonest class's."""
        used = np.isin(np.asarray(self.split), ["train", "test"])
        labels = pd.Series(np.asarray(self.labels)[used])
        split = np.asarray(self.split)[used]
        found = probe(x[used], labels, split=split, groups=np.asarray(self.groups)[used], kind="class")
        common = labels[split == "train"].mode()[0]
        chance = float((labels[split == "test"] == common).mean())
        return {"score": found.score, "low": found.score_low, "high": found.score_high, "chance": chance}

    @property
    def train(self) -> np.ndarray:
        """Which rows train, [rows] of bool."""
        return np.asarray(self.split) == "train"


def rank_latents(codes: np.ndarray, labels: Sequence | np.ndarray) -> np.ndarray:
    """Return the latents in order of how much of their variance lies between classes; silent ones come last.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
        Of training rows.
    labels : sequence [rows]
    """
    z = np.asarray(codes, dtype=np.float64)
    one = one_hot(labels)
    counts = one.sum(0)
    between = (((one.T @ z) / counts[:, None] - z.mean(0)) ** 2 * counts[:, None]).sum(0)
    total = ((z - z.mean(0)) ** 2).sum(0)
    share = np.divide(between, total, out=np.full(z.shape[1], -1.0), where=total > 0)
    return np.argsort(-share, kind="stable")


def erase_latents(
    x: np.ndarray,
    codes: np.ndarray,
    sae: SparseAutoencoder,
    latents: np.ndarray,
    *,
    to: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return rows with latents set to `to` and the autoencoder's error kept: ``x + decode(new) - decode(old)``.

    Rows may be means over a clip's frames, with the means of the frames' codes: decoding is affine, so this is the
    mean of the edited frames.
    """
    old = torch.from_numpy(np.ascontiguousarray(codes)).to(next(sae.parameters()))
    new = old.clone()
    new[:, torch.as_tensor(np.asarray(latents, dtype=np.int64))] = torch.as_tensor(to).to(new)
    with torch.no_grad():
        step = (sae.decode(new) - sae.decode(old)).double().cpu().numpy()
    return np.asarray(x, dtype=np.float64) + step


def erasure_curve(
    x: np.ndarray,
    codes: np.ndarray,
    sae: SparseAutoencoder,
    *,
    target: Concept,
    keep: Mapping[str, Concept],
    order: np.ndarray,
    counts: Sequence[int],
    to: np.ndarray | None = None,
    on_row: Callable[[dict], None] | None = None,
) -> pd.DataFrame:
    """Erase latents in an order, more and more of them, and probe anew for what is left of each label.

    Parameters
    ----------
    x : np.ndarray [rows, width]
        States, or means of them over clips.
    codes : np.ndarray [rows, latents]
        Of the same rows.
    sae : SparseAutoencoder
    target : Concept
        The label to take out.
    keep : mapping of name -> Concept
        Labels to leave.
    order : np.ndarray
        Latents, ranked on rows that no probe is scored on.
    counts : sequence of int
        How many to erase.
    to : np.ndarray [latents], optional
        What a latent is set to, such as its training mean; default: zero.
    on_row : callable, optional
        Called with each row once it is measured.

    Returns
    -------
    DataFrame
        ``n_latents, share, label, score, low, high, chance, change``: a row for each count and label ("target", and
        those to keep). `share` is of the latents in `order`; `change` the squared change of the rows over their
        variance.
    """
    rows = []
    spread = float(((x - x.mean(0)) ** 2).sum())
    for n in counts:
        chosen = order[:n]
        edited = erase_latents(x, codes, sae, chosen, to=0.0 if to is None else to[chosen])
        change = float(((edited - x) ** 2).sum()) / spread
        for name, concept in {"target": target, **keep}.items():
            about = {"n_latents": n, "share": n / len(order), "label": name}
            rows.append({**about, **concept.score(edited), "change": change})
            if on_row:
                on_row(rows[-1])
    return pd.DataFrame(rows)


def needed_for_chance(curve: pd.DataFrame) -> int | None:
    """Return the fewest latents from which on the target's interval holds chance or lies below; None if none do."""
    own = curve[curve.label == "target"].sort_values("n_latents")
    gone = own.low <= own.chance
    last_kept = np.flatnonzero(~gone)
    place = 0 if not len(last_kept) else int(last_kept[-1]) + 1
    return int(own.n_latents.iloc[place]) if place < len(own) else None


def one_hot(labels: Sequence | np.ndarray) -> np.ndarray:
    """Return classes as [rows, classes] of 0 and 1; what is [rows, numbers] already stays."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return labels.astype(np.float64)
    classes, index = np.unique(labels, return_inverse=True)
    return np.eye(len(classes))[index]


def _check(x: np.ndarray, z: np.ndarray) -> None:
    if x.ndim != 2 or len(x) != len(z) or len(x) < 2:
        raise InputError(f"expected rows [rows, width] with a label each; got {x.shape} and {len(z)} labels")
    if not (z != z[0]).any():
        raise InputError("all rows have the same label: there is nothing to erase")
