"""Probes trained as published, against a plain training loop in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.probing import linear_probes, scoring, sgd, wilson

GROUPS = np.repeat(np.arange(12), 15)
SPLIT = np.where(GROUPS < 7, "train", np.where(GROUPS < 9, "valid", "test"))
TRAIN, VALID, TEST = (side == SPLIT for side in ("train", "valid", "test"))
LOSSES = {
    sgd.SOFTMAX: torch.nn.functional.cross_entropy,
    sgd.SIGMOID: torch.nn.functional.binary_cross_entropy_with_logits,
    sgd.IDENTITY: torch.nn.functional.mse_loss,
}


def data(width: int = 20, seed: int = 0, noise: float = 1.5):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, len(GROUPS))
    return rng.standard_normal((3, width))[y] + noise * rng.standard_normal((len(GROUPS), width)), y


def torch_layer(layer: sgd.LinearLayer) -> torch.nn.Linear:
    copy = torch.nn.Linear(layer.weights.shape[1], layer.weights.shape[0])
    with torch.no_grad():
        copy.weight.copy_(torch.from_numpy(layer.weights))
        copy.bias.copy_(torch.from_numpy(layer.bias))
    return copy


def torch_epoch(layer, optimiser, x, y, order, head):
    for rows in torch.from_numpy(order).split(32):
        optimiser.zero_grad()
        LOSSES[head](layer(x[rows]), y[rows]).backward()
        optimiser.step()


@pytest.mark.parametrize("head", [sgd.SOFTMAX, sgd.SIGMOID, sgd.IDENTITY])
def test_steps_and_losses_are_those_of_pytorch(head):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((70, 33)).astype(np.float32)  # the last batch is short
    y = rng.random((70, 4)) if head == sgd.IDENTITY else np.eye(4)[rng.integers(0, 4, 70)]
    y = y.astype(np.float32)
    layer = sgd.LinearLayer.draw(33, 4, seed=0)
    twin = torch_layer(layer)
    optimiser = torch.optim.Adam(twin.parameters(), lr=1e-2)
    for _ in range(5):
        order = rng.permutation(70)
        layer.train_epoch(x, y, order, head=head, lr=1e-2, batch_size=32)
        torch_epoch(twin, optimiser, torch.from_numpy(x), torch.from_numpy(y), order, head)
    np.testing.assert_allclose(layer.weights, twin.weight.detach(), atol=2e-5)
    np.testing.assert_allclose(layer.bias, twin.bias.detach(), atol=2e-5)
    expected = LOSSES[head](twin(torch.from_numpy(x)), torch.from_numpy(y)).item()
    assert sgd.loss(layer(x), y, head) == pytest.approx(expected, abs=1e-5)


def test_start_is_drawn_as_pytorch_draws():
    layer = sgd.LinearLayer.draw(400, 500, seed=0)
    reference = torch.nn.Linear(400, 500)
    for ours, theirs in ((layer.weights, reference.weight), (layer.bias, reference.bias)):
        assert np.abs(ours).max() <= 1 / 20
        assert ours.std() == pytest.approx(theirs.detach().numpy().std(), rel=0.1)


def test_the_epoch_of_lowest_validation_loss_is_kept():
    x, y = data()
    result = linear_probes({"a": x}, y, split=SPLIT, groups=GROUPS, epochs=40, lr=0.02, seed=3)["a"]
    layer = sgd.LinearLayer.draw(20, 3, seed=3)
    twin, rng = torch_layer(layer), np.random.default_rng([3, 1])
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.02)
    tensor, classes = torch.from_numpy(x).float(), torch.from_numpy(y)
    history = []
    for _ in range(40):
        torch_epoch(twin, optimiser, tensor[TRAIN], classes[TRAIN], rng.permutation(TRAIN.sum()), sgd.SOFTMAX)
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(twin(tensor[VALID]), classes[VALID]).item()
            history.append(
                (loss, twin(tensor[TEST]).argmax(dim=1).numpy(), twin(tensor[VALID]).argmax(dim=1))
            )
    best = int(np.argmin([loss for loss, _, _ in history]))
    assert 0 < best < 39
    assert result.epoch == best + 1
    np.testing.assert_array_equal(result.predictions, history[best][1])
    assert result.valid_score == pytest.approx((history[best][2] == classes[VALID]).float().mean().item())
    assert (result.score_low, result.score_high) == wilson(int(result.correct.sum()), int(TEST.sum()))


def test_what_trains_beside_changes_nothing():
    x, y = data()
    wide = data(50, seed=1)[0]
    options = {"split": SPLIT, "groups": GROUPS, "epochs": 6, "lr": 0.02}
    both = linear_probes({"x": x, "wide": wide}, y, workers=2, **options)
    alone = linear_probes({"wide": wide}, y, workers=1, **options)
    np.testing.assert_array_equal(both["wide"].predictions, alone["wide"].predictions)
    assert both["wide"].valid_score == alone["wide"].valid_score


def test_each_keeps_its_own_epoch_and_rules_differ():
    """As the published probes do: every layer had a run and a best epoch of its own."""
    x, y = data()
    quick = 4 * x  # larger steps for the same rate
    options = {"split": SPLIT, "groups": GROUPS, "epochs": 30, "lr": 0.02}
    own = linear_probes({"x": x, "quick": quick}, y, **options)
    assert own["x"].epoch > own["quick"].epoch
    last = linear_probes({"x": x}, y, keep="last", **options)["x"]
    assert last.epoch == 30
    best = linear_probes({"x": x}, y, keep="valid_score", **options)["x"]
    assert best.valid_score >= own["x"].valid_score
    by_groups = linear_probes({"x": x}, y, interval="groups", **options)["x"]
    assert by_groups.score == own["x"].score
    expected = scoring.interval("class", np.eye(3)[by_groups.predictions], np.eye(3)[y[TEST]], GROUPS[TEST])
    assert (by_groups.score_low, by_groups.score_high) == (expected.low, expected.high)
    assert by_groups.n_groups == own["x"].n_groups == 3
    assert not own["x"].trusted  # Wilson's: 15 clips of a singer are not 15 singers


def test_crops_are_taken_in_turn():
    x, y = data()
    options = {"split": SPLIT, "groups": GROUPS, "epochs": 4, "lr": 0.02, "keep": "last"}
    train = x[TRAIN].astype(np.float32)
    same = linear_probes({"x": x}, y, train_crops={"x": np.stack([train, train])}, **options)["x"]
    np.testing.assert_array_equal(same.predictions, linear_probes({"x": x}, y, **options)["x"].predictions)
    nothing = np.zeros_like(train)
    mute = linear_probes({"x": x}, y, train_crops={"x": nothing[None]}, **options)["x"]
    one_in_four = linear_probes(
        {"x": x}, y, train_crops={"x": np.stack([nothing, nothing, nothing, train])}, **options
    )["x"]
    assert not np.array_equal(mute.predictions, one_in_four.predictions)
    with pytest.raises(InputError, match=r"expected crops \[crops, 105 training rows, 20 features\]"):
        linear_probes({"x": x}, y, train_crops={"x": train[None, 5:]}, **options)


def test_numbers_and_several_classes():
    x, y = data(noise=0.5)
    options = {"split": SPLIT, "groups": GROUPS, "epochs": 60, "lr": 0.03}
    number = linear_probes({"x": x}, x[:, 0] * 2 + x[:, 1], **options)["x"]
    assert number.kind == "number"
    assert number.score > 0.9
    multi = linear_probes({"x": x}, np.array(["a;b", "b", "c"])[y], **options)["x"]
    assert multi.classes == ("a", "b", "c")
    assert multi.score > 0.9


def test_bad_input():
    x, y = data()
    with pytest.raises(InputError, match="keep must be one of"):
        linear_probes({"x": x}, y, split=SPLIT, groups=GROUPS, keep="best")
    with pytest.raises(InputError, match="no validation rows"):
        linear_probes({"x": x}, y, split=np.where(VALID, "train", SPLIT), groups=GROUPS)
    with pytest.raises(InputError, match="at least one epoch"):
        linear_probes({"x": x}, y, split=SPLIT, groups=GROUPS, epochs=0)
    with pytest.raises(InputError, match="learning rate must be above 0"):
        linear_probes({"x": x}, y, split=SPLIT, groups=GROUPS, lr=0.0)
    assert linear_probes({}, y, split=SPLIT, groups=GROUPS) == {}
