"""Names checked on rows that they were not made from: numbers beside scikit-learn's, and rules that travel as text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from otoscope.errors import InputError
from otoscope.latents import NO_MEANING, Condition, Ground, Rule, judge_names
from otoscope.latents.rules import factor_words

RNG = np.random.default_rng(0)
N = 60
LABELS = pd.DataFrame(
    {"group": RNG.choice(["ann", "bob", "cas"], N), "vowel": RNG.choice(["a", "e", "a;e"], N)}
)
FACTORS = pd.DataFrame({"f0_hz": RNG.normal(200, 50, N)})
FACTORS.loc[3, "f0_hz"] = np.nan
VALUES = RNG.gamma(1, 1, (N, 5)) * (RNG.random((N, 5)) < 0.5)
RULES = [
    Rule((Condition("vowel", "a"),)),
    Rule((Condition("f0_hz", 210.0, "above", "Hz"),)),
    Rule((Condition("vowel", "e"), Condition("f0_hz", 190.0, "below", "Hz")), "ann"),
    Rule(group="bob"),
]


def ground(*, moments: bool = False) -> Ground:
    return Ground(sparse.csc_matrix(VALUES), LABELS, FACTORS, {"f0_hz": "Hz"}, moments)


def table(rules: list[Rule]) -> pd.DataFrame:
    rows = {"latent": range(len(rules)), "name": map(str, rules), "rule": [rule.to_json() for rule in rules]}
    return pd.DataFrame(rows).assign(confidence=0.5)


def test_a_name_reads_as_it_judges():
    assert [str(rule) for rule in RULES] == [
        "vowel a",
        "f0 above 210 Hz",
        "vowel e, f0 below 190 Hz, ann only",
        "bob only",
    ]
    assert str(Rule()) == NO_MEANING
    assert (
        str(Rule((Condition("tilt_db_per_octave", -12.5, "below", "dB/octave"),)))
        == "tilt below \u221212.5 dB/octave"
    )
    for rule in [*RULES, Rule(), Rule((Condition("voiced", 0.5, "above"),), moments=True)]:
        assert Rule.from_json(rule.to_json()) == rule
    assert factor_words("jitter_percent", "%") == "jitter"
    assert factor_words("f0_median_semitones", "semitones above 27.5 Hz") == "f0 median"
    assert factor_words("f1", "") == "f1"


def test_a_rule_holds_where_all_it_says_is_so():
    has_e = LABELS.vowel.isin(["e", "a;e"])
    expected = has_e & (FACTORS.f0_hz < 190) & (LABELS.group == "ann")
    assert (RULES[2].holds(LABELS, FACTORS) == expected).all()
    assert not RULES[1].holds(LABELS, FACTORS)[3]  # not known there
    with pytest.raises(InputError, match="'f0_hz', which is not known"):
        RULES[1].holds(LABELS)


def test_judgement_is_scikit_learns():
    rules = [*RULES, Rule((Condition("vowel", "e"), Condition("f0_hz", 190.0, "below", "Hz")))]
    found = judge_names(ground(), table(rules)).set_index("latent")
    assert list(found.index) == [0, 1, 4]  # what is one group's cannot be judged on others
    masks = {latent: rules[latent].holds(LABELS, FACTORS) for latent in found.index}
    for latent, holds in masks.items():
        values = VALUES[:, latent]
        assert found.auc[latent] == pytest.approx(roc_auc_score(holds, values))
        assert found.detection[latent] == pytest.approx(balanced_accuracy_score(values > 0, holds))
        others = [roc_auc_score(mask, values) for other, mask in masks.items() if other != latent]
        assert found.random_auc[latent] == pytest.approx(np.mean(others))
        assert found.as_good[latent] == pytest.approx(np.mean(np.array(others) >= found.auc[latent]))
        assert found.n_holding[latent] == holds.sum()
        assert found.n_hits[latent] == ((values > 0) & holds).sum()
        assert found.n_false[latent] == ((values > 0) & ~holds).sum()


def test_moments_are_judged_by_where_the_latent_fires():
    rules = [Rule(rule.conditions, moments=True) for rule in RULES[:2]]
    assert judge_names(ground(), table(rules)).empty
    found = judge_names(ground(moments=True), table([*rules, RULES[0]]))
    assert list(found.latent) == [0, 1]
    assert found.auc.tolist() == pytest.approx(found.detection.tolist())


def test_a_rule_that_never_holds_is_not_judged():
    assert judge_names(ground(), table([Rule((Condition("f0_hz", 9999.0, "above", "Hz"),))])).empty
