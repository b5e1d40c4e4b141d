"""Published beside ours: every number is of the same quantity at the same place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.report import write_report
from otoscope.report.published import COLUMNS, comparison, comparison_summary, published_table
from otoscope.report.runs import read_run


@pytest.fixture(scope="module")
def folder(make_paper_run):
    return make_paper_run("compared")


@pytest.fixture(scope="module")
def table(folder) -> pd.DataFrame:
    return comparison(read_run(folder))


def test_columns_and_number_of_rows(table):
    assert tuple(table) == COLUMNS
    counts = table["what"].value_counts()
    assert counts["probe accuracy, layer"] == 52
    assert counts["probe accuracy, codes"] == 48
    assert counts["MSE of the codes"] == 48
    assert counts["mean R², ten best"] == counts["mean completeness, as published"] == 56
    assert counts["factors of pitch among the ten best"] == 48
    assert not table[["published", "ours", "source"]].isna().any().any()
    assert np.allclose(table["difference"], table["ours"] - table["published"])


def test_numbers_are_those_of_both_sides(folder, table):
    ours = pd.read_csv(folder / "results" / "layer_probing.csv").query(
        "encoder == 'mert-v1-95m' and layer == 7"
    )
    row = table.query("what == 'probe accuracy, layer' and encoder == 'mert-v1-95m' and layer == 7").iloc[0]
    assert row["published"] == 0.762
    assert row["ours"] == pytest.approx(ours["accuracy"].iloc[0])
    assert row["source"] == "Table 1"


def test_completeness_is_of_the_published_selections(folder, table):
    summary = pd.read_csv(folder / "results" / "disentanglement_summary.csv").query(
        "encoder == 'ast' and layer == 6"
    )
    rows = table.query("what == 'mean completeness, as published' and encoder == 'ast' and layer == 6")
    dense = summary.query("representation == 'dense' and selection == 'top10_r2'")
    codes = summary.query(
        "representation == 'topk' and sparsity == 0.9 and selection == 'top10_completeness'"
    )
    assert rows[rows["sparsity"].isna()]["ours"].iloc[0] == pytest.approx(dense["completeness_mean"].iloc[0])
    assert rows[rows["sparsity"] == 0.9]["ours"].iloc[0] == pytest.approx(codes["completeness_mean"].iloc[0])


def test_both_ambiguous_values_have_a_row(table):
    rows = table.query("what == 'probe accuracy, codes' and encoder == 'hubert-base' and layer == 3")
    assert sorted(rows.loc[rows["sparsity"] == 0.75, "published"]) == [0.665, 0.7]


def test_summary_has_means_and_the_largest_difference(table):
    summary = comparison_summary(table).set_index(["what", "encoder"])
    here = table.query("what == 'MSE of the codes' and encoder == 'ast'")
    row = summary.loc[("MSE of the codes", "ast")]
    assert row["n"] == 12
    assert row["published"] == pytest.approx(
        published_table("reconstruction").query("encoder == 'ast'")["mse"].mean()
    )
    assert row["largest"] == pytest.approx(here["difference"].abs().max())
    assert len(summary) == 5 * 4


def test_a_run_of_other_data_has_nothing_to_compare(make_run):
    table = comparison(make_run())
    assert table.empty
    assert tuple(table) == COLUMNS
    assert comparison_summary(table).empty


def test_the_report_writes_the_comparison(make_paper_run):
    folder = make_paper_run("small", encoders={"hubert-base": (3,)})
    write_report(folder)
    table = comparison(folder)
    written = pd.read_csv(folder / "results" / "published_comparison.csv")
    assert len(written) == len(table)
    assert np.allclose(written["difference"], table["difference"].astype(float))
