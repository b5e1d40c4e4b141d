"""Published beside ours: every number is of the same quantity at the same place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.report import write_report
from otoscope.report.numbers.published import comparison, comparison_summary, published_table
from otoscope.report.run import read_run
from otoscope.results import TABLES


@pytest.fixture(scope="module")
def folder(make_paper_run):
    return make_paper_run("compared")


@pytest.fixture(scope="module")
def table(folder) -> pd.DataFrame:
    return comparison(read_run(folder))


def test_columns_and_number_of_rows(table):
    assert tuple(table) == TABLES["published_comparison"].names
    counts = table["quantity"].value_counts()
    assert counts["probe_layers"] == 52
    assert counts["probe_codes"] == 48
    assert counts["mse"] == 48
    assert counts["r2_top10"] == counts["completeness_published"] == 56
    assert counts["n_pitch"] == 48
    assert not table[["published", "ours", "source"]].isna().any().any()
    assert np.allclose(table["difference"], table["ours"] - table["published"])


def test_numbers_are_those_of_both_sides(folder, table):
    ours = pd.read_csv(folder / "results" / "layer_probing.csv").query(
        "encoder == 'mert-v1-95m' and layer == 7"
    )
    row = table.query("quantity == 'probe_layers' and encoder == 'mert-v1-95m' and layer == 7").iloc[0]
    assert row["published"] == 0.762
    assert row["ours"] == pytest.approx(ours["score"].iloc[0])
    assert row["source"] == "Table 1"


def test_completeness_is_of_the_published_selections(folder, table):
    summary = pd.read_csv(folder / "results" / "disentanglement_summary.csv").query(
        "encoder == 'ast' and layer == 6"
    )
    rows = table.query("quantity == 'completeness_published' and encoder == 'ast' and layer == 6")
    dense = summary.query("representation == 'dense' and selection == 'top10_r2'")
    codes = summary.query(
        "representation == 'topk' and sparsity == 0.9 and selection == 'top10_completeness'"
    )
    assert rows[rows["sparsity"].isna()]["ours"].iloc[0] == pytest.approx(
        dense["completeness_published_mean"].iloc[0]
    )
    assert rows[rows["sparsity"] == 0.9]["ours"].iloc[0] == pytest.approx(
        codes["completeness_published_mean"].iloc[0]
    )


def test_both_ambiguous_values_have_a_row(table):
    rows = table.query("quantity == 'probe_codes' and encoder == 'hubert-base' and layer == 3")
    assert sorted(rows.loc[rows["sparsity"] == 0.75, "published"]) == [0.665, 0.7]


def test_summary_has_means_and_the_largest_difference(table):
    summary = comparison_summary(table).set_index(["quantity", "encoder"])
    here = table.query("quantity == 'mse' and encoder == 'ast'")
    row = summary.loc[("mse", "ast")]
    assert row["n"] == 12
    assert row["published"] == pytest.approx(
        published_table("reconstruction").query("encoder == 'ast'")["mse"].mean()
    )
    assert row["largest"] == pytest.approx(here["difference"].abs().max())
    assert len(summary) == 5 * 4


def test_a_run_of_other_data_has_nothing_to_compare(make_run):
    table = comparison(make_run())
    assert table.empty
    assert tuple(table) == TABLES["published_comparison"].names
    assert comparison_summary(table).empty


@pytest.mark.slow  # a whole report of four encoders
def test_the_report_writes_the_comparison(make_paper_run):
    folder = make_paper_run("small", encoders={"hubert-base": (3,)})
    write_report(folder)
    table = comparison(folder)
    written = pd.read_csv(folder / "results" / "published_comparison.csv")
    assert len(written) == len(table)
    assert np.allclose(written["difference"], table["difference"].astype(float))
