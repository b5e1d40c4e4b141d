"""Which layer, and is one enough? A table for any model and label."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind, label_kind
from otoscope.compute import one_thread_each
from otoscope.errors import InputError
from otoscope.multiple_testing import holm
from otoscope.probing import scoring
from otoscope.probing.inputs import check_rows
from otoscope.probing.intervals import Estimate, p_value
from otoscope.probing.mixing import Items, Mixer, learn_mixer, mix, of_frames, of_layers
from otoscope.probing.models import training_folds
from otoscope.probing.probes import STRENGTHS, probe
from otoscope.probing.results import Probe
from otoscope.probing.tables import best_layer, probe_row

WEIGHTED_SUM, ATTENTION_LAYERS, ATTENTION_TIME = "weighted_sum", "attention_layers", "attention_time"


def layer_guide(
    layers: Mapping[Hashable, np.ndarray],
    labels: pd.Series | Sequence,
    *,
    split: Sequence[str] | np.ndarray,
    groups: Sequence | np.ndarray,
    clips: Sequence | np.ndarray | None = None,
    kind: LabelKind | None = None,
    strengths: Sequence[float] = STRENGTHS,
    n_folds: int = 5,
    seed: int = 0,
    probes: Mapping[Any, Probe] | None = None,
    on_done: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Say which layer holds a label best, and what layers together, or frames unequally weighed, add to it.

    Every row is the same probe (`otoscope.probing.probes`) of other features: each layer; a weighted sum of all, by
    softmax weights; attention over layers, whose weights differ from clip to clip; and attention over the frames of
    the best layer. Weights are learnt on training groups, a fifth of these saying when to stop; each layer is first
    centred and brought to one size there, so that weights tell layers apart, not their units. The best layer is
    that of the highest score on the validation rows. The gains over it are on the test rows, which have no say in
    anything.

    Parameters
    ----------
    layers : mapping to np.ndarray [rows, width]
        Activations by layer. Sums need two layers at least, all of one width, and are left out otherwise.
    labels, split, groups, kind, strengths, n_folds
        As in `otoscope.probing.probes`; validation rows are needed.
    clips : sequence [rows], optional
        Where rows are frames, which clip each is of: layers are then means over its frames. A clip has one label.
    seed : int
        Of the order in which clips train the weights.
    probes : mapping to Probe, optional
        Probes of the layers on these very rows, if they are at hand; made otherwise.
    on_done : callable, optional
        Called with each row's name once it is there.

    Returns
    -------
    DataFrame
        ``input, layer``: "layer" and which, or "weighted_sum", "attention_layers", "attention_time" (of `layer`). Then
        the columns of `probe_row`; ``best``: the layer to take; ``weight, attention``: a layer's share in the sum,
        and its mean share over clips by attention; ``gain, gain_low, gain_high, gain_p``: score minus that of the best
        layer, on the same rows, with its interval for clips of new groups and a p that Holm has corrected for the
        number of gains in the table.

    Raises
    ------
    InputError
        If shapes do not match, there are no validation rows, or a clip has several labels, splits or groups.
    """
    if not layers:
        raise InputError("a guide needs a layer at least; got none")
    first = next(iter(layers.values()))
    _, labels, split, groups = check_rows(first, labels, split, groups, dtype=np.float32)
    kind = kind or label_kind(labels)
    clip = np.arange(len(labels))
    if clips is not None:
        clip, _ = pd.factorize(np.asarray(clips), use_na_sentinel=False)
        labels, split, groups = _of_clips(clip, labels, split, groups)
    targets, _ = scoring.encode(labels, kind, train=split != "test")

    def features(layer: Hashable) -> np.ndarray:
        rows = np.asarray(layers[layer], dtype=np.float32)
        if len(rows) != len(clip):
            raise InputError(f"layer {layer} has {len(rows)} rows; expected {len(clip)}")
        return rows if clips is None else _means(rows, clip)

    def probed(name: str, x: np.ndarray) -> Probe:
        result = probe(x, labels, split=split, groups=groups, kind=kind, strengths=strengths, n_folds=n_folds)
        if on_done:
            on_done(name)
        return result

    pooled = {layer: features(layer) for layer in layers}
    known = probes or {}
    found = {
        layer: known[layer] if layer in known else probed(f"layer {layer}", x) for layer, x in pooled.items()
    }
    table = pd.DataFrame(
        [{"input": "layer", "layer": layer, **probe_row(result)} for layer, result in found.items()]
    )
    chosen = best_layer(table)[0]
    mixed: dict[str, Probe] = {}
    rows = _fitted(split, groups)

    def learnt(name: str, items: Items, mixer: Mixer) -> np.ndarray:
        with one_thread_each():
            mixer = learn_mixer(items, mixer, targets, kind=kind, seed=seed, **rows)
            x, weights = mix(items, mixer, len(labels))
        mixed[name] = probed(name, x)
        return weights

    table = table.assign(best=table.layer == chosen, weight=np.nan, attention=np.nan)
    if len(pooled) > 1 and len({x.shape[1] for x in pooled.values()}) == 1:
        width = pooled[chosen].shape[1]
        together = of_layers([_of_one_size(x, split == "train") for x in pooled.values()])
        table["weight"] = learnt(WEIGHTED_SUM, together, Mixer(len(pooled), width, attends=False))
        table["attention"] = learnt(ATTENTION_LAYERS, together, Mixer(len(pooled), width, attends=True))
    if clips is not None and len(clip) > len(labels):
        frames = _of_one_size(np.asarray(layers[chosen], dtype=np.float32), (split == "train")[clip])
        learnt(ATTENTION_TIME, of_frames(frames, clip), Mixer(0, frames.shape[1], attends=True))
    gains = _gains(mixed, found[chosen], chosen, groups[split == "test"])
    return pd.concat([table.astype({"layer": object}), gains], ignore_index=True)


