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
from otoscope.probing.intervals import Estimate, wilson_interval
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

    A probe's result depends on nothing but its own features and `seed`: the start and the order of the rows are
    those of the seed, whatever trains beside it, and each keeps an epoch of its own.

    Parameters
    ----------
    representations : mapping to np.ndarray [rows, features]
        Layers, codes, by any key; raw, as published: nothing is standardised.
    labels, split, groups, kind
        As in `otoscope.probing.probes`.
    train_crops : mapping to np.ndarray [crops, training rows, features], optional
        Other stretches of the training clips, in the order of the training rows: epoch e takes crop e mod crops.
    keep : {"valid_loss", "valid_score", "last"}
        Which epoch: of lowest validation loss (the published code), best validation score (its text), or the last.
    interval : {"wilson", "groups"}
        Of the score: Wilson's over clips (classes only), or for clips of new groups.
    epochs, lr, batch_size : int, float, int
        Of Adam.
    seed : int
        Of the start and the order of rows.
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
    plan = _Plan(targets.astype(np.float32), split, kind, keep, epochs, lr, batch_size, seed)

    def train(key: Key) -> _Trained:
        x, _, _, _ = check_rows(representations[key], labels, split, groups, dtype=np.float32)
        crops = None if train_crops is None else train_crops.get(key)
        return _train(x, crops, plan)

    trained: dict[Key, _Trained] = {}
    with one_thread_each():
        for key, result in zip(keys, thread_map(train, keys, workers=workers or cpu_count())):
            trained[key] = result
            if on_done:
                on_done(key)
    test = split == "test"
    return {
        key: judge(
            kind,
            own.outputs,
            targets[test],
            _interval(interval, kind, own.outputs, targets[test], groups[test]),
            classes,
            valid_score=own.valid_score,
            epoch=own.epoch,
        )
        for key, own in trained.items()
    }


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
    """The epoch kept, from 1, its score on the validation rows, and its outputs for the test rows."""

    epoch: int
    valid_score: float
    outputs: np.ndarray


def _train(x: np.ndarray, crops: np.ndarray | None, plan: _Plan) -> _Trained:
    """Train one probe."""
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
    best, kept = -np.inf, None
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
        merit, valid_score = float(epoch), float("nan")
        if len(valid_x):
            held_out = layer(valid_x)
            valid_score = scoring.score(plan.kind, held_out, y["valid"])
            if plan.keep != "last":
                loss = plan.keep == "valid_loss"
                merit = -sgd.loss(held_out, y["valid"], head) if loss else valid_score
        if merit > best:
            best, kept = merit, _Trained(epoch + 1, valid_score, layer(test_x))
    if kept is None:
        raise InputError(
            f"no epoch has a {plan.keep} to be kept by: the probe diverged, or the validation rows have no score"
        )
    return kept


def _interval(
    interval: Interval, kind: LabelKind, outputs: np.ndarray, targets: np.ndarray, groups: np.ndarray
) -> Estimate:
    if interval == "groups" or kind != "class":
        return scoring.interval(kind, outputs, targets, groups)
    return wilson_interval(outputs.argmax(axis=1) == targets.argmax(axis=1), groups)


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
