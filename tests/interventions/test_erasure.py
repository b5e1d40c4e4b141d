"""Erasure: LEACE by what its paper proves of it, latents by the identity of decoding, curves on planted labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from otoscope.errors import InputError
from otoscope.interventions import (
    Concept,
    clip_means,
    erase,
    erase_latents,
    erasure_curve,
    erasure_summary,
    leace,
    mean_projection,
    needed_for_chance,
    random_projection,
    rank_latents,
)
from otoscope.interventions.erasure import one_hot
from otoscope.saes import build_sae, make_config


@pytest.fixture(scope="module")
def planted():
    """Correlated rows of four classes of unequal size, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.choice(list("abcd"), 600, p=[0.4, 0.3, 0.2, 0.1])
    mixing = rng.standard_normal((12, 12))
    x = (
        rng.standard_normal((600, 12)) @ mixing
        + 5
        + 1.5 * rng.standard_normal((4, 12))[one_hot(labels).argmax(1)]
    )
    return x, labels


def cross(x, labels):
    z = one_hot(labels)
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


def test_leace_leaves_no_covariance_and_nothing_for_a_logistic_probe(planted):
    x, labels = planted
    edited = leace(x, labels)(x)
    assert np.abs(cross(edited, labels)).max() < 1e-6 * np.abs(cross(x, labels)).max()
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    constant = float(-(shares * np.log(shares)).sum())
    probe = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-10)
    assert log_loss(labels, probe.fit(edited, labels).predict_proba(edited)) == pytest.approx(
        constant, abs=1e-4
    )
    assert log_loss(labels, probe.fit(x, labels).predict_proba(x)) < constant - 0.3
    assert np.allclose(edited.mean(0), x.mean(0))


def test_leace_changes_least_of_all_edits_that_leave_no_covariance(planted):
    """Against other projections with the same kernel: any oblique one, the orthogonal one among them."""
    x, labels = planted
    edited = leace(x, labels)(x)
    least = ((edited - x) ** 2).sum()
    sigma = cross(x, labels)
    span = np.linalg.svd(sigma, full_matrices=False)[0][:, :3]
    rng = np.random.default_rng(1)
    centred = x - x.mean(0)
    others = [span, *(span + 0.3 * rng.standard_normal(span.shape) for _ in range(20))]
    for side in others:  # x - span (side' span)^-1 side' x: takes out all of the covariance, whatever `side`
        other = x - centred @ side @ np.linalg.inv(span.T @ side) @ span.T
        assert np.abs(cross(other, labels)).max() < 1e-6 * np.abs(sigma).max()
        assert ((other - x) ** 2).sum() > least
    # and of small steps away from it that keep the covariance at 0
    remove = leace(x, labels).remove
    for _ in range(20):
        step = rng.standard_normal(remove.shape)
        step -= step @ span @ span.T  # step @ sigma = 0
        other = x - centred @ (remove + 1e-3 * step).T
        assert np.abs(cross(other, labels)).max() < 1e-6 * np.abs(sigma).max()
        assert ((other - x) ** 2).sum() > least


def test_leace_takes_numbers_and_flat_directions(planted):
    x, _ = planted
    flat = np.column_stack(
        [x, x[:, 0] + x[:, 1], np.ones(len(x))]
    )  # two directions without variance of their own
    number = (x[:, 0] - 2 * x[:, 3])[:, None]
    assert np.abs(cross(leace(flat, number)(flat), number)).max() < 1e-6 * np.abs(cross(flat, number)).max()


def test_the_edit_of_a_state_is_the_eraser(planted):
    x, labels = planted
    eraser = leace(x, labels)
    state = torch.from_numpy(x[:20]).reshape(2, 10, 12)
    assert np.allclose(eraser.edit(state).reshape(20, 12).numpy(), eraser(x[:20]))


def test_mean_projection_takes_out_the_means_and_nothing_else(planted):
    x, labels = planted
    eraser = mean_projection(x, labels)
    means = np.array([eraser(x)[labels == c].mean(0) for c in "abcd"])
    assert np.ptp(means, axis=0).max() < 1e-9
    assert (
        np.linalg.matrix_rank(eraser.remove)
        == 3
        == np.linalg.matrix_rank(random_projection(x, 3, seed=0).remove)
    )
    assert np.allclose(eraser.remove, eraser.remove.T)


def test_erasing_means_of_codes_is_the_mean_of_erasing_codes():
    sae = build_sae(make_config("topk", n_latents=40, k=5), 8, seed=0)
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    with torch.no_grad():
        codes = sae.encode(torch.from_numpy(x)).numpy()
    latents = np.flatnonzero(codes.sum(0) > 0)[:4]
    each = erase_latents(x, codes, sae, latents, to=0.5)
    pooled = erase_latents(x.mean(0)[None], codes.mean(0)[None], sae, latents, to=0.5)
    assert np.abs(pooled[0] - each.mean(0)).max() < 1e-6
    assert np.array_equal(erase_latents(x, codes, sae, np.array([], dtype=int)), x)


