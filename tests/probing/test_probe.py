"""The sound probe: against scikit-learn, on labels of each kind, and on traps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss, r2_score

from otoscope.errors import InputError
from otoscope.probing import best_layer, confusion_table, probe, probe_all, probe_row

GROUPS = np.repeat(np.arange(16), 20)
SPLIT = np.where(GROUPS < 9, "train", np.where(GROUPS < 12, "valid", "test"))
TRAIN, VALID, TEST = (side == SPLIT for side in ("train", "valid", "test"))


def classes(seed: int = 0, *, noise: float = 1.0, n_classes: int = 4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, len(GROUPS))
    x = rng.standard_normal((n_classes, 12))[y] + noise * rng.standard_normal((len(GROUPS), 12))
    return x + 0.5 * rng.standard_normal((16, 12))[GROUPS], y


def standardised(x, rows):
    return (x - x[rows].mean(axis=0)) / x[rows].std(axis=0)


def test_choice_and_score_are_those_of_a_plain_loop():
    x, y = classes(noise=1.5)
    strengths = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    result = probe(x, y, split=SPLIT, groups=GROUPS, strengths=strengths, n_folds=3)
    scaled, folds = standardised(x, TRAIN), GROUPS % 3  # nine equal groups: fold by turns
    losses = []
    for c in strengths:
        proba = np.zeros((len(y), 4))
        for fold in range(3):
            out = TRAIN & (folds == fold)
            model = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(
                scaled[TRAIN & ~out], y[TRAIN & ~out]
            )
            proba[out] = model.predict_proba(scaled[out])
        losses.append(log_loss(y[TRAIN], proba[TRAIN]))
    assert result.strength == strengths[int(np.argmin(losses))]
    first = LogisticRegression(C=result.strength, tol=1e-8, max_iter=10_000).fit(scaled[TRAIN], y[TRAIN])
    assert result.valid_score == pytest.approx(first.score(scaled[VALID], y[VALID]))
    again = standardised(x, TRAIN | VALID)
    second = LogisticRegression(C=result.strength, tol=1e-8, max_iter=10_000).fit(again[~TEST], y[~TEST])
    predicted = second.predict(again[TEST])
    np.testing.assert_array_equal(result.predictions, predicted)
    assert result.score == pytest.approx((predicted == y[TEST]).mean())
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(y[TEST], predicted))
    np.testing.assert_array_equal(confusion_table(result).to_numpy(), confusion_matrix(y[TEST], predicted))
    assert result.low < result.score < result.high
    assert probe_row(result)["metric"] == "accuracy"


def test_text_labels_keep_their_names():
    x, y = classes()
    result = probe(x, np.array(list("dbca"))[y], split=SPLIT, groups=GROUPS)
    assert result.classes == ("a", "b", "c", "d")
    assert result.score > 0.6
    assert list(confusion_table(result).index) == ["a", "b", "c", "d"]


def test_noise_is_at_chance_and_is_fitted_weakly():
    rng = np.random.default_rng(0)
    result = probe(
        rng.standard_normal((len(GROUPS), 100)), rng.integers(0, 4, len(GROUPS)), split=SPLIT, groups=GROUPS
    )
    assert abs(result.score - 0.25) < 0.1
    assert result.strength < 0.01


def test_folds_of_groups_resist_what_names_the_group():
    """Features that name the group, a label that depends on it: rows as groups overrate a close fit."""
    rng = np.random.default_rng(1)
    y = (rng.integers(0, 2, 16))[GROUPS] ^ (rng.random(len(GROUPS)) < 0.1)
    x = np.eye(16)[GROUPS] + 0.1 * rng.standard_normal((len(GROUPS), 16))
    by_group = probe(x, y, split=SPLIT, groups=GROUPS)
    by_row = probe(x, y, split=SPLIT, groups=np.arange(len(GROUPS)))
    assert by_group.strength < by_row.strength


def test_numbers_are_scored_by_r2():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((len(GROUPS), 30))
    y = x[:, :3].sum(axis=1) + 0.5 * rng.standard_normal(len(GROUPS))
    result = probe(x, y, split=SPLIT, groups=GROUPS)
    scaled = standardised(x, ~TEST)
    model = Ridge(alpha=1 / result.strength).fit(scaled[~TEST], y[~TEST])
    assert result.score == pytest.approx(r2_score(y[TEST], model.predict(scaled[TEST])))
    assert result.kind == "number"
    assert result.low < result.score < result.high
    assert 0.85 < result.score < 0.97  # 3 of 3.25 of the variance
    assert np.isnan(result.correct).all()


def test_several_classes_are_scored_by_macro_average_precision():
    x, y = classes(noise=0.5)
    names = np.array(["rain", "wind", "rain;wind", "owl;rain"])[y]
    result = probe(x, names, split=SPLIT, groups=GROUPS)
    assert result.kind == "multi"
    assert result.classes == ("owl", "rain", "wind")
    assert result.score > 0.9
    shuffled = probe(x, np.random.default_rng(0).permutation(names), split=SPLIT, groups=GROUPS)
    assert shuffled.score < 0.75
    assert probe_row(result)["metric"] == "macro_average_precision"


def test_without_validation_rows_and_with_one_training_group():
    x, y = classes()
    split = np.where(TRAIN, "train", "test")
    assert np.isnan(probe(x, y, split=split, groups=GROUPS).valid_score)
    one = np.where(TRAIN, 0, GROUPS)
    assert probe(x, y, split=split, groups=one).score > 0.5  # folds are rows then


def test_constant_features_and_many_at_once():
    x, y = classes()
    padded = np.column_stack(
        [x, np.ones(len(x)), np.where(TEST, 5.0, 0.0)]
    )  # the last one only moves in the test
    done = []
    both = probe_all(
        {"x": x, "padded": padded}, y, split=SPLIT, groups=GROUPS, workers=2, on_done=done.append
    )
    assert done == ["x", "padded"]
    np.testing.assert_array_equal(both["x"].predictions, both["padded"].predictions)
    alone = probe(x, y, split=SPLIT, groups=GROUPS)
    assert both["x"].score == alone.score
    assert (both["x"].low, both["x"].high) == (alone.low, alone.high)


def test_best_layer():
    table = pd.DataFrame(
        {"layer": [0, 1, 2, 1], "score": [0.9, 0.5, 0.6, 0.5], "valid_score": [0.3, 0.8, 0.6, 0.4]}
    )
    assert best_layer(table) == [1]  # the mean of 0.8 and 0.4 equals layer 2's: the lower layer
    assert best_layer(table, by="score", n=2) == [0, 2]
    with pytest.raises(InputError, match="validation rows"):
        best_layer(table.assign(valid_score=np.nan))
    with pytest.raises(InputError, match="needs the columns"):
        best_layer(table, by="f1")


def test_bad_input():
    x, y = classes()
    with pytest.raises(InputError, match="one class only"):
        probe(x, np.where(TEST, 1, 0), split=SPLIT, groups=GROUPS)
    with pytest.raises(InputError, match="no row is in the split 'train'"):
        probe(x, y, split=np.full(len(y), "test"), groups=GROUPS)
    with pytest.raises(InputError, match="with a label, split and group"):
        probe(x, y[:5], split=SPLIT, groups=GROUPS)
    with pytest.raises(InputError, match="must be finite"):
        probe(np.where(x > 3, np.nan, x), y, split=SPLIT, groups=GROUPS)
    with pytest.raises(InputError, match="320 of 320 rows have no label"):
        probe(x, np.full(len(y), np.nan), split=SPLIT, groups=GROUPS)
    with pytest.raises(InputError, match="no features to probe"):
        probe(x[:, :0], y, split=SPLIT, groups=GROUPS)
    for strengths in ([], [0.0, 1.0]):
        with pytest.raises(InputError, match="inverse penalties above 0"):
            probe(x, y, split=SPLIT, groups=GROUPS, strengths=strengths)
    with pytest.raises(InputError, match="no confusion matrix"):
        confusion_table(probe(x, x[:, 0], split=SPLIT, groups=GROUPS))
