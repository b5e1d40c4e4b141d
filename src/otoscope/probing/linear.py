"""The probe as published: one linear layer on raw features, trained by Adam, an epoch of it kept.

All probes of a run, layers and codes, train at once, each on one core; see `otoscope.probing.sgd` for the step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind, label_kind
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.errors import InputError, nearest
from otoscope.probing import scoring, sgd
from otoscope.probing.inputs import check_rows
from otoscope.probing.intervals import wilson
from otoscope.probing.results import Probe, judge

Key = TypeVar("Key", bound=Hashable)
Keep = Literal["valid_loss", "valid_score", "last"]
Interval = Literal["wilson", "groups"]

_HEADS = {"class": sgd.SOFTMAX, "multi": sgd.SIGMOID, "number": sgd.IDENTITY}


def linear_probes(
    representations: Mapping[Key, np.ndarray],
    labels: pd.Series | Sequence,
    *,
    split: Sequence[str] | np.ndarray,
    groups: Sequence | np.ndarray,
    kind: LabelKind | None = None,
    train_crops: Mapping[Key, np.ndarray] | None = None,
    pools: Mapping[Key, Hashable] | None = None,
    keep: Keep = "valid_loss",
    interval: Interval = "wilson",
    epochs: int = 120,
    lr: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    workers: int | None = None,
    on_done: Callable[[Key], None] | None = None,
) -> dict[Key, Probe]:
    """Train a linear layer on each representation; cross-entropy for classes, binary for several, squares for numbers.

    A probe's result depends on nothing but its own features and `seed` (and its pool's): the start and the order of the
    rows are those of the seed, whatever trains beside it.

    Parameters
    ----------
    representations : mapping to np.ndarray [rows, features]
        Layers, codes, by any key; raw, as published: nothing is standardised.
    labels, split, groups, kind
        As in `otoscope.probing.probe`.
    train_crops : mapping to np.ndarray [crops, training rows, features], optional
        Other stretches of the training clips, in the order of the training rows: epoch e takes crop e mod crops.
    pools : mapping, optional
        Probes with the same value share one best epoch, by their mean validation loss (or score). The
        published code trains all layers of a model in one pool. Default: each probe has its own.
    keep : {"valid_loss", "valid_score", "last"}
        Which epoch: of lowest validation loss (the published code), best validation score (its text), or the last.
    interval : {"wilson", "groups"}
        Of the score: Wilson's over clips (classes only), or by bootstrap over groups.
    epochs, lr, batch_size : int, float, int
        Of Adam.
    seed : int
        Of the start, the order of rows and the bootstrap.
    workers : int, optional
        Probes at a time; default: as many as there are cores.
    on_done : callable, optional
        Called with each key once it is trained, in order.

    Raises
    ------
    InputError
        If shapes do not match, there are no validation rows to keep an epoch by, or an option is unknown.
    """
    _check_options(keep, interval, epochs, batch_size, lr)
    keys = list(representations)
    if not keys:
        return {}
    _, labels, split, groups = check_rows(representations[keys[0]], labels, split, groups, dtype=np.float32)
    kind = kind or label_kind(labels)
    targets, classes = scoring.encode(labels, kind, train=split != "test")
    if keep != "last" and not (split == "valid").any():
        raise InputError("there are no validation rows to keep an epoch by; fill that split, or keep='last'")
    shared = dict(pools or {})
    plan = _Plan(targets.astype(np.float32), split, kind, keep, epochs, lr, batch_size, seed)

    def train(key: Key) -> _Trained:
        x, _, _, _ = check_rows(representations[key], labels, split, groups, dtype=np.float32)
        crops = None if train_crops is None else train_crops.get(key)
        return _train(x, crops, plan, pooled=key in shared)

    trained: dict[Key, _Trained] = {}
    with one_thread_each():
        for key, result in zip(keys, thread_map(train, keys, workers=workers or cpu_count())):
            trained[key] = result
            if on_done:
                on_done(key)
    test = split == "test"
    probes = {}
    for key in keys:
        epoch = _pool_epoch(key, trained, shared)
        outputs = trained[key].outputs[epoch]
        low, high = _interval(interval, kind, outputs, targets[test], groups[test], seed)
        valid_score = float(trained[key].valid_scores[epoch])
        probes[key] = judge(
            kind, outputs, targets[test], (low, high), classes, valid_score=valid_score, epoch=epoch + 1
        )
    return probes


@dataclass(frozen=True)
class _Plan:
    """What all probes of a call have in common."""

    targets: np.ndarray
    split: np.ndarray
    kind: LabelKind
    keep: Keep
    epochs: int
    lr: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class _Trained:
    """A probe's history: how each epoch did (higher is better), and the test outputs of the epochs that may be kept."""

    merit: np.ndarray  # [epochs]
    valid_scores: np.ndarray  # [epochs]
    outputs: dict[int, np.ndarray]


