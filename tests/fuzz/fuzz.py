"""Thousands of damaged and odd inputs, each drawn from a seed: ``make fuzz``.

    python tests/fuzz/fuzz.py --inputs 10000 --processes 2 --seed 0

Every input ends in a right result or in an `OtoscopeError`. What ends otherwise (another exception, a minute's silence,
a number that is not the right one) is printed with its family and seed, and is kept in ``finds.txt``, which the tests
replay.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from inputs import FAMILIES, Bench

from otoscope.errors import OtoscopeError

RIGHT, CLEAN, TRACEBACK, HANG, WRONG = "right results", "clean errors", "tracebacks", "hangs", "wrong numbers"
OUTCOMES = (RIGHT, CLEAN, TRACEBACK, HANG, WRONG)
LONGEST_S = 60
FINDS = Path(__file__).with_name("finds.txt")
PYTHONS_WORDS = (
    "invalid literal for", "could not convert string", "object is not", "NoneType", "unhashable", "embedded null",
    "not supported between", "object has no attribute", "Traceback", "list index out of range",
)  # fmt: skip
"""What a message of ours must not hold."""


class Hang(BaseException):
    """An input took longer than `LONGEST_S`."""


def try_input(bench: Bench, family: str, seed: int) -> tuple[str, str]:
    """Feed one input; return what came of it, and the traceback or message where it should not have."""
    rng = np.random.default_rng([list(FAMILIES).index(family), seed])
    printed = io.StringIO()
    try:
        with _limited(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            is_right = FAMILIES[family](bench, rng)
    except OtoscopeError as error:
        said = f"{error}\n{printed.getvalue()}"
        bad = [words for words in PYTHONS_WORDS if words in said]
        return (TRACEBACK, f"Python's own words in the message: {said}") if bad else (CLEAN, "")
    except Hang:
        return HANG, f"more than {LONGEST_S} s"
    except (Exception, SystemExit):
        return TRACEBACK, traceback.format_exc()
    return (RIGHT, "") if is_right else (WRONG, "the result is not that of the whole input")


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(number, frame) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(
    seeds: range, *, share: tuple[int, int] = (0, 1), longest_s: float = float("inf")
) -> tuple[dict[str, Counter], list[str]]:
    """Feed inputs of all families in turn; return their outcomes by family, and what was found.

    Parameters
    ----------
    seeds
        A seed for each input; its family is the seed modulo their number.
    share
        (i, n): every n-th input, from the i-th on.
    longest_s
        Stop after this time.
    """
    counts: dict[str, Counter] = {family: Counter() for family in FAMILIES}
    finds = []
    end = time.monotonic() + longest_s
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for seed in seeds[share[0] :: share[1]]:
            if time.monotonic() > end:
                break
            family = list(FAMILIES)[seed % len(FAMILIES)]
            outcome, told = try_input(bench, family, seed)
            counts[family][outcome] += 1
            if outcome not in (RIGHT, CLEAN):
                finds.append(f"{family} {seed}: {outcome}\n{told}")
    return counts, finds


def _part(arguments: tuple[range, tuple[int, int]]) -> tuple[dict[str, Counter], list[str]]:
    return fuzz(arguments[0], share=arguments[1])


def table(counts: dict[str, Counter]) -> str:
    """Return the outcomes as a table in Markdown."""
    lines = [f"| inputs | tried | {' | '.join(OUTCOMES)} |", f"|---|{'---:|' * (1 + len(OUTCOMES))}"]
    whole: Counter = sum(counts.values(), Counter())
    for family, found in [*counts.items(), ("all", whole)]:
        lines.append(f"| {family} | {found.total()} | {' | '.join(str(found[name]) for name in OUTCOMES)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="Of the first input.")
    asked = parser.parse_args()
    seeds = range(asked.seed, asked.seed + asked.inputs)
    print(f"seeds {seeds.start} to {seeds.stop - 1} in {asked.processes} processes", flush=True)
    started = time.monotonic()
    parts = [(seeds, (i, asked.processes)) for i in range(asked.processes)]
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        results = pool.map(_part, parts, chunksize=1)
    counts = {family: sum((result[0][family] for result in results), Counter()) for family in FAMILIES}
    finds = [find for result in results for find in result[1]]
    print(table(counts))
    print(f"{time.monotonic() - started:.0f} s")
    for find in finds:
        print(f"\nFOUND {find}")
    if finds:
        known = FINDS.read_text().splitlines()
        new = [find.partition(":")[0] for find in finds]
        FINDS.write_text("\n".join([*known, *(line for line in new if line not in known)]) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
