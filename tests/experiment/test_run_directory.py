"""A run on disk: stages are kept while their inputs stay, and nothing is half-written."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from otoscope.errors import InputError, OtoscopeError, ProvenanceError
from otoscope.experiment import run as run_experiment
from otoscope.experiment.records import read_record, versions
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import load_spec
from otoscope.files import locked
from otoscope.report.run import read_run


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
        record.write_text(read_record(record).model_copy(update={"schema_": 1}).text())
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


def make_table(run: RunDirectory, name: str = "table") -> bool:
    with run.stage(name) as stage:
        if stage.needed:
            run.write_table("factors_info", pd.DataFrame({"name": ["a"], "unit": "", "family": "pitch"}))
            (run.root / "saes").mkdir(exist_ok=True)
            (run.root / "saes" / "weights").write_bytes(b"weights")
            stage.keep("saes")
    return stage.needed


@pytest.mark.parametrize("content", [b"", b"garbled\0", b"name,unit,family\n"])
@pytest.mark.parametrize("file", ["results/factors_info.csv", "saes/weights", "stages/table.json"])
def test_what_was_emptied_or_garbled_is_made_again(tmp_path, file, content):
    make_table(directory(tmp_path))
    assert not make_table(directory(tmp_path))
    whole = (tmp_path / "results" / "factors_info.csv").read_bytes()
    (tmp_path / file).write_bytes(content)
    assert make_table(directory(tmp_path))
    assert (tmp_path / "results" / "factors_info.csv").read_bytes() == whole
    assert not make_table(directory(tmp_path))


def test_what_reads_a_stage_that_came_out_otherwise_is_made_again(tmp_path):
    def both(text: str) -> list[bool]:
        run = directory(tmp_path)
        with run.stage("first") as first:
            if first.needed:
                run.write_text("first.txt", text)
        with run.stage("second", after=["first"]) as second:
            pass
        return [first.needed, second.needed]

    assert both("a") == [True, True]
    (tmp_path / "first.txt").unlink()
    assert both("a") == [True, False]
    (tmp_path / "first.txt").unlink()
    assert both("b") == [True, True]


def test_stages_keep_the_versions_they_were_made_with(tmp_path, monkeypatch):
    make(directory(tmp_path), 1)
    now = versions()
    monkeypatch.setattr("otoscope.experiment.run_directory.versions", lambda: now | {"torch": "9.9"})
    monkeypatch.setattr("otoscope.experiment.records.versions", lambda: now | {"torch": "9.9"})
    run = directory(tmp_path)
    assert not make(run, 1)
    (line,) = run.older_versions()
    assert line.startswith(f"note: 1 stages were made with torch {now['torch']} (now 9.9) and are kept: work")
    run.write_spec()
    assert yaml.safe_load((tmp_path / "spec.yaml").read_text())["versions"]["torch"] == now["torch"]
    make_table(run)
    run.write_spec()
    told = yaml.safe_load((tmp_path / "spec.yaml").read_text())["versions"]["torch"]
    assert set(told.split(", ")) in (
        {f"{now['torch']} (work)", "9.9 (all else)"},
        {"9.9 (table)", f"{now['torch']} (all else)"},
    )
    fresh = RunDirectory(tmp_path, run.spec, fresh=True)
    fresh.open()
    assert make(fresh, 1)
    assert fresh.older_versions() == []


def test_a_garbled_spec_is_an_error_in_a_sentence(tmp_path):
    make(directory(tmp_path), 1)
    for text in ("[1, 2]", "{", "\0", "dataset: 3\nprotocol: sound"):
        (tmp_path / "spec.yaml").write_text(text)
        with pytest.raises(InputError, match=str(tmp_path)):
            directory(tmp_path)


def test_a_runs_own_spec_can_be_run(tmp_path):
    run = directory(tmp_path)
    assert load_spec(tmp_path / "spec.yaml") == run.spec


class TestLock:
    CODE = """
import sys, time
from otoscope.files import locked
from otoscope.report.run import read_run
with locked(sys.argv[1], shared_by=sys.argv[2] or None):
    print("held", flush=True)
    time.sleep(60)
"""

    @pytest.fixture
    def holder(self, tmp_path):
        started = []

        def hold(shared_by: str = "") -> subprocess.Popen:
            command = [sys.executable, "-c", self.CODE, str(tmp_path), shared_by]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            assert started[-1].stdout.readline() == b"held\n"
            return started[-1]

        yield hold
        for process in started:
            process.kill()
            process.wait()

    def test_another_process_is_refused_and_told_who_holds_it(self, tmp_path, holder):
        process = holder()
        with (
            pytest.raises(
                OtoscopeError, match=f"by another process .process {process.pid} on {platform.node()}"
            ),
            locked(tmp_path),
        ):
            pass

    def test_a_lock_of_a_dead_process_is_taken_over(self, tmp_path, holder):
        process = holder()
        process.kill()
        process.wait()
        with locked(tmp_path):
            assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()

    def test_parts_of_one_work_share_it(self, tmp_path, holder):
        holder("work a")
        with locked(tmp_path, shared_by="work a"):
            pass
        for other in ("work b", None):
            with pytest.raises(OtoscopeError, match="by another process"), locked(tmp_path, shared_by=other):
                pass

    def test_a_process_may_take_its_own_once_more(self, tmp_path):
        with locked(tmp_path), locked(tmp_path):
            pass
        with locked(tmp_path):
            pass

    def test_a_run_takes_it(self, tmp_path, holder):
        holder()
        with pytest.raises(OtoscopeError, match="is being worked on by another process"):
            run_experiment("demo", out=tmp_path)


def test_a_report_is_not_drawn_from_a_table_that_was_changed(tmp_path):
    make_table(directory(tmp_path))
    table = tmp_path / "results" / "factors_info.csv"
    assert list(read_run(tmp_path).tables) == ["factors_info"]
    table.write_text(table.read_text().replace("pitch", "rhythm"))
    with pytest.raises(InputError, match=r"factors_info.csv is not what the run wrote; run 'otoscope run'"):
        read_run(tmp_path)
    table.unlink()
    with pytest.raises(InputError, match=r"factors_info.csv is lost"):
        read_run(tmp_path)
