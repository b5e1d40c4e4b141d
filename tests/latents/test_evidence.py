"""AUCs, partial correlations and corrected p beside scikit-learn, scipy and counting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from otoscope.latents import factor_evidence, label_evidence, labels_of
from otoscope.latents.permuting import corrected, draw
from otoscope.latents.rules import auc_in_groups, auc_of, detection

N, N_GROUPS, N_LATENTS = 240, 12, 6


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(N_GROUPS), N // N_GROUPS)
    values = rng.gamma(1.0, 1.0, (N, N_LATENTS)) * (rng.random((N, N_LATENTS)) < 0.4)
    clips = pd.DataFrame({"clip_id": [f"c{i}" for i in range(N)], "path": "x", "start_s": 0.0, "stop_s": 1.0})
    clips = clips.assign(split="train", group=[f"g{i:02d}" for i in group])
    clips["vowel"] = rng.choice(list("aei"), N)
    clips["sex"] = np.where(group % 2, "male", "female")
    clips["tags"] = rng.choice(["x", "x;y", "y", "z"], N)
    return clips, group, values


def test_auc_of_each_label_is_scikit_learns(data):
    clips, group, values = data
    labels = labels_of(clips)
    found = label_evidence(sparse.csc_matrix(values), np.arange(6), labels, group, n_draws=30, seed=0)
    assert set(found["column"]) == {"group", "vowel", "sex", "tags"}
    assert set(found.value[found["column"] == "tags"]) == {"x", "y", "z"}
    for row in found.itertuples():
        holds = clips[row.column].map(lambda cell, value=row.value: value in cell.split(";"))
        assert row.auc == pytest.approx(roc_auc_score(holds, values[:, row.latent]), abs=1e-6)
    nulls = found.groupby("column")["null"].first().to_dict()
    assert nulls == {
        "group": "clips",
        "vowel": "within groups",
        "sex": "whole groups",
        "tags": "within groups",
    }


def test_rho_is_the_correlation_of_residual_ranks(data):
    clips, group, values = data
    rng = np.random.default_rng(1)
    factors = pd.DataFrame(
        {"f0_hz": rng.normal(200, 40, N) + 30 * values[:, 2], "level_dbfs": rng.normal(-30, 3, N)}
    )
    factors.loc[::7, "level_dbfs"] = np.nan
    classes = pd.factorize(clips.vowel)[0]
    args = (sparse.csc_matrix(values), np.arange(6), factors, group, classes)
    found = factor_evidence(*args, n_draws=100, seed=0)
    assert len(found) == 12
    for row in found.itertuples():
        known = factors[row.factor].notna().to_numpy()
        dummies = pd.get_dummies(pd.DataFrame({"class": classes, "group": group})[known].astype(str))
        residuals = []
        for column in (factors[row.factor].to_numpy()[known], values[known, row.latent]):
            ranks = rankdata(column)
            residuals.append(ranks - LinearRegression().fit(dummies, ranks).predict(dummies))
        assert row.rho == pytest.approx(np.corrcoef(*residuals)[0, 1], abs=2e-3)
    best = found.loc[found.rho.abs().idxmax()]
    assert (best.latent, best.factor) == (2, "f0_hz")
    assert best.p_corrected < 0.05
    assert (found.p_corrected[found.latent != 2] > 0.05).all()


def test_without_classes_and_groups_rho_is_spearmans(data):
    _, _, values = data
    factors = pd.DataFrame({"x": np.random.default_rng(2).normal(size=N)})
    alone = np.arange(N)  # each its own group
    found = factor_evidence(sparse.csc_matrix(values), np.arange(6), factors, alone, None, n_draws=30, seed=0)
    assert set(found["null"]) == {"clips"}
    for row in found.itertuples():
        assert row.rho == pytest.approx(spearmanr(values[:, row.latent], factors.x).statistic, abs=1e-6)


def test_a_factor_of_the_person_is_tested_by_whole_groups(data):
    _, group, values = data
    age = np.random.default_rng(3).normal(size=N_GROUPS)[group]
    values = values + 2.0 * (age > 0)[:, None] * np.eye(N_LATENTS)[0]
    found = factor_evidence(
        sparse.csc_matrix(values), np.arange(6), pd.DataFrame({"age": age}), group, None, n_draws=200, seed=0
    )
    assert set(found["null"]) == {"whole groups"}
    assert found.p[0] < 0.02
    assert found.null95[0] > 0.3  # 12 people allow much by chance, 240 clips would not


@pytest.mark.parametrize("null", ["within groups", "whole groups", "clips", "shifted in time"])
def test_draws_keep_what_they_say(null):
    group = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    label = group * 10  # constant in groups
    for order in draw(null, group, 20, seed=0):
        if null == "whole groups":
            dealt = label[order]
            assert sorted(set(dealt)) == [0, 10, 20]
            assert all(len(set(dealt[group == g])) == 1 for g in range(3))
            continue
        assert sorted(order) == list(range(9))
        if null != "clips":
            assert (group[order] == group).all()
        if null == "shifted in time":
            for g in range(3):
                own = np.flatnonzero(group == g)
                assert list(order[own]) in [list(np.roll(own, shift)) for shift in range(len(own))]


def test_corrected_p_is_a_count():
    highest = np.array([1.0, 2.0, 3.0, 4.0])
    assert corrected(np.array([2.5, 5.0, 0.0]), highest).tolist() == [3 / 5, 1 / 5, 1.0]
    assert corrected(np.array([5.0]), highest, n_families=3).tolist() == [3 / 5]


def test_correction_holds_the_error_it_promises():
    """In noise with strong groups, some label of some latent passes 5 % in no more than about 5 % of data sets."""
    false = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(10), 12)
        clips = pd.DataFrame(
            {"split": "train", "group": [f"g{i}" for i in group], "vowel": rng.choice(list("aei"), 120)}
        )
        clips["sex"] = np.where(group < 5, "male", "female")
        values = rng.normal(size=(120, 30)) + 2 * rng.normal(size=(10, 30))[group]
        values = np.maximum(values, 0)
        labels = labels_of(clips)
        found = label_evidence(sparse.csc_matrix(values), np.arange(30), labels, group, n_draws=60, seed=seed)
        false += (found.p_corrected[found["column"] != "group"] <= 0.05).any()
    assert false <= 6  # binomial(40, 0.05): 7 or more in 0.3 % of trials


def test_auc_in_groups_and_detection():
    rng = np.random.default_rng(4)
    values, holds, group = rng.normal(size=90), rng.random(90) < 0.4, np.repeat([0, 1, 2], 30)
    holds[group == 2] = False
    assert auc_of(rankdata(values), holds) == pytest.approx(roc_auc_score(holds, values))
    expected = [roc_auc_score(holds[group == g], values[group == g]) for g in (0, 1)]
    assert auc_in_groups(values, holds, group) == pytest.approx(expected)
    fires = rng.random(90) < 0.3
    assert detection(fires, holds) == pytest.approx(balanced_accuracy_score(fires, holds))
