"""k-sparse probes on codes with a latent, or a pair of latents, for each class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from otoscope.errors import InputError
from otoscope.probing import latents_needed, sparse_probes

GROUPS = np.repeat(np.arange(12), 25)
SPLIT = np.where(GROUPS < 7, "train", np.where(GROUPS < 9, "valid", "test"))
TEST = SPLIT == "test"


def codes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Latent 3 fires for "one", 5 or 6 for "two", none for "rest"; the others at random."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, len(GROUPS))
    z = np.maximum(rng.standard_normal((len(GROUPS), 40)), 0) * 0.5
    z[:, 3] = np.where(y == 0, 1 + rng.random(len(y)), 0)
    which = np.where(rng.random(len(y)) < 0.5, 5, 6)
    z[:, [5, 6]] = 0
    z[np.arange(len(y)), which] = np.where(y == 1, 2.0, 0.0)
    return z, np.array(["one", "two", "rest"])[y]


def test_the_latents_of_each_class_are_found():
    z, labels = codes()
    table = sparse_probes(z, labels, split=SPLIT, groups=GROUPS, ks=(1, 2, 4)).set_index(["class", "k"])
    assert table.loc[("one", 1), "latents"] == "3"
    assert table.loc[("one", 1), "average_precision"] == pytest.approx(1.0)
    assert set(table.loc[("two", 2), "latents"].split()) == {"5", "6"}
    assert table.loc[("two", 1), "average_precision"] < 0.9
    assert table.loc[("two", 2), "average_precision"] == pytest.approx(1.0)
    assert table.loc[("one", 1), "chance"] == pytest.approx((labels[TEST] == "one").mean())
    assert (table.low <= table.average_precision + 1e-9).all()
    assert (table.n_groups == 3).all()
    needed = latents_needed(table.reset_index()).set_index("class")
    assert needed.k_needed["one"] == 1
    assert needed.k_needed["two"] == 2
    assert needed.k_needed["rest"] in (2, 4, 40)  # what neither fires for takes three
    assert needed.average_precision["two"] == table.loc[("two", 2), "average_precision"]
    assert needed.whole["two"] == table.loc[("two", 40), "average_precision"]


@pytest.mark.parametrize("valid", ["valid", "train"])
def test_k_is_chosen_without_the_test_rows(valid):
    """Other labels of test rows change the scores, but neither the latents nor the k; without validation rows too."""
    z, labels = codes()
    split = np.where(SPLIT == "valid", valid, SPLIT)
    options = {"split": split, "groups": GROUPS, "ks": (1, 2, 4)}
    table = sparse_probes(z, labels, **options)
    other = labels.copy()
    other[TEST] = np.random.default_rng(0).permutation(labels[TEST])
    shuffled = sparse_probes(z, other, **options)
    assert (table.latents == shuffled.latents).all()
    np.testing.assert_array_equal(table.valid_average_precision, shuffled.valid_average_precision)
    assert (latents_needed(table).k_needed == latents_needed(shuffled).k_needed).all()
    assert (latents_needed(table).whole > latents_needed(shuffled).whole + 0.3).all()


def test_what_k_is_chosen_by_is_learnt_on_training_rows():
    z, labels = codes(1)
    table = sparse_probes(z, labels, split=SPLIT, groups=GROUPS, ks=(1,)).set_index(["class", "k"])
    train, valid = SPLIT == "train", SPLIT == "valid"
    x = (z - z[train].mean(axis=0)) / z[train].std(axis=0)
    two = labels == "two"
    best = np.argmax(np.abs(x[train & two].mean(axis=0) - x[train & ~two].mean(axis=0)))
    model = LogisticRegression(C=1.0, tol=1e-8).fit(x[train][:, [best]], two[train])
    expected = average_precision_score(two[valid], model.decision_function(x[valid][:, [best]]))
    assert table.loc[("two", 1), "valid_average_precision"] == pytest.approx(expected, abs=1e-3)


def test_score_is_that_of_scikit_learn():
    z, labels = codes(1)
    table = sparse_probes(z, labels, split=SPLIT, groups=GROUPS, ks=(2,)).set_index(["class", "k"])
    latents = [int(i) for i in table.loc[("rest", 2), "latents"].split()]
    x = (z - z[~TEST].mean(axis=0)) / z[~TEST].std(axis=0)
    model = LogisticRegression(C=1.0, tol=1e-8).fit(x[~TEST][:, latents], labels[~TEST] == "rest")
    expected = average_precision_score(labels[TEST] == "rest", model.decision_function(x[TEST][:, latents]))
    assert table.loc[("rest", 2), "average_precision"] == pytest.approx(expected, abs=1e-3)


def test_several_classes_per_clip_and_bad_input():
    z, labels = codes()
    both = np.where(labels == "one", "one;any", "any;rest")
    table = sparse_probes(z, both, split=SPLIT, groups=GROUPS, ks=(1,))
    assert set(table["class"]) == {"one", "rest"}  # "any" is everywhere
    assert list(table.k) == [1, 40, 1, 40]
    with pytest.raises(InputError, match="no classes"):
        sparse_probes(z, z[:, 0], split=SPLIT, groups=GROUPS)
    with pytest.raises(InputError, match="1 or more"):
        sparse_probes(z, labels, split=SPLIT, groups=GROUPS, ks=(0,))
