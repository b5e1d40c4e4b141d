"""Stages in units: what is made is kept whatever happens next, and who makes it does not matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from otoscope.errors import InputError
from otoscope.experiment import run_status, status_table, units
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import load_spec
from otoscope.experiment.units import Lock, Share, Unit, Waits, pack, unpack

NAMES = ["a", "b", "c", "d", "e"]


def directory(path, share: str | None = None, **options) -> RunDirectory:
    run = RunDirectory(
        path, load_spec("demo"), share=None if share is None else Share.parse(share), **options
    )
    run.open()
    return run


def squares(
    run: RunDirectory, made: list[str], *, fails: str = "", dies: str = "", at_once: int = 1
) -> list[int]:
    """Make a stage of five units, and put the square of each one's place together."""

    def make(name: str) -> dict:
        if name == fails:
            raise InputError(f"{name} cannot be made")
        if name == dies:
            raise KeyboardInterrupt
        made.append(name)
        return {"table": pd.DataFrame({"square": [NAMES.index(name) ** 2]})}

    with run.stage("squares", 1, in_units=True) as stage:
        if stage.needed:
            read = run.units([Unit(name, lambda name=name: make(name)) for name in NAMES], at_once=at_once)
            stage.outputs = {"squares": [int(read(name)["table"].square[0]) for name in NAMES]}
    return stage.outputs["squares"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_one_process_makes_all_units_and_leaves_nothing_half_made(tmp_path, at_once):
    made: list[str] = []
    assert squares(directory(tmp_path), made, at_once=at_once) == [0, 1, 4, 9, 16]
    assert sorted(made) == NAMES
    assert squares(directory(tmp_path), made) == [0, 1, 4, 9, 16]
    assert len(made) == 5
    assert not list((tmp_path / "work").iterdir())


def test_shards_make_their_own_units_and_the_last_puts_them_together(tmp_path):
    made: list[str] = []
    first = directory(tmp_path, "1/2")
    with pytest.raises(Waits):
        squares(first, made)
    assert made == ["a", "c", "e"]
    assert [str(waits) for waits in first.waits] == ["squares, 2 of 5 units, of other shards"]
    with pytest.raises(Waits):  # nothing is made twice
        squares(directory(tmp_path, "1/2"), made)
    assert squares(directory(tmp_path, "2/2"), made) == [0, 1, 4, 9, 16]
    assert made == ["a", "c", "e", "b", "d"]
    assert squares(directory(tmp_path, "1/2"), made) == [0, 1, 4, 9, 16]
    assert len(made) == 5


def test_one_process_does_what_shards_left(tmp_path):
    made: list[str] = []
    with pytest.raises(Waits):
        squares(directory(tmp_path, "2/3"), made)
    assert squares(directory(tmp_path), made) == [0, 1, 4, 9, 16]
    assert made == ["b", "e", "a", "c", "d"]


def test_a_run_that_is_stopped_inside_a_stage_goes_on_there(tmp_path):
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        squares(directory(tmp_path), made, dies="d")
    assert squares(directory(tmp_path), made) == [0, 1, 4, 9, 16]
    assert made == NAMES


def test_other_inputs_do_not_take_units_of_before(tmp_path):
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        squares(directory(tmp_path), made, dies="d")
    run = directory(tmp_path)
    run.fingerprints["other"] = "1"
    with run.stage("squares", 2, after=["other"]):
        run.units([Unit(name, lambda: {"x": 0}) for name in NAMES])
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "text"])
def test_a_damaged_unit_is_made_again(tmp_path, damage):
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        squares(directory(tmp_path), made, dies="d")
    (path,) = tmp_path.glob("work/*/b.zip")
    content = path.read_bytes()
    place = content.index(b"PAR1") + 10  # inside the table
    path.write_bytes(
        {
            "cut": content[:-30],
            "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
            "emptied": b"",
            "text": b"no such thing",
        }[damage]
    )
    assert squares(directory(tmp_path), made) == [0, 1, 4, 9, 16]
    assert made == ["a", "b", "c", "b", "d", "e"]


def test_a_damaged_unit_of_another_shard_is_waited_for_and_told_missing(tmp_path):
    with pytest.raises(Waits):
        squares(directory(tmp_path, "2/2"), [])
    (path,) = tmp_path.glob("work/*/b.zip")
    path.write_bytes(b"no such thing")
    with pytest.raises(Waits):
        squares(directory(tmp_path, "1/2"), [])
    (found,) = run_status(tmp_path)
    assert (found.missing, found.lacking(2)) == ([1], [2])


