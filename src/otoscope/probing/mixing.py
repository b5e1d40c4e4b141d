"""Weights that are learnt, over layers or over frames: what a linear read-out makes best use of.

Each clip has items of one width, its layers or its frames; a softmax over their scores weighs them. Free scores, one
per layer, make a weighted sum; a query that meets each item makes attention. The scores learn beside a linear layer,
which is then thrown away: the mixture is probed like any layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch

from otoscope.clips import LabelKind

Items = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From clips' numbers to their items [clips, items, width] and which of these there are [clips, items]."""

_EPOCHS, _BATCH, _PATIENCE = 60, 32, 10
_HEAD_LR, _SCORE_LR, _DECAY = 1e-2, 1e-2, 1e-2


class Mixer(torch.nn.Module):
    """Softmax weights over the items of a clip, uniform before training.

    Parameters
    ----------
    n_items : int
        Items with a score of their own; 0 where items are not told apart (frames).
    width : int
    attends : bool
        Whether a query meets each item, so that weights differ from clip to clip.
    """

    def __init__(self, n_items: int, width: int, *, attends: bool) -> None:
        super().__init__()
        self.scores = torch.nn.Parameter(torch.zeros(n_items or 1))
        self.query = torch.nn.Parameter(torch.zeros(width), requires_grad=attends)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mixture [clips, width] of x [clips, items, width], and the weights [clips, items]."""
        scores = self.scores + x @ self.query / x.shape[2] ** 0.5
        weights = scores.masked_fill(~there, -torch.inf).softmax(dim=1)
        return (weights[:, :, None] * x).sum(dim=1), weights


def learn_mixer(
    items: Items,
    mixer: Mixer,
    targets: np.ndarray,
    *,
    kind: LabelKind,
    train: np.ndarray,
    held_out: np.ndarray,
    seed: int = 0,
) -> Mixer:
    """Train scores and a linear layer by Adam on the clips `train`; keep the epoch of lowest loss on `held_out`.

    Parameters
    ----------
    items : callable
        Items of clips, centred and of one size.
    mixer : Mixer
        Untrained.
    targets : np.ndarray [clips, outputs]
        One-hot, 0/1, or a number.
    kind : {"class", "number", "multi"}
    train, held_out : np.ndarray
        Numbers of the clips that train, and of other groups' that say when to stop.
    seed : int
        Of the order of clips.
    """
    if kind == "number":
        targets = (targets - targets[train].mean()) / max(targets[train].std(), 1e-12)
    y = torch.from_numpy(np.ascontiguousarray(targets, dtype=np.float32))
    head = torch.nn.Linear(len(mixer.query), y.shape[1])
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimiser = torch.optim.AdamW(
        [
            {"params": head.parameters(), "lr": _HEAD_LR, "weight_decay": _DECAY},
            {"params": mixer.parameters(), "lr": _SCORE_LR, "weight_decay": 0.0},
        ]
    )
    rng = np.random.default_rng(seed)
    best, kept, since = np.inf, copy.deepcopy(mixer), 0
    for _ in range(_EPOCHS):
        order = rng.permutation(train)
        for rows in np.split(order, range(_BATCH, len(order), _BATCH)):
            optimiser.zero_grad()
            _loss(head(mixer(*_tensors(items, rows))[0]), y[rows], kind).backward()
            optimiser.step()
        with torch.no_grad():
            outputs = [head(mixer(*_tensors(items, rows))[0]) for rows in _batches(held_out)]
            loss = float(_loss(torch.cat(outputs), y[held_out], kind))
        since += 1
        if loss < best:
            best, kept, since = loss, copy.deepcopy(mixer), 0
        if since >= _PATIENCE:
            break
    return kept


def mix(items: Items, mixer: Mixer, n_clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mixtures [clips, width], and the mean weight of each item that has a score of its own [items]."""
    mixed, total = [], torch.zeros(len(mixer.scores))
    with torch.no_grad():
        for rows in _batches(np.arange(n_clips)):
            found, weights = mixer(*_tensors(items, rows))
            mixed.append(found.numpy())
            if weights.shape[1] == len(total):
                total += weights.sum(dim=0)
    return np.concatenate(mixed), (total / n_clips).numpy()


def of_layers(layers: list[np.ndarray]) -> Items:
    """Return the items of layers [clips, width], each centred and of one size."""
    stacked = np.stack(layers, axis=1).astype(np.float32)
    return lambda rows: (stacked[rows], np.ones((len(rows), stacked.shape[1]), dtype=bool))


def of_frames(frames: np.ndarray, clip: np.ndarray) -> Items:
    """Return the items of frames [frames, width], centred and of one size; `clip` says whose each is, from 0."""
    order = np.argsort(clip, kind="stable")
    starts = np.searchsorted(clip[order], np.arange(clip.max() + 2))

    def items(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lengths = starts[rows + 1] - starts[rows]
        there = np.arange(lengths.max()) < lengths[:, None]
        x = np.zeros((*there.shape, frames.shape[1]), dtype=np.float32)
        x[there] = frames[np.concatenate([order[starts[row] : starts[row + 1]] for row in rows])]
        return x, there

    return items


def _tensors(items: Items, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    x, there = items(rows)
    return torch.from_numpy(x), torch.from_numpy(there)


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return np.split(rows, range(8 * _BATCH, len(rows), 8 * _BATCH))


def _loss(outputs: torch.Tensor, y: torch.Tensor, kind: LabelKind) -> torch.Tensor:
    if kind == "class":
        return torch.nn.functional.cross_entropy(outputs, y)
    if kind == "multi":
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs, y)
    return torch.nn.functional.mse_loss(outputs, y)
