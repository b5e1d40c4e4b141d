"""The sentences: their numbers are those of the tables, and they claim no more than the intervals allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from otoscope.report.numbers.headlines import entropy_points, headlines, spearman
from otoscope.report.run import read_run
from otoscope.report.words.findings import findings
from otoscope.results import BEST_LAYER


def said(folder: Path) -> dict[str, str]:
    return {finding.lead: finding.text for finding in findings(read_run(folder))}


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / f"{name}.csv")


def rewrite(folder: Path, name: str, change) -> None:
    change(table(folder, name)).to_csv(folder / "results" / f"{name}.csv", index=False)


def test_best_layer_and_its_interval(make_run):
    folder = make_run()
    row = table(folder, "layer_probing").set_index("layer").loc[3]
    text = said(folder)["Best layer"]
    assert text.startswith("Layer 3 holds the label “technique” best")
    assert f"{100 * row.score:.1f}\u00a0% (95\u00a0% interval {100 * row.score_low:.1f} to" in text
    assert "commonest class would get 10.0\u00a0%" in text
    assert "not shown to do better" not in text
    rewrite(folder, "layer_probing", lambda t: t.assign(score_low=0.05))
    assert "not shown to do better" in said(folder)["Best layer"]


def test_layer_is_the_one_the_run_chose_not_the_best_on_test(make_run):
    folder = make_run()
    rewrite(folder, "layer_probing", lambda t: t.assign(score=t.score.where(t.layer != 1, 0.8)))
    text = said(folder)["Best layer"]
    assert text.startswith("Layer 3 was picked for the label “technique”, without the test clips")
    assert "Layer 1 would have done better on them (80.0\u00a0%)" in text


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (0.02, 0.12, "The interval is above 0: the blocks add something"),
        (-0.02, 0.12, "The interval includes 0: that the blocks add anything for this label is not shown"),
        (-0.12, -0.02, "The interval is below 0: for this label the blocks lose something"),
        (float("nan"), float("nan"), "No interval was computed, so nothing is claimed"),
    ],
)
def test_gain_claims_only_what_its_interval_allows(make_run, low, high, claim):
    folder = make_run()
    rewrite(folder, "comparisons", lambda t: t.assign(difference_low=low, difference_high=high))
    text = said(folder)["What the blocks add"]
    assert claim in text
    assert f"{100 * table(folder, 'comparisons').difference[0]:+.1f}" in text


def test_codes_against_dense(make_run):
    folder = make_run(seeds=(0, 1))
    dense = table(folder, "layer_probing").groupby("layer").score.mean()
    codes = table(folder, "sae_probing").groupby(["layer", "sparsity"]).score.mean()
    change = 100 * (codes - dense.reindex(codes.index, level="layer"))
    usual = change[3][change[3].index <= 0.95]
    text = said(folder)["What the codes keep"].replace("−", "-").replace("\u00a0", " ")
    assert (
        f"changes the score by {usual.min():+.1f} to {usual.max():+.1f} points at 75 % to 95 % sparsity"
        in text
    )
    layer, sparsity = change.idxmin()
    assert (
        f"largest drop of all is {-change.min():.1f} points (layer {layer} at {100 * sparsity:.0f} %" in text
    )
    assert "In none of these 5 cases does the interval of the difference exclude 0" in text
    rewrite(folder, "comparisons", lambda t: t.assign(difference_low=-0.3, difference_high=0.1))
    assert "not shown to be more than chance" in said(folder)["What the codes keep"]
    rewrite(folder, "comparisons", lambda t: t.assign(difference_low=-0.3, difference_high=-0.1))
    assert "In 5 of these 5\u00a0cases the interval" in said(folder)["What the codes keep"]


def test_layer_0_is_not_compared_with_itself(make_run):
    folder = make_run()
    rewrite(folder, "comparisons", lambda t: t.assign(layer=t.layer.where(t.comparison != BEST_LAYER, 0)))
    assert said(folder)["What the blocks add"].startswith("For otoscope-mini layer 0 itself was picked")


def test_reconstruction_says_whether_the_loss_rises(make_run):
    folder = make_run()
    fvu = table(folder, "reconstruction").query("layer == 3").set_index("sparsity").fvu
    text = said(folder)["What the codes lose"]
    assert f"lacks {100 * fvu[0.75]:.1f}\u00a0%" in text
    assert f"and {100 * fvu[0.99]:.1f}\u00a0% at 99\u00a0%" in text
    assert "rises with every step of sparsity in every layer" in text
    rewrite(folder, "reconstruction", lambda t: t.assign(fvu=t.fvu.where(t.sparsity != 0.85, 0.04)))
    assert "though not at every step" in said(folder)["What the codes lose"]
    rewrite(folder, "reconstruction", lambda t: t.assign(fvu=1 - t.sparsity * t.layer / 10))
    assert "in 0 of 2 layers" in said(folder)["What the codes lose"]


def test_best_predicted_factors(make_run):
    folder = make_run()
    rows = table(folder, "disentanglement").query("representation in ('dense', 'topk')")
    best = rows.groupby("factor").r2_cv.max().sort_values(ascending=False)
    text = said(folder)["Which properties of the sound are there"]
    places = [text.index(f"{factor} ({r2:.2f};") for factor, r2 in best.head(3).items()]
    assert places == sorted(places)
    assert f"Of 14\u00a0factors, {(best >= 0.7).sum()} reach 0.70" in text
    assert "shimmer stays below 0.10 everywhere" in text
    in_sample = said(make_run(protocol="paper"))["Which properties of the sound are there"]
    assert "in-sample R²; nothing was held out" in in_sample


def test_disentanglement_beside_nulls(make_run):
    folder = make_run(seeds=(0, 1, 2))
    rows = table(folder, "disentanglement_summary").query("layer == 3")
    codes = rows.query("representation == 'topk' and sparsity == 0.95")
    text = said(folder)["How disentangled the codes are"]
    assert f"mean completeness is {codes.completeness_mean.mean():.2f} in the codes at 95\u00a0%" in text
    assert f"takes {codes.effective_dims_mean.mean():.1f} effective dimensions in the codes" in text
    for name, shown in (("untrained", "untrained SAE"), ("pca", "PCA"), ("random", "random projection")):
        null = rows.query(f"representation == '{name}'")
        assert f"{shown} {null.completeness_mean.mean():.2f} (R² {null.r2_mean.mean():.2f})" in text
    assert "3\u00a0seeds" in text
    assert "do not beat" not in text
    rewrite(
        folder,
        "disentanglement_summary",
        lambda t: t.assign(
            completeness_mean=t.completeness_mean.where(t.representation != "untrained", 0.99)
        ),
    )
    assert "Codes do not beat untrained SAE" in said(folder)["How disentangled the codes are"]


def test_entropy_and_spearman(make_run):
    folder = make_run()
    run = read_run(folder)
    points = entropy_points(run.tables["disentanglement"], run.tables["factor_entropy"], sparsity=0.94)
    here = points[points.layer == 3]
    assert len(here) == 14
    here = here[here.r2 >= 0.1]  # a factor that is not predicted is not counted
    assert len(here) == 13
    rho = stats.spearmanr(here.entropy, here.completeness).statistic
    assert spearman(here.entropy, here.completeness) == pytest.approx(rho, abs=1e-12)
    text = said(folder)["Entropy"]
    assert f"ρ = −{-rho:.2f} over 13\u00a0predicted factors" in text
    assert "lower completeness" in text
    rng = np.random.default_rng(0)
    rewrite(folder, "factor_entropy", lambda t: t.assign(entropy_knn_bits=rng.permutation(len(t))))
    points = entropy_points(run.tables["disentanglement"], table(folder, "factor_entropy"), sparsity=0.95)
    assert abs(spearman(points.entropy, points.completeness)) < 0.5
    assert "no relation" in said(folder)["Entropy"]


def test_headlines_of_several_encoders(make_run):
    folder = make_run(encoders={"ast": (1, 3), "mert": (2,)}, seeds=(0, 1))
    lines = headlines(read_run(folder)).set_index("encoder")
    assert list(lines.index) == ["ast", "mert"]
    assert lines.loc["ast", "studied"] == 3
    assert lines.loc["mert", "studied"] == 2
    fvu = table(folder, "reconstruction").query("encoder == 'mert' and sparsity == 0.95").fvu.mean()
    assert lines.loc["mert", "fvu"] == pytest.approx(fvu)
    summary = table(folder, "disentanglement_summary").query("encoder == 'mert'")
    codes = summary.query("representation == 'topk' and sparsity == 0.95").completeness_mean.mean()
    dense = summary.query("representation == 'dense'").completeness_mean.mean()
    assert lines.loc["mert", "completeness_gain"] == pytest.approx(codes - dense)
