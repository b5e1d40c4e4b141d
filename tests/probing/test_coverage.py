"""A piece of ``benchmarks/coverage.py``, seeds fixed: intervals hold the truth, no difference is seldom seen."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(FILE.parent))  # as where it is run from
    spec = importlib.util.spec_from_file_location("coverage_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mean", [0.5, 0.7])
@pytest.mark.parametrize(("rho", "n_groups"), [(0.02, 4), (0.1, 5), (0.3, 4), (0.3, 8)])
def test_intervals_of_scores_hold_the_truth(benchmark, mean, rho, n_groups):
    found = benchmark.scores("accuracy", "equal", mean, rho, n_groups, trials=1000)
    assert 0.93 <= found["coverage"] <= 0.97


def test_of_unequal_groups_too(benchmark):
    assert 0.93 <= benchmark.scores("accuracy", "unequal", 0.7, 0.1, 5, trials=1000)["coverage"] <= 0.97


def test_near_the_ceiling_the_interval_says_so(benchmark):
    found = benchmark.scores("accuracy", "equal", 0.9, 0.3, 5, trials=500)
    assert found["coverage"] < 0.94
    assert found["trusted"] < 0.2
    assert found["wrongly_trusted"] < 0.03
    assert benchmark.scores("accuracy", "equal", 0.7, 0.1, 5, trials=500)["trusted"] > 0.85


@pytest.mark.parametrize(("kind", "sizes"), [("own", "equal"), ("own", "unequal"), ("shared", "unequal")])
def test_no_difference_is_seldom_seen(benchmark, kind, sizes):
    assert benchmark.differences(kind, sizes, 0.7, 0.1, 5, trials=1000)["false_positives"] <= 0.06


def test_a_killed_run_goes_on(benchmark, tmp_path, monkeypatch):
    calls = []
    grid = [case for case in benchmark.GRID if case[1] == 0.5 and case[3] == 4]
    measured = lambda *case, trials: calls.append(case) or {"coverage": 1.0}  # noqa: E731
    monkeypatch.setitem(benchmark.PARTS, "scores", (measured, ("accuracy",), grid, 5))
    first = benchmark.measure(["scores"], None, tmp_path / "coverage.csv")
    again = benchmark.measure(["scores"], None, tmp_path / "coverage.csv")
    assert len(calls) == len(first) == len(again) == 6
