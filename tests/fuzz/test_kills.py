"""Processes that are killed, or hang, at random moments; the same command ends as if nothing had been.

OTOSCOPE_WRITE_DOCS=1 python -m pytest tests/fuzz/test_kills.py     writes its table of docs/reliability.md anew
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from inputs import Bench
from tally import TIMES, Tally, again, check_page, note, whole

import otoscope
from otoscope.activations import Activations, pipeline, plan
from otoscope.activations.store import Store
from otoscope.cli import main
from otoscope.errors import OtoscopeError

WRITTEN: dict[str, str] = {}
PROCESSES = multiprocessing.get_context("fork")  # it has all that is imported: a kill costs no seconds

pytestmark = [
    pytest.mark.usefixtures("small_shards"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)], ids=["kill", "term"]
)
def test_a_process_that_is_ended(bench, encoder, store, number, code):
    """At 20 random moments; what it had finished stays, and the same command ends as if nothing had been."""
    tally = Tally(f"extraction is ended by {number.name} at a random moment")

    def command(out: Path) -> list:
        options = ["--encoder", bench.model, "--layers", "0,2", "--device", "cpu"]
        return ["extract", bench.data, "--out", out, *options]

    began = time.monotonic()
    assert ended(command(bench.root / f"undisturbed-{code}")) == 0
    lasts_s = time.monotonic() - began
    undisturbed = Activations.open(bench.root / f"undisturbed-{code}")
    numbers = undisturbed.rows, undisturbed.layer(0), undisturbed.layer(2)
    codes: list[int | None] = []
    for seed in range(20):
        shutil.rmtree(store, ignore_errors=True)
        process = started(command(store))
        time.sleep(np.random.default_rng(seed).uniform(0, lasts_s))
        os.kill(process.pid, number)
        process.join()
        codes.append(process.exitcode)
        done = set(Store(store).done()) if store.exists() else set()
        tally.injected += 1
        tally.told += 1
        assert ended(command(store)) == 0
        assert done <= Store(store).done()
        tally.count_store(store, *numbers)
    assert set(codes) <= {code, 0, -number}  # it may have been done by then, or hardly begun
    assert code in codes
    note(WRITTEN, tally)


def test_a_process_that_hangs(bench, encoder, store):
    """It is stopped while it holds a shard; all others are made, and what to do about that one is said."""
    tally = Tally(
        "a process hangs with a shard in its hands, and is ended, or is never seen again and comes back"
    )
    for seed in range(TIMES):
        shutil.rmtree(store, ignore_errors=True)
        first = plan.Shard(seed % 2, 0, 0, 0, 0)
        process = PROCESSES.Process(target=slowly, args=(bench, encoder, store, first), daemon=True)
        process.start()
        until(partial(has_text, store / "rows" / f"{first.name}.lock"))  # the owner's name: the lock is taken
        os.kill(process.pid, signal.SIGSTOP)
        tally.injected += 1
        with pytest.raises(
            OtoscopeError, match=f"shard {first.name} of .* is being made by another"
        ) as error:
            again(bench, encoder, store)
        tally.told += 1
        assert len(Store(store).done()) == 1  # the other one
        if seed % 4 < 2:
            process.kill()
            process.join()  # its lock is free once it is gone, not once it is told to go
        else:
            os.remove(str(error.value).partition("remove ")[2].partition(":")[0])
        again(bench, encoder, store)
        if seed % 4 >= 2:
            assert whole(store, *bench.numbers)
            os.kill(process.pid, signal.SIGCONT)
        process.join()
        tally.count_store(store, *bench.numbers)
    note(WRITTEN, tally)


def test_the_page_says_what_the_tests_found():
    """It stands last: the tests above count."""
    check_page(__file__, WRITTEN, 3)


def started(command: list) -> multiprocessing.Process:
    """Run a command in a process of its own."""

    def quietly() -> None:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  the process ends here
        main([str(argument) for argument in command])

    process = PROCESSES.Process(target=quietly)
    process.start()
    return process


def ended(command: list) -> int | None:
    process = started(command)
    process.join(60)
    return process.exitcode


def slowly(bench: Bench, encoder: otoscope.Encoder, store: Path, shard: plan.Shard) -> None:
    """Extract one shard, and take half a second for each recording."""
    read = pipeline.read_audio

    def later(*arguments, **options):
        time.sleep(0.5)
        return read(*arguments, **options)

    pipeline.read_audio = later
    again(bench, encoder, store, shard=f"{shard.number + 1}/2")


def has_text(path: Path) -> bool:
    return path.is_file() and bool(path.read_text())


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)
