"""The published way of measuring: against a plain loop over scikit-learn, on codes of the paper's shape; its traps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

from otoscope.datasets.synthsing.factors import ground_truth
from otoscope.datasets.synthsing.plan import plan_clips
from otoscope.disentanglement import measure_disentanglement, measure_in_sample, summarise

N_ROWS, N_LATENTS = 400, 2048
GROUPS = np.repeat(np.arange(10), 40)


def factors_and_codes(
    sparsity: float, *, n_factors: int = 6, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Correlated factors, and codes as a top-k autoencoder has them: random directions, the k largest kept."""
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((N_ROWS, 12))
    factors = sources @ rng.standard_normal((12, n_factors)) + 0.5 * rng.standard_normal((N_ROWS, n_factors))
    codes = np.maximum(sources @ rng.standard_normal((12, N_LATENTS)), 0)
    k = int((1 - sparsity) * N_LATENTS)
    codes[codes < np.partition(codes, -k, axis=1)[:, [-k]]] = 0
    return pd.DataFrame(factors, columns=[f"f{i}" for i in range(n_factors)]), codes


def plain(codes: np.ndarray, factors: pd.DataFrame) -> pd.DataFrame:
    """The published loop: standardise, one Lasso per factor, score on the same rows; its objective beside."""
    x, y = StandardScaler().fit_transform(codes), StandardScaler().fit_transform(factors)
    rows = []
    for j, name in enumerate(factors):
        model = Lasso(alpha=0.1, max_iter=10_000, tol=1e-10).fit(x, y[:, j])
        p = np.abs(model.coef_) / (np.abs(model.coef_).sum() + 1e-12)
        completeness = 1 + (p[p > 0] * np.log(p[p > 0])).sum() / np.log(len(p))
        objective = ((y[:, j] - model.predict(x)) ** 2).mean() / 2 + 0.1 * np.abs(model.coef_).sum()
        rows.append((name, model.score(x, y[:, j]), completeness, objective))
    return pd.DataFrame(rows, columns=["factor", "r2", "completeness", "objective"])


@pytest.mark.parametrize("sparsity", [0.75, 0.95])
def test_scores_are_those_of_the_published_loop(sparsity):
    factors, codes = factors_and_codes(sparsity)
    result = measure_in_sample(codes, factors)
    expected = plain(codes, factors)
    np.testing.assert_allclose(result.factors.r2, expected.r2, atol=1e-4)
    assert (result.factors.n_free == 0).all()  # so the weights are the only ones
    np.testing.assert_allclose(result.factors.completeness, expected.completeness, atol=1e-3)
    # The weights carry no sign: the objective follows from R2.
    objective = (1 - result.factors.r2) / 2 + 0.1 * result.weights.sum(axis=0)
    np.testing.assert_allclose(objective, expected.objective, rtol=1e-6)


def test_at_99_percent_two_right_solvers_may_differ_and_it_is_said():
    """Latents that fire for one clip alone are equal columns: same objective, other weights."""
    factors, codes = factors_and_codes(0.99)
    rare = np.zeros((N_ROWS, 30))
    rare[7] = np.linspace(0.5, 3, 30)  # thirty latents of one clip
    codes = np.column_stack([codes[:, :-30], rare])
    factors.loc[7, "f0"] += 30  # an outlying clip
    result = measure_in_sample(codes, factors)
    expected = plain(codes, factors)
    objective = (1 - result.factors.r2) / 2 + 0.1 * result.weights.sum(axis=0)
    np.testing.assert_allclose(objective, expected.objective, rtol=1e-6)
    assert result.factors.n_free[0] >= 29
    np.testing.assert_allclose(result.factors.r2, expected.r2, atol=1e-4)  # the fit is unique all the same


