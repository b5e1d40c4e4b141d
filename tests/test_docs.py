"""The examples of the documents run: each section of docs/extend.md, and the docstrings of public functions."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from otoscope.datasets import DATASETS
from otoscope.encoders.families import FAMILIES
from otoscope.saes import SAES

EXTEND = Path(__file__).parents[1] / "docs" / "extend.md"
SECTIONS = dict(part.split("\n", 1) for part in EXTEND.read_text(encoding="utf-8").split("\n## ")[1:])

SHOWN = """
otoscope: check_clips split_clips load_clips load_encoder extract compute_factors train_saes TopKCoder
otoscope.saes: make_config reconstruction_metrics
otoscope.factors: join_factors
otoscope.experiment: load_spec
otoscope.latents: describe_codes
otoscope.probing: probe probe_all sparse_probes
otoscope.disentanglement: measure_disentanglement completeness effective_dims lasso_path
otoscope.disentanglement: knn_entropy histogram_entropy factor_entropy
"""
"""The public functions that show an example, by room."""
NAMES = [
    f"{room}.{name}"
    for room, names in (line.split(": ") for line in SHOWN.strip().splitlines())
    for name in names.split()
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_public_functions_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    room, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(room), attribute)
    own = vars(importlib.import_module(thing.__module__))
    parser, runner, said = doctest.DocTestParser(), doctest.DocTestRunner(), []
    test = parser.get_doctest(thing.__doc__, dict(own), name, None, None)
    assert test.examples
    runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.fixture
def undone(monkeypatch, tmp_path):
    """A folder of its own, and registries that are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    for registry in (DATASETS, FAMILIES, SAES):
        monkeypatch.setattr(registry, "_own", dict(registry._own))


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.usefixtures("undone")
def test_examples_of_extend_run(section):
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[section], flags=re.DOTALL)
    assert blocks
    code = "\n".join(blocks)
    if "otoscope import results" in code:
        pytest.importorskip("otoscope.results")
    exec(compile(code, f"{EXTEND.name}: {section}", "exec", dont_inherit=True), {"__name__": "__main__"})


def test_files_that_extend_names_are_there():
    pytest.importorskip("otoscope.results")
    named = set(re.findall(r"`((?:src|tests)/[\w/.]+)`", EXTEND.read_text(encoding="utf-8")))
    assert len(named) > 8
    missing = [name for name in named if not (EXTEND.parents[1] / name).exists()]
    assert missing == []