@pytest.fixture(scope="module")
def two_labels():
    """Rows that are decoded codes of 8 latents: two hold label a, two label b, four none."""
    rng = np.random.default_rng(0)
    n, sae = 200, build_sae(make_config("relu", n_latents=8, l1=0.0), 8, seed=0)
    labels = {"a": rng.choice(["x", "y"], n), "b": rng.choice(["u", "v"], n)}
    codes = rng.uniform(0, 1, (n, 8)).astype(np.float32)
    codes[:, :2] += 3 * (labels["a"] == "x")[:, None]
    codes[:, 2:4] += 3 * (labels["b"] == "u")[:, None]
    with torch.no_grad():
        sae.decoder_bias.zero_() if hasattr(sae, "decoder_bias") else None
        x = sae.decode(torch.from_numpy(codes)).numpy()
    return x, codes, sae, labels


def concepts(labels):
    n = len(labels["a"])
    split, groups = np.where(np.arange(n) < 120, "train", "test"), np.arange(n) // 10
    return [Concept(labels[name], split, groups) for name in "ab"]


def test_the_curve_finds_the_latents_that_hold_a_label(two_labels):
    x, codes, sae, labels = two_labels
    target, other = concepts(labels)
    order = rank_latents(codes[target.train], labels["a"][target.train])
    assert set(order[:2]) == {0, 1}
    curve = erasure_curve(x, codes, sae, target=target, keep={"b": other}, order=order, counts=[0, 1, 2])
    score = curve.pivot(index="n_latents", columns="label", values="score")
    assert score.loc[0, "target"] > 0.95
    assert score.loc[2, "target"] < 0.65
    assert score.loc[2, "b"] > 0.95
    assert curve.change.is_monotonic_increasing
    assert needed_for_chance(curve) == 2
    assert needed_for_chance(curve[curve.n_latents < 2]) is None


def test_erasing_in_every_way(two_labels):
    """Latents of its own: two go, and the label with them; as many drawn at random leave it."""
    x, codes, sae, labels = two_labels
    target, other = concepts(labels)
    table = erase(x, codes, sae, target=target, keep={"b": other}, shares=[0.25, 0.5])
    score = table[table.label == "target"].set_index(["method", "n"]).score
    kept = table[table.label == "b"].set_index(["method", "n"]).score
    own = target.train  # latents go to their training mean, with the error kept: by hand
    new = codes.copy()
    new[:, :2] = codes[own, :2].mean(0)
    with torch.no_grad():
        by_hand = x + (sae.decode(torch.from_numpy(new)) - sae.decode(torch.from_numpy(codes))).numpy()
    assert score["latents", 2] == target.score(by_hand)["score"]
    assert score["LEACE", 1] == target.score(leace(x[own], labels["a"][own])(x))["score"]
    assert score["untouched", 0] > 0.95
    assert score["latents", 2] < 0.65
    assert kept["latents", 2] > 0.95
    found = erasure_summary(table).set_index("method")
    assert found.n["latents"] == 2
    assert found.share["latents"] == 0.25
    assert found.at_chance["latents"]
    chance = target.score(x)["chance"]
    lost = (score["untouched", 0] - score["latents", 2]) / (score["untouched", 0] - chance)
    assert found.target_lost["latents"] == pytest.approx(lost)
    assert found.selectivity["latents"] > 0.8
    assert found.selectivity["random directions"] < 0.5
    again = erase(
        x, codes, sae, target=target, keep={}, shares=[0.25], done=lambda method, n: method != "LEACE"
    )
    assert set(again.method) == {"LEACE"}


def test_a_label_that_is_its_groups_own_is_judged_on_other_clips():
    rows = pd.DataFrame(
        {
            "clip_id": [f"c{i}" for i in range(24)],
            "split": ["train"] * 16 + ["test"] * 8,
            "group": np.repeat(["s0", "s1", "s2"], 8),
            "digit": np.tile(["one", "two"], 12),
        }
    )
    digit, speaker = Concept.of(rows, "digit"), Concept.of(rows, "group")
    assert digit.held_out == "groups"
    assert list(digit.split) == list(rows.split)
    assert speaker.held_out == "clips"
    tested = np.asarray(speaker.split) == "test"
    assert dict(pd.Series(rows.group[tested]).value_counts()) == {"s0": 2, "s1": 2, "s2": 2}
    assert list(rows.clip_id[tested])[:2] == ["c3", "c7"]
    assert set(speaker.groups) == set(rows.clip_id)


def test_clip_means_of_frames_are_means_of_states_and_of_codes():
    sae = build_sae(make_config("topk", n_latents=40, k=5), 8, seed=0)
    x = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
    rows = pd.DataFrame({"clip_id": list("aaabbbbbcc"), "crop": 0, "time_s": 0.1, "split": "train"})
    first, means, codes = clip_means(sae, rows, x, chunk=4)
    with torch.no_grad():
        own = sae.encode(torch.from_numpy(x)).numpy()
    assert list(first.clip_id) == ["a", "b", "c"]
    assert "time_s" not in first
    for i, part in enumerate((slice(0, 3), slice(3, 8), slice(8, 10))):
        assert np.abs(means[i] - x[part].mean(0)).max() < 1e-6
        assert np.abs(codes[i] - own[part].mean(0)).max() < 1e-6
    pooled, same, _ = clip_means(sae, rows.drop(columns="time_s"), x)
    assert len(pooled) == 10
    assert same is x


def test_one_label_only_is_refused(planted):
    with pytest.raises(InputError, match="same label"):
        leace(planted[0], ["a"] * 600)
    with pytest.raises(InputError, match=r"got \(600, 12\) and 3 labels"):
        leace(planted[0], ["a", "b", "c"])