def test_the_unequal_selection_puts_factors_first_that_nothing_predicts():
    rng = np.random.default_rng(0)
    factors = pd.DataFrame(rng.standard_normal((N_ROWS, 8)), columns=list("abcdefgh"))
    codes = np.column_stack(
        [factors[["a", "b", "c", "d"]] @ rng.standard_normal((4, 30)), np.zeros((N_ROWS, 5))]
    )
    result = measure_in_sample(codes, factors, alpha=0.3)
    table = summarise(result, score="r2", n=4).set_index("selection")
    empty = result.factors.n_nonzero == 0
    assert set(result.factors.factor[empty]) == set("efgh")
    assert (result.factors.completeness[empty] == 1).all()
    assert table.loc["top10_completeness", "completeness_mean"] == 1
    assert table.loc["top10_completeness", "r2_mean"] == pytest.approx(0, abs=1e-9)
    assert table.loc["top10_r2", "r2_mean"] > 0.4
    assert table.loc["top10_r2", "completeness_mean"] < 0.9
    honest = measure_in_sample(codes, factors, alpha=0.3, empty_completeness=np.nan)
    assert summarise(honest, score="r2", n=4).n_factors.tolist() == [4, 4, 8]
    assert honest.factors.completeness[empty].isna().all()


def test_random_codes_of_the_papers_shape(egemaps_csv):
    """88 real factors of 400 clips, 2,048 random latents of which 5 % fire: nothing is there to be found."""
    table = pd.read_csv(egemaps_csv).drop_duplicates("clip").sample(N_ROWS, random_state=0)
    singers = table["clip"].str.split("_").str[0].to_numpy()
    factors = table.drop(columns="clip").reset_index(drop=True)
    codes = np.maximum(np.random.default_rng(1).standard_normal((N_ROWS, N_LATENTS)), 0)
    codes[codes < np.quantile(codes, 0.95, axis=1, keepdims=True)] = 0
    published = measure_in_sample(codes, factors)
    best = summarise(published, score="r2").set_index("selection")
    assert best.loc["top10_r2", "r2_mean"] > 0.4
    assert best.loc["top10_completeness", "completeness_mean"] > 0.5
    assert published.disentanglement > 0.6
    subset = factors.iloc[:, ::6]
    sound = measure_disentanglement(codes, subset, groups=singers, alphas=[0.2, 0.1, 0.05])
    assert abs(sound.factors.r2_cv.mean()) < 0.1
    assert not sound.factors.ranked.any()
    assert np.isnan(sound.disentanglement)


def test_true_factors_scaled_and_shuffled_among_idle_latents_are_found_and_rotated_ones_are_not_disentangled():
    rng = np.random.default_rng(0)
    factors = pd.DataFrame(rng.standard_normal((N_ROWS, 8)), columns=list("abcdefgh"))
    apart = np.column_stack([factors * rng.uniform(-5, 5, 8), rng.standard_normal((N_ROWS, 40))])
    apart = apart[:, rng.permutation(48)]
    mixed = np.column_stack([factors @ np.linalg.qr(rng.standard_normal((8, 8)))[0], np.zeros((N_ROWS, 40))])
    for codes, disentangled in ((apart, True), (mixed, False)):
        sound = measure_disentanglement(codes, factors, groups=GROUPS)
        published = measure_in_sample(codes, factors, alpha=0.01)
        for result in (sound, published):
            assert (result.factors.r2 > 0.98).all()
            assert (result.factors.completeness.mean() > 0.9) == disentangled
            assert (result.disentanglement > 0.9) == disentangled
        assert (sound.factors.r2_cv > 0.98).all()


def test_the_built_in_factors_as_codes_and_random_codes_of_the_same_clips():
    """What both protocols say of codes that are synthsing's true factors, and of random ones."""
    plan = plan_clips(n_singers=5)
    factors = ground_truth(plan[["clip_id"]].assign(start_s=0.0, stop_s=1.0)).iloc[:, 3:]
    singers = plan.singer.to_numpy()
    rng = np.random.default_rng(0)
    true = factors.to_numpy()[:, rng.permutation(factors.shape[1])]
    for result in (measure_in_sample(true, factors), measure_disentanglement(true, factors, groups=singers)):
        assert (result.factors.r2 > 0.98).all()
        assert (result.factors.completeness > 0.99).all()
        assert result.disentanglement > 0.99
    noise = rng.standard_normal((len(factors), 1024))
    held_out = measure_disentanglement(noise, factors, groups=singers, alphas=[0.2, 0.1, 0.05])
    assert held_out.factors.r2_cv.max() < 0.1
    assert not held_out.factors.ranked.any()
    published = summarise(measure_in_sample(noise, factors), score="r2").set_index("selection")
    assert published.loc["top10_r2", "r2_mean"] > 0.1
    assert published.loc["top10_completeness", "completeness_mean"] > 0.45