def _gains(mixed: dict[str, Probe], best: Probe, chosen: Hashable, groups: np.ndarray) -> pd.DataFrame:
    """Return the rows of mixtures: their scores, and how far they are above the best layer."""
    gains: list[Estimate] = [
        scoring.difference(best.kind, *_outputs(own, best), groups) for own in mixed.values()
    ]
    corrected = holm([p_value(gain) for gain in gains])
    return pd.DataFrame(
        [
            {
                "input": name,
                "layer": chosen if name == ATTENTION_TIME else None,
                **probe_row(own),
                "best": False,
                "gain": gain.value,
                "gain_low": gain.low,
                "gain_high": gain.high,
                "gain_p": p,
            }
            for (name, own), gain, p in zip(mixed.items(), gains, corrected)
        ],
        columns=None if mixed else ["gain", "gain_low", "gain_high", "gain_p"],
    )


def _outputs(a: Probe, b: Probe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outputs of both probes and the targets [test rows, outputs]."""
    if a.kind == "class":
        names = np.eye(len(a.classes))
        return names[a.predictions], names[b.predictions], names[a.truth]
    return tuple(np.reshape(own, (len(a.truth), -1)) for own in (a.predictions, b.predictions, a.truth))  # type: ignore[return-value]


def _fitted(split: np.ndarray, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Return the clips that weights learn from, and those that say when to stop: all of the training side."""
    train = np.flatnonzero(split == "train")
    folds = training_folds(groups[train], 5)
    return {"train": train[folds != 0], "held_out": train[folds == 0]}


def _of_clips(
    clip: np.ndarray, labels: pd.Series, split: np.ndarray, groups: np.ndarray
) -> tuple[pd.Series, np.ndarray, np.ndarray]:
    """Return label, split and group of each clip, from those of its frames."""
    frames = pd.DataFrame({"clip": clip, "label": labels, "split": split, "group": groups})
    several = frames.groupby("clip").nunique().max()
    if (several > 1).any():
        raise InputError(f"a clip has several values of '{several.idxmax()}' among its frames; expected one")
    firsts = frames.drop_duplicates("clip").sort_values("clip", ignore_index=True)
    return firsts.label, firsts.split.to_numpy(), firsts.group.to_numpy()


def _of_one_size(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return all of `x`, float32, centred by the mean of `rows` and divided by one number: their overall deviation."""
    centred = x - x[rows].mean(axis=0)
    return (centred / max(float(np.sqrt((centred[rows] ** 2).mean())), 1e-12)).astype(np.float32)


def _means(frames: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Return the mean over the frames of each clip [clips, width]."""
    order = np.argsort(clip, kind="stable")
    starts = np.searchsorted(clip[order], np.arange(clip.max() + 1))
    sums = np.add.reduceat(frames[order], starts, axis=0, dtype=np.float64)
    return sums / np.bincount(clip)[:, None]
