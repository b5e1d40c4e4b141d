"""A run on disk: stages are kept while their inputs stay, and nothing is half-written."""

from __future__ import annotations

import json
import os

import pandas as pd
import pytest

from otoscope.errors import InputError, ProvenanceError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import load_spec


def directory(path, *settings) -> RunDirectory:
    run = RunDirectory(path, load_spec("demo", settings=list(settings)))
    run.open()
    return run


def make(run: RunDirectory, inputs) -> bool:
    with run.stage("work", inputs) as stage:
        if stage.needed:
            stage.outputs = {"answer": inputs}
    assert stage.outputs == {"answer": inputs}
    return stage.needed


def test_a_stage_is_made_once_per_input(tmp_path):
    assert make(directory(tmp_path), 1)
    assert not make(directory(tmp_path), 1)
    assert make(directory(tmp_path), 2)
    assert make(directory(tmp_path), 1)  # what lay there came from input 2


def test_a_stage_that_failed_is_made_again(tmp_path):
    run = directory(tmp_path)
    with pytest.raises(ZeroDivisionError), run.stage("work", 1):
        1 / 0  # noqa: B018
    assert make(run, 1)


def test_a_stage_that_failed_does_not_keep_what_it_overwrote(tmp_path):
    run = directory(tmp_path)
    make(run, 1)
    with pytest.raises(ZeroDivisionError), run.stage("work", 2):
        1 / 0  # noqa: B018
    assert make(run, 1)


def test_a_stage_follows_those_it_reads(tmp_path):
    def both(settings) -> list[bool]:
        run = directory(tmp_path)
        with run.stage("first", settings) as first:
            pass
        with run.stage("second", after=["first"]) as second:
            pass
        return [first.needed, second.needed]

    assert both(1) == [True, True]
    assert both(1) == [False, False]
    assert both(2) == [True, True]


def test_tables_come_back(tmp_path):
    run = directory(tmp_path)
    table = pd.DataFrame({"factor": "f0", "family": "pitch", "entropy_knn_bits": [0.5, 1 / 3]})
    table = table.assign(
        entropy_hist_bits=float("-inf"), n_rows=[3, 4], n_tied=0, largest_tie=0.25, mixed=False
    )
    run.write_table("factor_entropy", table)
    run.write_frame("f", table)
    pd.testing.assert_frame_equal(run.table("factor_entropy"), table)
    pd.testing.assert_frame_equal(run.frame("f"), table)
    assert not list(tmp_path.rglob("*.part"))


def test_class_names_stay_as_they_are_written(tmp_path):
    run = directory(tmp_path)
    table = pd.DataFrame({"encoder": "1e3", "layer": pd.Series([0, 1, "final"], dtype=object)})
    table = table.assign(truth=["01", "NA", "1"], predicted=["", "None", "nan"], count=[1, 2, 3])
    run.write_table("confusion", table)
    pd.testing.assert_frame_equal(run.table("confusion"), table)


def test_a_table_must_be_as_it_is_declared(tmp_path):
    run = directory(tmp_path)
    with pytest.raises(InputError, match="no result table 'confusions'; did you mean 'confusion'"):
        run.write_table("confusions", pd.DataFrame())
    with pytest.raises(
        InputError, match="must have the columns encoder, layer, truth, predicted, count; got"
    ):
        run.write_table("confusion", pd.DataFrame({"encoder": ["a"]}))
    assert not list((tmp_path / "results").iterdir())


def test_tables_of_an_older_schema_are_made_again_and_all_else_is_kept(tmp_path):
    def make_both() -> list[bool]:
        run = directory(tmp_path)
        with run.stage("heavy") as heavy:
            heavy.keep("activations")
        with run.stage("tables", after=["heavy"]) as tables:
            if tables.needed:
                run.write_table("factors_info", pd.DataFrame({"name": ["a"], "unit": "", "family": "pitch"}))
        return [heavy.needed, tables.needed]

    (tmp_path / "activations").mkdir()
    assert make_both() == [True, True]
    assert make_both() == [False, False]
    for name in ("heavy", "tables"):
        record = tmp_path / "stages" / f"{name}.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"schema": 1}))
    assert make_both() == [False, True]


def test_another_experiment_is_not_overwritten(tmp_path):
    directory(tmp_path, "dataset.label=typo")  # nothing was made: a mended spec may take the folder
    make(directory(tmp_path), 1)
    directory(tmp_path, "saes.epochs=3")  # the same experiment, changed: what is affected is made again
    with pytest.raises(ProvenanceError, match="another experiment"):
        directory(tmp_path, "dataset.label=vowel")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        directory(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_write_protected_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write to"):
        directory(tmp_path / "run")