def test_a_unit_whose_folder_is_lost_is_made_again(tmp_path):
    made = []

    def make(name: str) -> dict:
        made.append(name)
        (tmp_path / name).mkdir()
        return {"folders": [name]}

    def stage(run: RunDirectory) -> None:
        with run.stage("folders", 1) as stage:
            if stage.needed:
                run.units([Unit(name, lambda name=name: make(name)) for name in NAMES[:2]])

    with pytest.raises(Waits):
        stage(directory(tmp_path, "1/2"))
    (tmp_path / "a").rmdir()
    stage(directory(tmp_path))
    assert made == ["a", "a", "b"]


def test_a_unit_that_fails_is_told_and_the_others_of_the_share_are_made(tmp_path):
    made: list[str] = []
    with pytest.raises(InputError, match="c cannot be made"):
        squares(directory(tmp_path, "1/2"), made, fails="c")
    assert made == ["a", "e"]
    (found,) = run_status(tmp_path)
    assert found.failed == {2: "c cannot be made"}
    assert "failed: c: c cannot be made" in status_table([found])
    squares(directory(tmp_path), made)
    assert not list(tmp_path.rglob("*.failed.json"))
    (found,) = run_status(tmp_path)
    assert found.made


def test_status_counts_what_is_done_running_missing_and_failed(tmp_path):
    with pytest.raises(InputError):
        squares(directory(tmp_path, "1/2"), [], fails="e")  # a and c are done
    (folder,) = (tmp_path / "work").glob("squares-*")
    lock = Lock(folder / "b.lock")
    assert lock.take()
    (found,) = run_status(tmp_path)
    lock.free()
    assert not found.made
    assert found.units == NAMES
    assert found.done == [0, 2]
    assert list(found.running) == [1]
    assert "process" in found.running[1]
    assert found.failed == {4: "e cannot be made"}
    assert found.missing == [3, 4]
    assert found.lacking(2) == [1, 2]
    assert found.left_s is not None
    assert "2 of 5" in status_table([found])


def test_status_is_of_the_settings_that_were_tried_last(tmp_path):
    with pytest.raises(Waits):
        squares(directory(tmp_path, "1/2"), [])
    (old,) = (tmp_path / "work").glob("squares-*/units.json")
    os.utime(old, (1, 1))
    run = directory(tmp_path, "1/2")
    with pytest.raises(Waits), run.stage("squares", 2, in_units=True):
        run.units([Unit(name, dict) for name in ("x", "y")])
    (found,) = run_status(tmp_path)
    assert found.units == ["x", "y"]


def test_status_of_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run's folder"):
        run_status(tmp_path)


def test_a_unit_that_another_process_makes_is_left_to_it(tmp_path):
    with pytest.raises(Waits):
        squares(directory(tmp_path, "1/5"), [])
    (folder,) = (tmp_path / "work").glob("squares-*")
    lock = Lock(folder / "b.lock")
    assert lock.take()
    made: list[str] = []
    with pytest.raises(Waits):
        squares(directory(tmp_path, "2/5"), made)
    lock.free()
    assert made == []
    with pytest.raises(Waits):
        squares(directory(tmp_path, "2/5"), made)
    assert made == ["b"]


def test_the_lock_of_a_killed_process_holds_nobody(tmp_path):
    code = f"from pathlib import Path; from otoscope.experiment.units import Lock; import time\n\
lock = Lock(Path({str(tmp_path)!r}) / 'a.lock'); print(lock.take(), flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"
    assert not Lock(tmp_path / "a.lock").take()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Lock(tmp_path / "a.lock").take()


