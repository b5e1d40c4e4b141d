"""Threads keep order, read ahead within bounds, and pass errors on."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time

import pytest
import torch

from otoscope.compute import in_lanes, one_thread_each, pick_device, progress, thread_map
from otoscope.errors import InputError


def test_results_come_in_order():
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(thread_map(slow_first, range(20), workers=4)) == [i * i for i in range(20)]


def test_reading_ahead_is_bounded():
    started = []
    results = thread_map(lambda item: started.append(item) or item, iter(range(100)), workers=2, ahead=3)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 5
    results.close()
    assert threading.active_count() < 20


def test_the_first_error_is_raised_in_its_place():
    results = thread_map(lambda item: 1 // item, [2, 1, 0, 5], workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(
    ("n_threads", "n_lanes", "expected"), [(4, 4, 1), (4, 2, 2), (4, None, 1), (2, 5, 1), (3, 1, 3)]
)
def test_lanes_share_the_threads(n_threads, n_lanes, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        found = list(
            in_lanes(lambda i: (i, torch.get_num_threads(), threading.get_ident()), range(20), n_lanes)
        )
        assert [i for i, _, _ in found] == list(range(20))
        assert {n for _, n, _ in found} == {expected}
        assert ({ident for _, _, ident in found} == {threading.get_ident()}) == (n_lanes == 1)
        assert torch.get_num_threads() == n_threads
        with pytest.raises(ZeroDivisionError):
            list(in_lanes(lambda i: 1 // (i - 3), range(20), n_lanes))
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(InputError, match="cannot be used here"):
        pick_device("warp-drive")


def test_progress_is_silent_without_a_terminal(capsys):
    with progress("working", 3) as bar:
        bar.advance()
        bar.note("fine")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_the_time_left_though_a_step_takes_minutes(monkeypatch):
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    now = 0.0
    with progress("training", 10, unit="epochs") as bar:
        for _ in range(4):
            now += 120
            bar.advance()
    assert re.search(r"4/10.*epochs/s.*12:00.* left", terminal.getvalue())  # 6 x 2 min


def test_one_thread_each_is_restored_by_the_last_to_leave():
    before = torch.get_num_threads()
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        with one_thread_each():
            inside.set()
            leave.wait(10)
            seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    with one_thread_each():
        assert torch.get_num_threads() == 1
        thread.start()
        inside.wait(10)
    leave.set()
    thread.join()
    assert seen == [1]  # the first to leave restored nothing
    assert torch.get_num_threads() == before


def test_waiting_threads_do_not_spin_for_long():
    """Set before torch is imported, and left alone where the user has set it."""
    code = "import otoscope, os; print(os.environ['GOMP_SPINCOUNT'])"
    for given, expected in ({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"):
        env = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | given
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
