"""What the tests of faults share."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from inputs import Bench

import otoscope
from otoscope.activations import plan


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def small_shards(monkeypatch) -> None:
    """Stores of several shards, though there are six clips."""
    monkeypatch.setattr(plan, "SHARD_CROPS", 3)


@pytest.fixture(scope="module")
def encoder(bench) -> otoscope.Encoder:
    return otoscope.load_encoder(bench.model, device="cpu")


@pytest.fixture
def store(bench) -> Path:
    """A place for a store, which is empty."""
    shutil.rmtree(bench.root / "place", ignore_errors=True)
    return bench.root / "place"
