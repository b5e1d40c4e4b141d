"""The sentences: their numbers are those of the tables, and they claim no more than the intervals allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from said import numbers_in, says
from scipy import stats

from otoscope.report.numbers.factors import entropy_points, spearman
from otoscope.report.numbers.headlines import headlines
from otoscope.report.run import read_run
from otoscope.report.words.findings import findings
from otoscope.report.words.overview import tiles, verdicts
from otoscope.results import BEST_LAYER
from otoscope.wording import with_article


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
    interval = [round(100 * value, 1) for value in (row.score, row.score_low, row.score_high)]
    assert says(
        text, 3, interval[0], 95, *interval[1:], 5, 10.0
    )  # the layer, its score, test groups, and chance
    assert "technique" in text
    assert "not shown" not in text
    rewrite(folder, "layer_probing", lambda t: t.assign(score_low=0.05))
    assert "not shown" in said(folder)["Best layer"]
    assert "not to be trusted" not in text
    rewrite(folder, "layer_probing", lambda t: t.assign(trusted=False))
    assert "not to be trusted" in said(folder)["Best layer"]


def test_layer_is_the_one_the_run_chose_not_the_best_on_test(make_run):
    folder = make_run()
    rewrite(folder, "layer_probing", lambda t: t.assign(score=t.score.where(t.layer != 1, 0.8)))
    text = said(folder)["Best layer"]
    assert numbers_in(text)[0] == 3
    assert says(text, 1, 80.0)


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (0.02, 0.12, "above 0"),
        (-0.02, 0.12, "includes 0"),
        (-0.12, -0.02, "below 0"),
        (float("nan"), float("nan"), "nothing is claimed"),
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
    text = said(folder)["What the codes keep"]
    assert says(text, round(usual.min(), 1), round(usual.max(), 1), 75, 95)
    layer, sparsity = change.idxmin()
    assert says(text, round(-change.min(), 1), layer, 100 * sparsity)
    assert says(text, 5, 0)  # in none of 5 cases is the interval beside 0
    rewrite(folder, "comparisons", lambda t: t.assign(difference_low=-0.3, difference_high=0.1))
    assert "chance" in said(folder)["What the codes keep"]
    rewrite(folder, "comparisons", lambda t: t.assign(difference_low=-0.3, difference_high=-0.1))
    assert says(said(folder)["What the codes keep"], 5, 5, 0)


def test_layer_0_is_not_compared_with_itself(make_run):
    folder = make_run()
    rewrite(folder, "comparisons", lambda t: t.assign(layer=t.layer.where(t.comparison != BEST_LAYER, 0)))
    assert numbers_in(said(folder)["What the blocks add"]) == [0, 0]


def test_reconstruction_says_whether_the_loss_rises(make_run):
    folder = make_run()
    fvu = table(folder, "reconstruction").query("layer == 3").set_index("sparsity").fvu
    text = said(folder)["What the codes lose"]
    assert says(text, round(100 * fvu[0.75], 1), 75, round(100 * fvu[0.99], 1), 99)
    assert "every step" in text
    rewrite(folder, "reconstruction", lambda t: t.assign(fvu=t.fvu.where(t.sparsity != 0.85, 0.04)))
    assert "not at every step" in said(folder)["What the codes lose"]
    rewrite(folder, "reconstruction", lambda t: t.assign(fvu=1 - t.sparsity * t.layer / 10))
    assert numbers_in(said(folder)["What the codes lose"])[-2:] == [0, 2]


def test_best_predicted_factors(make_run):
    folder = make_run()
    rows = table(folder, "disentanglement").query("representation in ('dense', 'topk')")
    best = rows.groupby("factor").r2_counted.max().sort_values(ascending=False)
    text = said(folder)["Which properties of the sound are there"]
    places = [text.index(f"{factor} ({r2:.2f};") for factor, r2 in best.head(3).items()]
    assert places == sorted(places)
    assert says(text, 14, (best >= 0.7).sum(), 0.70, 0.10)
    assert "; am_depth, shimmer and am_rate_hz stay below" in text
    assert "ranked by what is held beyond it: am_depth and am_rate_hz" in text
    in_sample = said(make_run(protocol="paper"))["Which properties of the sound are there"]
    assert "in-sample R²; nothing was held out" in in_sample


def test_disentanglement_beside_nulls(make_run):
    folder = make_run(seeds=(0, 1, 2))
    rows = table(folder, "disentanglement_summary").query("layer == 3")
    codes = rows.query("representation == 'topk' and sparsity == 0.95")
    text = said(folder)["How disentangled the codes are"]
    dense = rows.query("representation == 'dense'")
    dims = [round(side.effective_dims_mean.mean(), digits) for side, digits in ((codes, 1), (dense, 0))]
    assert says(text, dims[0], 95, dims[1])
    assert says(text, round(codes.completeness_mean.mean(), 2), round(dense.completeness_mean.mean(), 2))
    label, beyond = codes.r2_label_mean.mean(), codes.r2_beyond_mean.mean()
    assert f"mean R² of {label:.2f}; beyond it the codes hold {beyond:.2f}" in text
    for name, shown in (("untrained", "untrained SAE"), ("pca", "PCA"), ("random", "random projection")):
        null = rows.query(f"representation == '{name}'")
        assert f"{shown} {null.effective_dims_mean.mean():.0f} (R² {null.r2_mean.mean():.2f})" in text
    assert numbers_in(text)[-1] == 3  # seeds
    assert "not beat" not in text
    rewrite(
        folder,
        "disentanglement_summary",
        lambda t: t.assign(
            effective_dims_mean=t.effective_dims_mean.where(t.representation != "untrained", 2),
            r2_mean=t.r2_mean.where(t.representation != "untrained", 0.9),
        ),
    )
    assert "not beat untrained SAE" in said(folder)["How disentangled the codes are"]


def test_entropy_and_spearman(make_run):
    folder = make_run()
    run = read_run(folder)
    points = entropy_points(run.tables["disentanglement"], run.tables["factor_entropy"], sparsity=0.94)
    here = points[points.layer == 3]
    assert len(here) == 13  # of 14: am_depth is mixed
    assert "am_depth" not in set(here.factor)
    assert (
        len(
            entropy_points(
                run.tables["disentanglement"], run.tables["factor_entropy"], column="entropy_hist_bits"
            )
        )
        == 28
    )
    points = entropy_points(
        run.tables["disentanglement"], run.tables["factor_entropy"], sparsity=0.94, score="r2_counted"
    )
    here = points[(points.layer == 3) & (points.r2 >= 0.1)]  # a factor that is not predicted is not counted
    assert len(here) == 11
    rho = stats.spearmanr(here.entropy, here.completeness).statistic
    assert spearman(here.entropy, here.completeness) == pytest.approx(rho, abs=1e-12)
    text = said(folder)["Entropy"]
    assert says(text, round(rho, 2), 11)
    assert "3, factors of higher entropy have lower completeness" in text
    rng = np.random.default_rng(0)
    rewrite(folder, "factor_entropy", lambda t: t.assign(entropy_knn_bits=rng.permutation(len(t))))
    points = entropy_points(run.tables["disentanglement"], table(folder, "factor_entropy"), sparsity=0.95)
    assert abs(spearman(points.entropy, points.completeness)) < 0.5
    text = said(folder)["Entropy"]
    assert "3, that factors of higher entropy have lower completeness is not shown" in text
    points = entropy_points(
        run.tables["disentanglement"], table(folder, "factor_entropy"), score="r2_counted", min_r2=0.1
    )
    points = points[(points.layer == 3) & points.counted]
    expected = stats.permutation_test(
        [points.completeness.to_numpy()], lambda own: stats.spearmanr(points.entropy, own).statistic,
        permutation_type="pairings", alternative="less", n_resamples=2000, rng=0,
    ).pvalue  # fmt: skip
    told = float(text.split("of that many ")[1].split("\u00a0%")[0]) / 100
    assert told == pytest.approx(expected, abs=0.04)


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


def test_nothing_is_said_of_codes_of_a_collapsed_dictionary(make_run):
    folder = make_run()
    before = said(folder)
    verdict = "collapsed: 87 of 1,024 latents carry everything"
    here = lambda t: (t.layer == 3) & (t.sparsity >= 0.95)  # noqa: E731
    rewrite(
        folder,
        "health",
        lambda t: t.assign(
            state=t.state.mask(here(t), "collapsed"), verdict=t.verdict.mask(here(t), verdict)
        ),
    )
    after = said(folder)
    for lead in ("How disentangled the codes are", "Entropy"):
        assert "Not tested" not in before[lead]
        assert after[lead].startswith("Not tested")
        assert "87 of 1,024 latents carry everything" in after[lead]
    assert says(after["What the codes keep"], 75, 90)  # 95 and 99 % are left out
    cards = {card.where: card for card in verdicts(read_run(folder))}
    card = cards["Dictionary of layer 3 at 95\u00a0%"]
    assert (card.state, card.verdict) == ("collapsed", verdict)
    assert "collapsed at 99" in card.others
    assert len(tiles(read_run(folder))) == 1  # the probe of the layer; nothing of its codes


def test_classes_that_tie_are_all_named(make_paper_run):
    folder = make_paper_run(encoders={"ast": (6, 12)})

    def harder(t):
        hard = t["class"].isin(["belt", "breathy", "inhaled", "trill"]) & (t.k < 512)
        return t.assign(valid_average_precision=t.valid_average_precision.mask(hard, 0.1))

    rewrite(folder, "sparse_probing", harder)
    text = said(folder)["How few latents a class needs"]
    assert "most, 512, for belt, breathy, inhaled and trill" in text


def test_pca_beside_the_codes(make_run):
    folder = make_run()
    table_ = table(folder, "health").query("layer == 3")
    better = [
        f"{100 * s:g}\u00a0%"
        for s, fvu, pca in zip(table_.sparsity, table_.fvu, table_.pca_fvu)
        if fvu >= pca
    ]
    assert 0 < len(better) < 6
    assert f"loses less at {', '.join(better[:-1])} and {better[-1]}" in said(folder)["What the codes lose"]


def test_rows_of_nulls_are_kept_apart(make_run):
    folder = make_run()
    before = said(folder)["What the codes lose"]

    def with_nulls(t):
        null = t.assign(representation="frozen_decoder", fvu=0.5)
        return pd.concat([t.assign(representation="topk"), null, t.assign(representation="pca", fvu=0.9)])

    rewrite(folder, "reconstruction", with_nulls)
    run = read_run(folder)
    assert set(run.tables["reconstruction"].representation) == {"topk"}
    assert set(run.nulls["reconstruction"].representation) == {"frozen_decoder", "pca"}
    after = said(folder)["What the codes lose"]
    assert after.split(" PCA")[0] == before.split(" PCA")[0]
    assert "loses more at every sparsity" in after  # by the rows of PCA, which go before those of health


def test_no_mean_over_fewer_than_three_factors(make_run):
    folder = make_run()

    def one(t: pd.DataFrame) -> pd.DataFrame:
        return t.assign(n_factors=t.n_factors.where(t.representation != "topk", 1), r2_mean=-0.02)

    rewrite(folder, "disentanglement_summary", one)
    run = read_run(folder)
    text = said(folder)["How disentangled the codes are"]
    assert "hold 1 of 10\u00a0factors" in text
    assert "too few to say how many dimensions" in text
    number, what, _ = tiles(run)[-1]
    assert (number, what) == ("1 of 10", "factors held by the codes")
    assert np.isnan(headlines(run)["effective_dims"].iloc[0])


def test_healthy_says_what_it_does_not_say(make_run):
    folder = make_run()
    rewrite(
        folder,
        "disentanglement_summary",
        lambda t: t.assign(r2_mean=t.r2_mean.where(t.representation != "untrained", 0.99)),
    )
    rewrite(folder, "health", lambda t: t.assign(pca_fvu=t.fvu / 2))
    card = verdicts(read_run(folder))[0]
    assert card.verdict == "not collapsed"
    assert "more than PCA with as many components" in card.others
    assert "than by an untrained SAE (0.99)" in card.others


def test_articles():
    nouns = ("random projection", "untrained SAE", "SAE with a random decoder", "PCA")
    expected = ["a random projection", "an untrained SAE", "an SAE with a random decoder", "PCA"]
    assert [with_article(noun) for noun in nouns] == expected
