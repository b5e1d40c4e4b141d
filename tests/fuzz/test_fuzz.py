"""A minute of `make fuzz`, on seeds of its own, and everything that was ever found."""

from __future__ import annotations

import pytest
from fuzz import CLEAN, FINDS, RIGHT, fuzz, table, try_input
from inputs import FAMILIES

FIRST = 1_000_000
KNOWN = [line.rpartition(" ") for line in FINDS.read_text().splitlines() if line]


@pytest.mark.parametrize(("family", "_", "seed"), KNOWN)
def test_what_was_found_stays_mended(bench, family, _, seed):
    outcome, told = try_input(bench, family, int(seed))
    assert outcome in (RIGHT, CLEAN), told


def test_new_inputs(capsys):
    counts, finds = fuzz(range(FIRST, FIRST + 4000), longest_s=60)
    with capsys.disabled():
        print(f"\nfuzz, seeds from {FIRST}:\n{table(counts)}")
    assert not finds, "\n\n".join(finds)
    assert all(found.total() for found in counts.values())


def test_a_fault_is_found(bench, monkeypatch):
    """The fuzz itself would see an exception, a wrong number and a hang."""

    def family(result):
        def use(bench, rng):
            if isinstance(result, Exception):
                raise result
            return result

        return use

    for result, outcome in ((KeyError("x"), "tracebacks"), (False, "wrong numbers"), (True, "right results")):
        monkeypatch.setitem(FAMILIES, "audio", family(result))
        assert try_input(bench, "audio", 0)[0] == outcome
