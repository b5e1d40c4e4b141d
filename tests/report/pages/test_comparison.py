"""Several runs on one page: what differs is said, and what must not be compared is not."""

from __future__ import annotations

import pytest

from otoscope.report import write_report
from otoscope.report.numbers.headlines import headlines
from otoscope.report.pages.comparison import differences, headline_numbers, only_in_one
from otoscope.report.run import read_run


@pytest.fixture(scope="module")
def both(make_paper_run):
    return [read_run(make_paper_run("one")), read_run(make_paper_run("two", protocol="sound"))]


def test_two_protocols_of_one_question(both):
    found = differences(both)
    assert found.warning == ""
    assert "data set (vocalset)" in found.said
    assert "Different: protocol (one: paper; two: sound)" in found.said
    settings = {row[0]: row[1:] for row in found.rules.rows}
    assert settings["disentanglement.fit"] == ["in_sample", "not set"]
    assert "seed" not in settings


def test_headline_numbers_are_those_of_each_run(both):
    tables = headline_numbers(both)
    assert [table.title for table in tables] == ["ast", "wavlm-base-plus", "hubert-base", "mert-v1-95m"]
    lines = {row[0]: row[1:] for row in tables[0].rows}
    first = headlines(both[0]).iloc[0]
    assert lines["best layer"] == [str(first["layer"])] * 2
    assert lines["mean R² of the codes"][0] == f"{first['r2']:.2f} (in-sample)"
    assert lines["mean R² of the codes"][1].endswith("(held-out)")
    assert "completeness of codes minus untrained SAE" in lines
    assert lines["the same against dense, by the published selections"][1] == "n/a"
    summary = (
        both[0].tables["disentanglement_summary"].query(f"encoder == 'ast' and layer == {first['studied']}")
    )
    codes = summary.query(
        "representation == 'topk' and sparsity == 0.95 and selection == 'top10_completeness'"
    )
    dense = summary.query("representation == 'dense' and selection == 'top10_r2'")
    gain = codes["completeness_published_mean"].mean() - dense["completeness_published_mean"].mean()
    assert lines["the same against dense, by the published selections"][0] == f"{gain:+.2f}"


def test_other_data_is_warned_of(both, make_run):
    other = read_run(make_run("demo"))
    warning = differences([both[0], other]).warning
    assert "differ in data set and encoders" in warning
    assert "different questions" in warning
    assert headline_numbers([both[0], other]) == []
    assert "otoscope-mini (demo)" in only_in_one([both[0], other])


@pytest.mark.slow  # all figures of two runs
def test_the_page_warns_of_other_data(both, make_run):
    other = read_run(make_run("demo"))
    page = write_report(both[0].path, other.path).read_text(encoding="utf-8")
    assert differences([both[0], other]).warning in page


def test_other_encoders_stand_alone(make_paper_run):
    few = read_run(make_paper_run("few", encoders={"ast": (6,)}))
    all_four = read_run(make_paper_run("four"))
    assert "only encoders that they share can be compared" in differences([few, all_four]).warning
    assert [table.title for table in headline_numbers([few, all_four])] == ["ast"]
    assert "wavlm-base-plus (four), hubert-base (four) and mert-v1-95m (four)" in only_in_one([few, all_four])
