"""How faults are counted, and how the count gets into docs/reliability.md, where each test file has a table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from inputs import Bench

import otoscope
from otoscope.activations import Activations
from otoscope.errors import OtoscopeError

DOC = Path(__file__).parents[2] / "docs" / "reliability.md"
WRITES = bool(os.environ.get("OTOSCOPE_WRITE_DOCS"))
THOROUGH = WRITES or bool(os.environ.get("OTOSCOPE_THOROUGH"))
"""As often as the page says; `make test` injects each fault less often."""
TIMES = 12 if THOROUGH else 3
"""How often each fault is injected, each time from another seed."""


@dataclass
class Tally:
    """What came of one fault."""

    fault: str
    injected: int = 0
    told: int = 0
    """An error in a sentence, or made anew without being asked."""
    recovered: int = 0
    """All numbers were the right ones after the command was run again, as the message says."""
    rows_lost: int = 0
    wrong_numbers: int = 0

    def line(self) -> str:
        counts = (self.injected, self.told, self.recovered, self.rows_lost, self.wrong_numbers)
        return f"| {self.fault} | {' | '.join(map(str, counts))} |"

    def count(self, same: bool, rows_lost: int = 0) -> None:
        """Count what lies there after the command was run again."""
        self.recovered += same
        self.wrong_numbers += not same
        self.rows_lost += rows_lost

    def count_store(self, store: Path, rows: pd.DataFrame, first: np.ndarray, last: np.ndarray) -> None:
        """Count a store of the layers 0 and 2 against what it should hold."""
        self.count(whole(store, rows, first, last), len(rows) - len(Activations.open(store).rows))


def again(bench: Bench, encoder: otoscope.Encoder, store: Path, **options) -> Activations:
    """Extract the bench's clips, or go on with it."""
    return otoscope.extract(bench.clips, encoder, out=store, layers=[0, 2], progress=False, **options)


def told(use: Callable[[], object]) -> bool:
    """Whether use ends in an error in a sentence; what it returns says whether its numbers were right."""
    try:
        return use() is True
    except OtoscopeError as error:
        return bool(str(error))


def whole(store: Path, rows: pd.DataFrame, first: np.ndarray, last: np.ndarray) -> bool:
    """Whether a store holds these rows and numbers, bit by bit."""
    opened = Activations.open(store)
    same = np.array_equal(opened.layer(0), first) and np.array_equal(opened.layer(2), last)
    return same and opened.rows.equals(rows)


def note(written: dict[str, str], tally: Tally) -> None:
    """Keep a fault's line for the page; nothing may be lost or wrong."""
    written[tally.fault] = tally.line()
    assert tally.told == tally.recovered == tally.injected, tally
    assert tally.rows_lost == tally.wrong_numbers == 0, tally


def check_page(file: str, written: dict[str, str], n_faults: int) -> None:
    """Compare a test file's table on the page with what its tests found; OTOSCOPE_WRITE_DOCS=1 writes it anew."""
    if len(written) < n_faults:
        pytest.skip("the other tests of this file did not all run")
    head = "| fault | injected | told or mended | recovered | rows lost | wrong numbers |"
    table = "\n".join([head, "|---|---:|---:|---:|---:|---:|", *written.values()])
    mark = f"<!-- made by tests/fuzz/{Path(file).name} -->\n"
    before, _, rest = DOC.read_text().partition(mark)
    after = rest.partition("<!-- end -->")[2]
    page = f"{before}{mark}\n{table}\n\n<!-- end -->{after}"
    if WRITES:
        DOC.write_text(page)
    counts = (lambda text: text) if THOROUGH else lambda text: re.sub(r"\d+", "some", text)
    assert counts(DOC.read_text()) == counts(page), "OTOSCOPE_WRITE_DOCS=1 writes it anew"