def test_a_short_stage_is_made_by_one_of_two_that_come_together(tmp_path):
    made: list[int] = []

    def short(number: int) -> None:
        run = runs[number]
        with run.stage("short", 1) as stage:
            if stage.needed:
                made.append(number)
                time.sleep(0.3)
                run.write_text("short.txt", "made")
        assert run.fingerprints["short"]

    runs = [directory(tmp_path, f"{number}/2") for number in (1, 2)]
    threads = [threading.Thread(target=short, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(run.stages[0]["status"] for run in runs) == ["kept", "made"]


def test_what_another_put_together_meanwhile_is_taken(tmp_path):
    made: list[str] = []
    with pytest.raises(Waits):
        squares(directory(tmp_path, "1/2"), made)
    late, again = directory(tmp_path, "2/2"), []
    with late.stage("squares", 1, in_units=True) as stage:
        assert squares(directory(tmp_path, "2/2"), made) == [0, 1, 4, 9, 16]  # while this one lists its units
        late.units([Unit(name, lambda: again.append("a unit") or {}) for name in NAMES])
        again.append("put together")
    assert again == []
    assert stage.outputs == {"squares": [0, 1, 4, 9, 16]}
    assert late.stages[-1]["status"] == "kept"
    assert not list((tmp_path / "work").iterdir())


def test_only_the_stages_that_are_asked_for(tmp_path):
    made: list[str] = []
    with pytest.raises(Waits):
        squares(directory(tmp_path, "1/1", only=["saes"]), made)
    assert made == []
    assert squares(directory(tmp_path, "1/1", only=["squares"]), made) == [0, 1, 4, 9, 16]


def test_a_stage_waits_for_one_it_reads(tmp_path):
    run = directory(tmp_path, "1/2")
    assert run.attempt(lambda run: squares(run, [])) is None
    with pytest.raises(Waits), run.stage("next", after=["squares"]):
        pass
    assert [waits.stage for waits in run.waits] == ["squares"]  # what itself waits is not told


def test_tables_arrays_and_plain_data_come_back_as_they_were(tmp_path):
    table = pd.DataFrame({"name": ["a", None], "x": [0.1, np.nan], "n": [1, 2], "yes": [True, False]})
    made = {
        "rows": [{"r2": 0.1 + 0.2, "none": None, "n": np.int64(3), "x": np.float32(0.1)}],
        "table": table,
        "array": np.arange(6.0).reshape(2, 3),
    }
    (tmp_path / "unit").write_bytes(pack(made, seconds=1.0))
    found = unpack(tmp_path / "unit")
    assert list(found) == list(made)
    pd.testing.assert_frame_equal(found["table"], table)
    np.testing.assert_array_equal(found["array"], made["array"])
    assert found["rows"] == [{"r2": 0.1 + 0.2, "none": None, "n": 3, "x": float(np.float32(0.1))}]
    assert pack(made, seconds=1.0) == pack(found, seconds=1.0)


def test_shares():
    assert Share.parse("2/4") == Share(2, 4)
    numbers = range(10)
    assert [[n for n in numbers if Share(i, 3).has(n)] for i in (1, 2, 3)] == [
        [0, 3, 6, 9],
        [1, 4, 7],
        [2, 5, 8],
    ]
    for wrong in ("0/4", "5/4", "1", "a/b", "1/", "-1/2", "1/2/3"):
        with pytest.raises(InputError, match="a shard is i/n"):
            Share.parse(wrong)


def test_the_share_of_a_slurm_task_is_its_number_in_a_retried_array_too(monkeypatch):
    with pytest.raises(InputError, match="no task of a Slurm array"):
        Share.parse("/8")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "3")  # --array=3,7: those that failed
    assert Share.parse("/8") == Share(7, 8)
    assert Share.parse("2/8") == Share(2, 8)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    with pytest.raises(InputError, match="--array=1-8"):
        Share.parse("/8")


def test_status_is_json_too(tmp_path):
    with pytest.raises(Waits):
        squares(directory(tmp_path, "1/2"), [])
    from typer.testing import CliRunner

    from otoscope.cli.app import app

    told = CliRunner().invoke(app, ["status", str(tmp_path), "--json"])
    assert told.exit_code == 0
    (found,) = json.loads(told.stdout)
    assert (found["stage"], found["done"], found["missing"]) == ("squares", [0, 2, 4], [1, 3])


def test_a_lock_that_a_hanging_process_has_is_told_and_may_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "PATIENCE_S", 0.1)
    hanging, other, said = Lock(tmp_path / "stage.lock"), Lock(tmp_path / "stage.lock"), []
    assert hanging.take()
    waiter = threading.Thread(target=other.wait, args=(said.append,), daemon=True)
    waiter.start()
    end = time.monotonic() + 30
    while not said and time.monotonic() < end:
        time.sleep(0.02)
    assert said[0].startswith("waits for process ")
    assert "if it hangs, end it (kill -9)" in said[0]
    assert waiter.is_alive()
    (tmp_path / "stage.lock").unlink()
    waiter.join(30)
    assert not waiter.is_alive()
    assert len(said) == 1
