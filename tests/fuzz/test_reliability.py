"""Faults are injected, and counted: what was told, what was recovered, what was lost. They make docs/reliability.md.

OTOSCOPE_WRITE_DOCS=1 python -m pytest tests/fuzz/test_reliability.py     writes the table anew
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tally import TIMES, Tally, check_page, note, told, whole

import otoscope
from otoscope import files
from otoscope.activations import Activations
from otoscope.activations import store as stores
from otoscope.activations.checking import check_store
from otoscope.errors import OtoscopeError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import load_spec

WRITTEN: dict[str, str] = {}
pytestmark = pytest.mark.usefixtures("small_shards")


def chunk(store: Path, rng: np.random.Generator) -> Path:
    found = sorted(store.glob("layer_*/c/*/0"))
    return found[rng.integers(len(found))]


def flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])


def other(path: Path, rng: np.random.Generator) -> None:
    others = [each for each in sorted(path.parents[1].glob("*/0")) if each != path]
    path.write_bytes(others[rng.integers(len(others))].read_bytes())


def rows_file(store: Path, rng: np.random.Generator) -> Path:
    return store / "rows" / f"0000{rng.integers(2)}.parquet"


def changed_rows(path: Path, rng: np.random.Generator) -> None:
    rows = pd.read_parquet(path)
    changes = [rows[:-1], pd.concat([rows, rows]), rows[::-1], rows.drop(columns="crop")]
    changes[rng.integers(len(changes))].to_parquet(path, index=False)


def garbled(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(rng.bytes(rng.integers(0, 200)))


def of_record(store: Path, rng: np.random.Generator) -> Path:
    return store / "rows" / f"0000{rng.integers(2)}.json"


def of_array(store: Path, rng: np.random.Generator) -> Path:
    return store / "layer_02" / "zarr.json"


STORE_FAULTS: dict[str, tuple[Callable, Callable]] = {
    "a chunk of a store is missing": (chunk, lambda path, rng: path.unlink()),
    "a chunk is cut short": (chunk, cut),
    "a bit of a chunk is another": (chunk, flipped),
    "a chunk is another's": (chunk, other),
    "a table of rows is short, doubled, shuffled or lacks a column": (rows_file, changed_rows),
    "a table of rows is garbled": (rows_file, garbled),
    "a shard's record is garbled": (of_record, garbled),
    "an array's description is garbled": (of_array, garbled),
}


@pytest.mark.parametrize("fault", STORE_FAULTS)
def test_a_damaged_store(bench, encoder, fault):
    """Told when it is read; mended by what the message says: remove what it names, and extract again."""
    tally = Tally(fault)
    place, change = STORE_FAULTS[fault]
    rows, first, last = bench.numbers
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        store = bench.copy(bench.store)
        change(place(store, rng), rng)
        tally.injected += 1
        tally.told += told(lambda store=store: whole(store, rows, first, last))
        for problem in check_store(store).problems:
            named = problem.partition(f"Remove {store}/")[2].partition(" ")[0]
            (store / named).unlink(missing_ok=True) if named else shutil.rmtree(store, ignore_errors=True)
        otoscope.extract(bench.clips, encoder, out=store, layers=[0, 2], progress=False)
        tally.count_store(store, rows, first, last)
    note(WRITTEN, tally)


@pytest.mark.parametrize("fault", ["a process ends while it writes", "the disk is full"])
def test_an_extraction_that_stops(bench, encoder, fault, monkeypatch):
    """At the n-th file that is flushed to the disk, for every n there is."""
    tally = Tally(f"{fault} (at each of its writes in turn)")
    rows, first, last = bench.numbers
    error = (
        KeyboardInterrupt()
        if fault.startswith("a process")
        else OSError(errno.ENOSPC, "No space left on device")
    )
    for stop_at in range(1, 100):
        store = bench.root / "stopped"
        shutil.rmtree(store, ignore_errors=True)
        flush, n_written = files.flush, [0]

        def dies(path, flush=flush, n_written=n_written, stop_at=stop_at):
            n_written[0] += 1
            if n_written[0] == stop_at:
                raise error
            flush(path)

        with monkeypatch.context() as patch:
            patch.setattr(files, "flush", dies)
            patch.setattr(stores, "flush", dies)
            try:
                otoscope.extract(bench.clips, encoder, out=store, layers=[0, 2], progress=False)
                break  # it has fewer writes
            except (OtoscopeError, KeyboardInterrupt):
                tally.told += 1
        tally.injected += 1
        otoscope.extract(bench.clips, encoder, out=store, layers=[0, 2], progress=False)
        tally.count_store(store, rows, first, last)
    assert tally.injected >= 10
    note(WRITTEN, tally)


@pytest.mark.parametrize("what", ["a result table", "a stage's record"])
def test_a_damaged_run(tmp_path, what):
    tally = Tally(f"{what} of a run is emptied or garbled")
    spec = load_spec("demo")

    def made() -> bytes:
        run = RunDirectory(tmp_path, spec)
        run.open()
        with run.stage("table") as stage:
            if stage.needed:
                table = pd.DataFrame({"name": ["a", "b"], "unit": "Hz", "family": "pitch"})
                run.write_table("factors_info", table)
        tally.told += stage.needed
        return (tmp_path / "results" / "factors_info.csv").read_bytes()

    whole = made()
    tally.told = 0
    path = tmp_path / ("results/factors_info.csv" if what == "a result table" else "stages/table.json")
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        [garbled, cut, flipped][seed % 3](path, rng)
        tally.injected += 1
        same = made() == whole
        tally.count(same)
    note(WRITTEN, tally)


def test_recordings_that_change(bench, encoder):
    """In place, with the same size and the time of change set back."""
    tally = Tally("a recording is edited in place, its size and time kept")
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        folder, store = bench.copy(bench.data), bench.root / "edited"
        shutil.rmtree(store, ignore_errors=True)
        clips = otoscope.load_clips(folder)
        otoscope.extract(clips, encoder, out=store, layers=[0], progress=False)
        path = folder / f"{rng.integers(6)}.wav"
        before, content = path.stat(), bytearray(path.read_bytes())
        content[rng.integers(44, len(content))] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        tally.injected += 1

        def again(store=store, clips=clips) -> bool:
            otoscope.extract(clips, encoder, out=store, layers=[0], progress=False)
            return False

        tally.told += told(again)
        new = otoscope.extract(clips, encoder, out=bench.root / f"new-{seed}", layers=[0], progress=False)
        tally.recovered += len(new) == 6
        tally.rows_lost += 6 - len(Activations.open(store))
    note(WRITTEN, tally)


def test_the_page_says_what_the_tests_found():
    """It stands last: the tests above count."""
    check_page(__file__, WRITTEN, len(STORE_FAULTS) + 5)
