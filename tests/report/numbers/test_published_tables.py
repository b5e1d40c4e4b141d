"""The published tables: whole, with a source each, and only put beside runs they can be compared with."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml

from otoscope.report.numbers.published import beside, published_name, published_table
from otoscope.report.run import read_run

ROWS = {
    "layer_probing": 4 * 13,
    "sae_probing": 8 * 6,  # HuBERT 3: two at 75 %, none at 99 %
    "reconstruction": 8 * 6,
    "disentanglement": 8 * 7,
    "factor_families": 8 * 6,
    "table1_sota": 3,
}


@pytest.mark.parametrize("name", ROWS)
def test_every_table_is_whole_and_says_where_its_numbers_are_from(name):
    table = published_table(name)
    assert len(table) == ROWS[name]
    assert table.columns[-1] == "source"
    assert (table["source"].str.len() > 5).all()
    if name == "factor_families":
        counts = table.drop(columns=["encoder", "layer", "sparsity", "source"])
        assert (counts.sum(axis=1) == 10).all()


def test_both_ambiguous_values_are_kept():
    table = published_table("sae_probing").query("encoder == 'hubert' and layer == 3")
    assert sorted(table.loc[table["sparsity"] == 0.75, "score"]) == [0.665, 0.7]
    assert 0.99 not in set(table["sparsity"])


def test_dense_rows_have_no_sparsity():
    table = published_table("disentanglement")
    assert table["sparsity"].isna().sum() == 8


def test_the_paper_is_named():
    text = (resources.files("otoscope.report") / "published" / "README.md").read_text(encoding="utf-8")
    assert "Mariotte, Lebourdais, Almudévar, Tahon, Ortega, Dugué" in text


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        ("ast", "ast"),
        ("hubert-base", "hubert"),
        ("facebook--hubert-base-ls960", "hubert"),
        ("wavlm-base-plus", "wavlm"),
        ("m-a-p/MERT-v1-95M", "mert"),
        ("hubert-large", None),
        ("otoscope-mini", None),
    ],
)
def test_names_of_encoders(encoder, name):
    assert published_name(encoder) == name


def test_only_the_papers_data_label_and_encoders_are_compared(make_run, make_paper_run):
    folder = make_paper_run(encoders={"hubert-base": (3,), "other-model": (2,)})
    found = beside(read_run(folder))
    assert set(found["layer_probing"]["encoder"]) == {"hubert-base"}
    assert beside(read_run(make_run())) == {}
    assert beside(read_run(make_paper_run(encoders={"other-model": (2,)}))) == {}
    spec = yaml.safe_load((folder / "spec.yaml").read_text())
    spec["dataset"]["label"] = "vowel"
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert beside(read_run(folder)) == {}


def test_tables_are_not_shared():
    table = published_table("layer_probing")
    table["score"] = 0.0
    assert published_table("layer_probing")["score"].max() == 0.82
