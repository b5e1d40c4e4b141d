"""The layer guide, on data where layers together, or frames unequally weighed, must add something, or must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.multiple_testing import holm
from otoscope.probing import layer_guide, probe, scoring
from otoscope.probing.mixing import Mixer, of_frames, of_layers

GROUPS = np.repeat(np.arange(20), 20)
SPLIT = np.where(GROUPS < 11, "train", np.where(GROUPS < 14, "valid", "test"))
TEST = SPLIT == "test"
N = len(GROUPS)
QUICK = {"strengths": [0.01, 0.1], "n_folds": 2}


def noise(rng, n_layers: int = 3, width: int = 8) -> dict[int, np.ndarray]:
    return {layer: rng.standard_normal((N, width)) for layer in range(n_layers)}


def guide(layers, y, **options):
    return layer_guide(layers, y, split=SPLIT, groups=GROUPS, **(QUICK | options))


def mixed(table, name):
    return table[table.input == name].iloc[0]


def test_a_weighted_sum_wins_where_layers_hold_different_halves():
    rng = np.random.default_rng(0)
    layers, y = noise(rng), rng.integers(0, 4, N)
    layers[1][:, 0] += 3 * (y // 2 * 2 - 1)
    layers[2][:, 1] += 3 * (y % 2 * 2 - 1)
    table = guide(layers, y)
    assert list(table.input) == ["layer"] * 3 + ["weighted_sum", "attention_layers"]
    assert list(table.layer[:3]) == [0, 1, 2]
    both = mixed(table, "weighted_sum")
    assert both.gain_low > 0.15
    assert both.gain_p < 0.01
    assert both.score > 0.8  # either half alone: 0.5
    weights = table.weight[:3]
    assert weights.sum() == pytest.approx(1)
    assert weights[0] < 0.15
    assert min(weights[1], weights[2]) > 0.3
    assert table.attention[:3].sum() == pytest.approx(1)


def test_it_does_not_where_one_layer_holds_all():
    rng = np.random.default_rng(0)
    layers, y = noise(rng), rng.integers(0, 4, N)
    layers[2][:, 0] += 2 * (y // 2 * 2 - 1)
    layers[2][:, 1] += 2 * (y % 2 * 2 - 1)
    table = guide(layers, y)
    assert list(table.layer[table.best]) == [2]
    assert table.weight[2] > 0.8
    for name in ("weighted_sum", "attention_layers"):
        assert abs(mixed(table, name).gain) < 0.03
        assert mixed(table, name).gain_p > 0.05


def test_the_best_layer_is_picked_by_validation_rows_and_probed_as_always():
    rng = np.random.default_rng(1)
    layers, y = noise(rng), rng.integers(0, 2, N)
    for layer, rows in (
        (0, ~TEST),
        (1, TEST | (SPLIT == "train")),
    ):  # better on validation rows, on test rows
        layers[layer][rows, 0] += 3 * (y[rows] * 2 - 1)
    table = guide(layers, y)
    assert list(table.layer[table.best]) == [0]
    assert table.score[1] > table.score[0]
    alone = probe(layers[1], y, split=SPLIT, groups=GROUPS, **QUICK)
    assert (table.score[1], table.score_low[1], table.score_high[1]) == (
        alone.score,
        alone.score_low,
        alone.score_high,
    )


def test_attention_over_layers_wins_where_clips_differ_in_their_layer():
    """One layer of two holds the class of a clip and says so in another dimension; the other misleads."""
    rng = np.random.default_rng(0)
    layers, y = noise(rng), rng.integers(0, 2, N)
    where = rng.integers(1, 3, N)
    for layer in (1, 2):
        here = where == layer
        layers[layer][:, 0] += np.where(here, 3, -3)
        layers[layer][:, 1] += 3 * np.where(here, y * 2 - 1, rng.choice([-1, 1], N))
    table = guide(layers, y)
    assert mixed(table, "attention_layers").gain_low > 0.05
    assert not mixed(table, "weighted_sum").gain_low > 0
    assert mixed(table, "attention_layers").score > 0.9


def frames(seed: int = 0):
    """Clips of 10 to 20 frames, out of order; one frame of a clip is marked and shows the class."""
    rng = np.random.default_rng(seed)
    y, lengths = rng.integers(0, 2, N), rng.integers(10, 21, N)
    clip = np.repeat(np.arange(N), lengths)
    x = rng.standard_normal((len(clip), 6))
    marked = np.append(0, np.cumsum(lengths)[:-1]) + rng.integers(0, lengths)
    x[marked, 0] += 6
    x[marked, 1] += 2.5 * (y * 2 - 1)
    order = rng.permutation(len(clip))
    return x[order], clip[order], y


def test_attention_over_time_wins_where_one_frame_tells():
    x, clip, y = frames()
    table = layer_guide({5: x}, y[clip], split=SPLIT[clip], groups=GROUPS[clip], clips=clip, **QUICK)
    assert list(table.input) == ["layer", "attention_time"]  # one layer: nothing to sum
    row = mixed(table, "attention_time")
    assert row.layer == 5
    assert row.gain_low > 0.1
    assert row.score > 0.9
    assert table.n_test[0] == TEST.sum()  # clips, not frames
    means = np.stack([x[clip == c].mean(axis=0) for c in range(N)])
    assert table.score[0] == probe(means, y, split=SPLIT, groups=GROUPS, **QUICK).score


def test_gains_are_paired_and_corrected():
    rng = np.random.default_rng(3)
    layers, y = noise(rng), rng.integers(0, 2, N)
    for layer in layers:
        layers[layer][:, layer] += y * 2 - 1
    done = []
    table = guide(layers, y, on_done=done.append)
    assert done == ["layer 0", "layer 1", "layer 2", "weighted_sum", "attention_layers"]
    gains = table[table.gain.notna()]
    np.testing.assert_allclose(gains.gain, gains.score - table.score[table.best].item())
    assert (gains.gain_low < gains.gain).all()
    assert len(gains) == 2
    again = guide(layers, y)
    assert table.equals(again)
    best = probe(layers[table.layer[table.best].item()], y, split=SPLIT, groups=GROUPS, **QUICK)
    alone = scoring.difference(
        "class", *np.eye(2)[[1 - best.truth, best.predictions, best.truth]], GROUPS[TEST]
    )
    assert alone.value == -best.score  # what is always wrong, against the best layer
    assert (holm(gains.gain_p) >= gains.gain_p).all()


def test_numbers_several_classes_and_layers_of_other_widths():
    rng = np.random.default_rng(0)
    layers, truth = noise(rng, n_layers=2), rng.standard_normal(N)
    for layer in layers.values():
        layer[:, 0] += truth  # seen twice, with noise of its own
    number = guide(layers, truth)
    assert mixed(number, "weighted_sum").gain == pytest.approx(2 / 3 - 1 / 2, abs=0.1)
    assert mixed(number, "weighted_sum").gain_low > 0
    assert set(number.metric) == {"r2"}
    several = guide(layers, np.array(["a", "a;b", "b"])[np.digitize(truth, [-0.5, 0.5])])
    assert 0 < mixed(several, "weighted_sum").gain < 0.1
    layers[2] = rng.standard_normal((N, 5))
    assert list(guide(layers, (truth > 0).astype(int)).input) == ["layer"] * 3


def test_mixtures_are_softmax_sums():
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((4, 3)).astype(np.float32) for _ in range(2)]
    mixer = Mixer(2, 3, attends=True)
    with torch.no_grad():
        mixer.scores += torch.tensor([0.5, -0.5])
        mixer.query += torch.tensor([1.0, 0.0, 2.0])
    x, there = of_layers(layers)(np.arange(4))
    found, _ = mixer(torch.from_numpy(x), torch.from_numpy(there))
    for row in range(4):
        scores = [
            s + layer[row] @ [1.0, 0.0, 2.0] / np.sqrt(3)
            for s, layer in zip((0.5, -0.5), layers, strict=True)
        ]
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = weights[0] * layers[0][row] + weights[1] * layers[1][row]
        np.testing.assert_allclose(found[row].detach(), expected, rtol=1e-5)
    frames, clip = rng.standard_normal((5, 3)).astype(np.float32), np.array([1, 0, 1, 1, 0])
    x, there = of_frames(frames, clip)(np.array([1, 0]))
    found, _ = Mixer(0, 3, attends=True)(torch.from_numpy(x), torch.from_numpy(there))  # untrained: means
    np.testing.assert_allclose(
        found.detach(), [frames[[0, 2, 3]].mean(axis=0), frames[[1, 4]].mean(axis=0)], rtol=1e-5
    )


def test_bad_input():
    x, clip, y = frames()
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="needs a layer"):
        guide({}, y)
    with pytest.raises(InputError, match="validation rows"):
        layer_guide(noise(rng), y, split=np.where(TEST, "test", "train"), groups=GROUPS)
    with pytest.raises(InputError, match="several values of 'label'"):
        layer_guide({0: x}, np.arange(len(x)) % 2, split=SPLIT[clip], groups=GROUPS[clip], clips=clip)
    with pytest.raises(InputError, match="layer 1 has 5 rows; expected 400"):
        guide({0: noise(rng)[0], 1: np.ones((5, 3))}, y)