def _train(x: np.ndarray, crops: np.ndarray | None, plan: _Plan, *, pooled: bool) -> _Trained:
    """Train one probe; a pooled one keeps the outputs of every epoch, since others have a say in which is best."""
    rows = {side: plan.split == side for side in ("train", "valid", "test")}
    y = {side: plan.targets[mask] for side, mask in rows.items()}
    train_x = np.ascontiguousarray(x[rows["train"]][None] if crops is None else crops, dtype=np.float32)
    if train_x.ndim != 3 or train_x.shape[1:] != (len(y["train"]), x.shape[1]):
        raise InputError(
            f"expected crops [crops, {len(y['train'])} training rows, {x.shape[1]} features]; got {train_x.shape}"
        )
    valid_x, test_x = x[rows["valid"]], x[rows["test"]]
    layer = sgd.LinearLayer.draw(x.shape[1], y["train"].shape[1], seed=plan.seed)
    rng = np.random.default_rng([plan.seed, 1])
    head = _HEADS[plan.kind]
    merit, scores = np.zeros(plan.epochs), np.full(plan.epochs, np.nan)
    outputs: dict[int, np.ndarray] = {}
    for epoch in range(plan.epochs):
        order = rng.permutation(len(y["train"]))
        layer.train_epoch(
            train_x[epoch % len(train_x)],
            y["train"],
            order,
            head=head,
            lr=plan.lr,
            batch_size=plan.batch_size,
        )
        if len(valid_x):
            held_out = layer(valid_x)
            scores[epoch] = scoring.score(plan.kind, held_out, y["valid"])
            merit[epoch] = (
                -sgd.loss(held_out, y["valid"], head) if plan.keep == "valid_loss" else scores[epoch]
            )
        if plan.keep == "last":
            merit[epoch] = epoch
        if pooled or merit[epoch] > merit[:epoch].max(initial=-np.inf):
            if not pooled:
                outputs.clear()
            outputs[epoch] = layer(test_x)
    return _Trained(merit, scores, outputs)


def _pool_epoch(key: Key, trained: Mapping[Key, _Trained], pools: Mapping[Key, Hashable]) -> int:
    """Return the epoch, from 0, that is best on average over the pool of `key`."""
    members = [key] if key not in pools else [other for other in trained if pools.get(other) == pools[key]]
    return int(np.mean([trained[member].merit for member in members], axis=0).argmax())


def _interval(
    interval: Interval,
    kind: LabelKind,
    outputs: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    seed: int,
) -> tuple[float, float]:
    if interval == "groups" or kind != "class":
        return scoring.interval(kind, outputs, targets, groups, seed=seed, n_bootstrap=2000)
    correct = outputs.argmax(axis=1) == targets.argmax(axis=1)
    return wilson(int(correct.sum()), len(correct))


def _check_options(keep: str, interval: str, epochs: int, batch_size: int, lr: float) -> None:
    for name, value, known in (
        ("keep", keep, ("valid_loss", "valid_score", "last")),
        ("interval", interval, ("wilson", "groups")),
    ):
        if value not in known:
            raise InputError(
                f"{name} must be one of {', '.join(known)}; got '{value}'{nearest(value, known)}"
            )
    if not lr > 0:
        raise InputError(f"the learning rate must be above 0; got {lr}")
    if epochs < 1 or batch_size < 1:
        raise InputError(f"expected at least one epoch and one row a batch; got {epochs} and {batch_size}")
