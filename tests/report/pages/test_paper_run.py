"""A run of the paper's own data: published values in figures, captions and tables; claims; what is looked up."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from said import says

from otoscope.report import write_report
from otoscope.report.figures import paper
from otoscope.report.figures.curves import PUBLISHED
from otoscope.report.numbers.published import beside
from otoscope.report.pages.views import draw
from otoscope.report.run import read_run
from otoscope.report.tables.claims import claims_beside, claims_table, untested_table, verdict
from otoscope.report.tables.details import free_shares, latents_needed, more_tables, problem_counts
from otoscope.report.tables.results import result_tables
from otoscope.report.words.captions import caption
from otoscope.report.words.findings import findings


@pytest.fixture(scope="module")
def folder(make_paper_run) -> Path:
    return make_paper_run("paper-page")


@pytest.fixture(scope="module")
def run(folder):
    return read_run(folder)


@pytest.fixture(scope="module")
def sound(make_paper_run):
    return read_run(make_paper_run("paper-page-sound", protocol="sound"))


def published_points(axes) -> np.ndarray:
    marks = [line for line in axes.lines if line.get_marker() == PUBLISHED["marker"]]
    return np.concatenate([np.column_stack(line.get_data()) for line in marks]) if marks else np.empty((0, 2))


def test_page_has_table1_claims_and_published_values(folder):
    source = write_report(folder).read_text(encoding="utf-8")
    text = re.sub(
        r"\s+", " ", re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]+>", " ", source, flags=re.DOTALL)
    )
    for said in (
        "Table 1, beside the published one",
        "CNN (VocalSet)",
        "MusicFM",
        "80.1 %",
        "Published beside ours",
        "Every published number beside ours",
        "Mariotte, Lebourdais",
        "The paper's claims, tested",
        "How few latents does a class need?",
        "Clips with factors that could not be measured: 2",
        "balanced accuracy",
    ):
        assert said in text, said
    assert "<b>as published, not held out</b>" in source
    assert "<b>no</b>" in source
    assert len(source.encode()) < 6e6


def test_figure1_marks_what_was_published(run):
    left, middle, right = draw(run, 1).axes
    published = beside(run)
    assert len(published_points(left)) == 52
    assert len(published_points(middle)) == 48 + 8  # codes, and the dense layers
    assert len(published_points(right)) == 48
    assert right.get_ylabel().startswith("squared error")
    wanted = published["layer_probing"].query("encoder == 'ast'")["score"]
    assert np.isin(wanted, published_points(left)[:, 1]).all()
    assert middle.get_xticklabels()[0].get_text() == "dense"


def test_the_error_is_fvu_unless_by_the_paper(sound):
    right = draw(sound, 1).axes[2]
    assert "FVU" in right.get_ylabel()
    assert len(published_points(right)) == 0
    assert "MSE: the table of published values" in caption(sound, 1).shows


def test_figure2_takes_the_published_selections(run):
    summary = run.tables["disentanglement_summary"]
    axes = draw(run, 2).axes[1]
    heights = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    codes = summary.query("encoder == 'ast' and layer == 6 and representation == 'topk'")
    curve = codes[codes["selection"] == "top10_completeness"].sort_values("sparsity")[
        "completeness_published_mean"
    ]
    assert any(len(y) == 6 and np.allclose(y, curve) for y in heights)
    dense = summary.query("encoder == 'ast' and layer == 6 and representation == 'dense'")
    level = dense.loc[dense["selection"] == "top10_r2", "completeness_published_mean"].iloc[0]
    assert any(np.allclose(y, level) for y in heights)
    null = summary[
        (summary["representation"] == "untrained") & (summary["selection"] == "top10_completeness")
    ]
    assert any(np.allclose(y, null["completeness_published_mean"].mean()) for y in heights)
    assert len(published_points(axes)) == 56
    assert "not equal" in caption(run, 2).shows
    table = next(t for t in result_tables(run) if t.title == "Dense, codes and nulls")
    assert "completeness, as published" in table.columns
    assert {row[2] for row in table.rows} >= {"dense", "untrained SAE", "random projection", "PCA"}


def test_same_selection_for_all_by_sound_rules(sound):
    summary = sound.tables["disentanglement_summary"]
    heights = [np.asarray(line.get_ydata(), float) for line in draw(sound, 2).axes[1].lines]
    codes = summary.query(
        "encoder == 'ast' and layer == 6 and representation == 'topk' and selection == 'top10_r2'"
    )
    assert any(
        len(y) == 6 and np.allclose(y, codes.sort_values("sparsity")["effective_dims_mean"]) for y in heights
    )
    assert "not by this run's" in caption(sound, 2).shows


def test_figure3_takes_the_entropy_of_the_protocol(run, sound):
    for here, column in ((run, "entropy_hist_bits"), (sound, "entropy_knn_bits")):
        panel = draw(here, 3).axes[0]
        x = np.concatenate(
            [dots.get_offsets()[:, 0] for dots in panel.collections if len(dots.get_offsets())]
        )
        assert np.isin(x.round(9), here.tables["factor_entropy"][column].round(9)).all()
    assert "caption says 90\u00a0% sparsity" in caption(run, 3).shows
    assert "histogram" in caption(run, 3).shows


def test_figure4_has_the_published_counts(run):
    figure = draw(run, 4)
    counts = (
        beside(run)["factor_families"].query("encoder == 'ast' and layer == 6 and sparsity == 0.95").iloc[0]
    )
    thin = [bar for bar in figure.axes[0].patches if np.isclose(bar.get_height(), 0.2)]
    at_95 = [
        bar.get_width() for bar in thin if np.isclose(bar.get_y() + 0.1, 6 + 0.3)
    ]  # after "drawn blindly" and dense
    assert [width for width in at_95 if width] == [
        counts[f]
        for f in ("pitch", "formants", "mfcc", "spectral", "quality", "loudness", "rhythm")
        if counts[f]
    ]
    assert not any(
        np.isclose(bar.get_y() + 0.1, 0.3) for bar in thin
    )  # nothing was published of the dense layer
    alone = paper.figure4(run.tables["factor_families"])
    assert not [bar for bar in alone.axes[0].patches if np.isclose(bar.get_height(), 0.2)]


def test_claims_say_verdict_measure_rule_and_scope(run):
    table = claims_table(run)
    assert len(table.rows) == 4
    aside = untested_table(run)
    assert aside.folded
    assert [row[1].split("<")[0] for row in aside.rows] == ["no pair of layers"]
    claim, holds, measured = table.rows[2]
    assert str(holds) == "<b>as published, not held out</b>"
    assert "<summary>Rule</summary><small>a stated rule</small>" in claim
    assert measured.startswith("+0.31")
    assert "Tested on: 8 layers" in measured
    assert str(verdict("yes")) == "yes"
    assert str(verdict("<i>")) == "&lt;i&gt;"


def test_claims_side_by_side_count_what_differs(folder, run, make_paper_run):
    other = make_paper_run("other", protocol="sound")
    path = other / "results" / "claims.csv"
    claims = pd.read_csv(path)
    claims.loc[claims["claim"] == "completeness", "holds"] = "no"
    claims.loc[claims["claim"] == "error_grows", "holds"] = "not tested"  # which is no verdict
    claims[claims["claim"] != "families"].to_csv(path, index=False)
    table = claims_beside([run, read_run(other)])
    assert [row[-1] for row in table.rows] == ["–", "no", "yes", "no", "–"]
    assert table.rows[4][2] == "–"
    assert says(table.note, 1, 3)


def test_few_latents_are_the_least_that_are_enough(run):
    needed = latents_needed(run)  # average precision is 0.9 - 0.6 / (k + 1)
    enough = next(k for k in (1, 2, 4, 8, 16, 32, 512) if 0.9 - 0.6 / (k + 1) >= 0.95 * (0.9 - 0.6 / 513))
    assert set(needed["k_needed"]) == {enough}
    said = {finding.lead: finding.text for finding in findings(run)}
    assert says(said["How few latents a class needs"], 10, enough)


def test_solutions_that_are_not_unique_are_counted(run):
    shares = free_shares(run)
    factors = run.tables["disentanglement"]
    here = factors[(factors["representation"] == "topk") & (factors["sparsity"] == 0.99)]
    found = shares[(shares["representation"] == "topk") & (shares["sparsity"] == 0.99)]
    assert found["share"].mean() == pytest.approx((here["n_free"] > 0).mean())
    said = {finding.lead: finding.text for finding in findings(run)}
    assert says(said["Where completeness is not unique"], 99, round(100 * (here["n_free"] > 0).mean()))


def test_what_is_looked_up_is_folded_and_may_be_missing(folder, run, make_run):
    assert problem_counts(run) == [("too short", 2)]
    tables = more_tables(run)
    assert len(tables) == 4
    assert all(table.folded for table in tables)
    other = next(table for table in tables if table.title == "Other scores of the same codes")
    assert {"MIG", "SAP", "completeness (forest)"} <= set(other.columns)
    assert more_tables(read_run(make_run())) == []
