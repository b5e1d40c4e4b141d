"""Result tables: what is written comes back as what it is, and what is not declared is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from otoscope import results
from otoscope.errors import InputError, ProvenanceError
from otoscope.results import TABLES, Column, Table

VALUES = {
    "text": ["01", "NA", 'a "b", c'],
    "layer": [0, 11, "final"],
    "number": [0.1, np.nan, -np.inf],
    "count": [0, 3, 2048],
    "flag": [True, False, True],
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_comes_back_as_it_was_written(name, tmp_path):
    table = pd.DataFrame({column.name: VALUES[column.kind] for column in TABLES[name].columns})
    path = tmp_path / f"{name}.csv"
    path.write_text(results.to_csv(name, table))
    pd.testing.assert_frame_equal(results.read_table(path), table)


def test_a_missing_count_makes_numbers_of_its_column(tmp_path):
    path = tmp_path / "factor_entropy.csv"
    path.write_text(
        "factor,family,entropy_knn_bits,entropy_hist_bits,n_rows,n_tied,largest_tie,mixed\na,pitch,1,2,,0,0,False\n"
    )
    table = results.read_table(path)
    assert table.n_rows.isna().all()
    assert table.n_tied.dtype == np.int64


def test_columns_that_only_the_data_know_are_what_the_table_says(tmp_path):
    row = dict.fromkeys(TABLES["factor_families"].names, 0)
    row |= {"encoder": "a", "representation": "dense", "voice": 2}
    path = tmp_path / "factor_families.csv"
    path.write_text(results.to_csv("factor_families", pd.DataFrame([row])))
    assert results.read_table(path).voice.tolist() == [2]
    with pytest.raises(InputError, match="column 'voice' must hold whole numbers; got float64 such as"):
        results.check_table("factor_families", pd.DataFrame([row | {"voice": 0.5}]))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("layer", "last", "layers"),
        ("r2", "high", "numbers"),
        ("n_nonzero", 1.5, "whole numbers"),
        ("ranked", 1, "True or False"),
    ],
)
def test_what_a_column_must_not_hold_is_refused_both_ways(column, value, words, tmp_path):
    good = {c.name: VALUES[c.kind][0] for c in TABLES["disentanglement"].columns}
    table = pd.DataFrame([good | {column: value}])
    with pytest.raises(InputError, match=f"column '{column}' must hold {words}"):
        results.check_table("disentanglement", table)
    path = tmp_path / "disentanglement.csv"
    table.to_csv(path, index=False)
    with pytest.raises(InputError, match=f"column '{column}' must hold {words}"):
        results.read_table(path)


def test_columns_are_checked_by_name_and_order():
    table = pd.DataFrame({"name": ["a"], "family": ["pitch"], "unit": [""]})
    with pytest.raises(InputError, match="must have the columns name, unit, family; got name, family, unit"):
        results.check_table("factors_info", table)
    with pytest.raises(InputError, match="must have the columns"):
        results.check_table("factors_info", table[["name", "unit", "family"]].assign(more=1))
    with pytest.raises(InputError, match="no result table 'probes'"):
        results.check_table("probes", table)


def test_a_new_table_is_one_entry(monkeypatch, tmp_path):
    column = Column("verdict", "text")
    monkeypatch.setitem(TABLES, "health", Table((Column("layer", "layer"), Column("alive", "flag"), column)))
    table = pd.DataFrame({"layer": pd.Series([3], dtype=object), "alive": [True], "verdict": ["fine"]})
    (tmp_path / "health.csv").write_text(results.to_csv("health", table))
    pd.testing.assert_frame_equal(results.read_table(tmp_path / "health.csv"), table)


def test_other_schemas_are_refused_with_what_to_do():
    results.check_schema({"schema": results.SCHEMA}, "runs/a")
    results.check_schema({}, "runs/a")  # not finished: its tables are checked one by one
    with pytest.raises(ProvenanceError, match=r"of schema 1, .* run' again with .* --out runs/a"):
        results.check_schema({"summary": {}}, "runs/a")
    with pytest.raises(ProvenanceError, match=f"of schema {results.SCHEMA + 1}, .* newer version"):
        results.check_schema({"schema": results.SCHEMA + 1}, "runs/a")


def test_nearest_sparsity_is_of_what_is_known():
    assert results.nearest_sparsity([0.75, None, float("nan"), 0.9, 0.99], 0.94) == 0.9
    assert results.nearest_sparsity([0.9375, 0.9625], 0.95) == 0.9375  # the first of two equals
    assert results.nearest_sparsity([None]) is None
    table = pd.DataFrame(
        {"representation": ["dense", "topk", "relu", "pca", "topk"], "sparsity": [None, 0.9, 0.96, 0.95, 0.9]}
    )
    assert list(results.trained_codes(table).index) == [1, 2, 4]
    assert list(results.at_nearest_sparsity(results.trained_codes(table), 0.9).index) == [1, 4]
    assert results.at_nearest_sparsity(table.iloc[:1]).empty


def test_layers_sort_by_depth():
    assert sorted(["final", 10, 2, "3"], key=results.layer_order) == [2, "3", 10, "final"]


def test_reading_a_table_is_light(tmp_path):
    (tmp_path / "factors_info.csv").write_text("name,unit,family\nf0,Hz,pitch\n")
    code = (
        f"import sys; from otoscope.results import read_table; read_table({str(tmp_path / 'factors_info.csv')!r}); "
        "print([m for m in ('torch', 'transformers', 'matplotlib', 'librosa', 'numba') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
