"""Memory that does not hold a batch: it is halved, and what comes out is what would have come out anyway."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import otoscope
from otoscope.activations import Activations, plan
from otoscope.errors import OtoscopeError

from .conftest import RATE, change_reader, table, write

ERRORS = {
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the CPU": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"
    ),
    "cuBLAS": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    "NumPy": MemoryError,
}


@pytest.fixture
def equal(tmp_path):
    """Twenty clips of one length."""
    rng = np.random.default_rng(0)
    names = [write(tmp_path / f"{i}.wav", 0.1 * rng.standard_normal(4000)) for i in range(20)]
    return table([(f"c{i}", name, 0.0, 4000 / RATE) for i, name in enumerate(names)])


@pytest.fixture
def limited(encoder, monkeypatch) -> Callable:
    """Return a function that has the model run out of memory beyond some clips; what it returns notes the passes."""

    def limit(most: int, error: Callable[[], BaseException]) -> list[int]:
        passes: list[int] = []

        def before(inputs: torch.Tensor) -> None:
            passes.append(len(inputs))
            if len(inputs) > most:
                raise error()

        change_reader(encoder, monkeypatch, before=before)
        return passes

    return limit


@pytest.mark.parametrize("kind", ERRORS)
def test_a_batch_is_halved_until_it_fits(equal, encoder, tmp_path, limited, kind) -> None:
    whole = otoscope.extract(equal, encoder, out=tmp_path / "whole", batch_size=4)
    passes = limited(4, ERRORS[kind])
    halved = otoscope.extract(equal, encoder, out=tmp_path / "halved", batch_size=16)
    # 16 fails, then its halves' halves fit; by then the last four had been put together as they were.
    assert passes == [16, 8, 4, 4, 8, 4, 4, 4]
    assert halved.rows.equals(whole.rows)
    for layer in whole.layers:
        np.testing.assert_array_equal(halved.layer(layer), whole.layer(layer))


def test_later_batches_are_made_no_larger(equal, encoder, tmp_path, limited, monkeypatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 8)
    passes = limited(3, ERRORS["CUDA"])
    otoscope.extract(equal, encoder, out=tmp_path / "store", batch_size=8)
    assert passes == [8, 4, 2, 2, 4, 2, 2, *[2] * 6]


def test_one_clip_beyond_memory_is_told_and_nothing_is_lost(
    equal, encoder, tmp_path, limited, monkeypatch
) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 5)
    equal.loc[7, "path"] = write(tmp_path / "long.wav", 0.1 * np.ones(3 * RATE))
    equal.loc[7, "stop_s"] = 3.0
    whole = otoscope.extract(equal, encoder, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        reader = encoder.reader

        def too_long(inputs: torch.Tensor) -> None:
            if inputs.shape[1] > 2 * RATE:
                raise ERRORS["CUDA"]()

        change_reader(encoder, patch, before=too_long)
        with pytest.raises(OtoscopeError, match=r"not enough memory on cpu for 3\.00 s .*'c7'.*windows:5"):
            otoscope.extract(equal, encoder, out=tmp_path / "store")
        assert encoder.reader is not reader
    assert len(Activations.open(tmp_path / "store", partial=True)) == 5
    resumed = otoscope.extract(equal, encoder, out=tmp_path / "store")
    for layer in whole.layers:
        np.testing.assert_array_equal(resumed.layer(layer), whole.layer(layer))


def test_other_errors_of_the_model_are_not_taken_for_it(equal, encoder, tmp_path, limited) -> None:
    passes = limited(3, lambda: RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        otoscope.extract(equal, encoder, out=tmp_path / "store", batch_size=8)
    assert passes == [8]
