"""Killed at any moment, resumed, and the same to the last bit."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from otoscope.errors import ModelError, ProvenanceError
from otoscope.saes import make_config, train_saes
from otoscope.saes.training import rows as data
from otoscope.saes.training.checkpoint import NAME

EPOCHS = 5


def train_many(folder):
    """Train several kinds on two layers, with a checkpoint after every block."""
    x = np.random.default_rng(0).normal(size=(400, 12)).astype("f4")
    configs = [
        make_config("topk", n_latents=32, k=3),
        make_config("topk", n_latents=32, k=16),
        make_config("batch-topk", n_latents=32, k=3, dead_after_rows=200),
        make_config("jumprelu", n_latents=32),
    ]
    return train_saes(
        {1: x, 2: x[:, ::-1].copy()},
        configs,
        seeds=(0, 1),
        validation={1: x[:50], 2: x[50:100]},
        epochs=EPOCHS,
        batch_size=8,
        warmup_steps=10,
        decay_fraction=0.3,
        checkpoint=folder,
        checkpoint_every_s=0,
        device="cpu",
        progress=False,
    )


def assert_same(saes, others):
    for sae, other in zip(saes, others, strict=True):
        assert sae.history.equals(other.history)
        assert all(torch.equal(other.state_dict()[name], value) for name, value in sae.state_dict().items())


@pytest.fixture
def one_thread(monkeypatch):
    """As the process that is killed has it: grouping into stacks depends on the number of cores."""
    monkeypatch.setattr(data, "BLOCK_ROWS", 64)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_killed_run_ends_bit_identical_to_an_unbroken_one(tmp_path, one_thread):
    unbroken = train_many(None)
    checkpoint, seen = tmp_path / NAME, None
    for n_saves in (4, 9):  # kill it some blocks into an epoch, then once more further on
        process = subprocess.Popen([sys.executable, __file__, str(tmp_path)])
        deadline = time.monotonic() + 120
        changes = 0
        while process.poll() is None and changes < n_saves and time.monotonic() < deadline:
            now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
            changes += now != seen
            seen = now
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it had not ended by itself
    assert seen is not None
    assert_same(train_many(tmp_path), unbroken)
    assert_same(train_many(tmp_path), unbroken)  # nothing left to do


def train(folder, x, **options):
    config = make_config("topk", n_latents=16, k=2)
    return train_saes({0: x}, config, checkpoint=folder, **{"epochs": 2, "progress": False, **options})


def test_checkpoints_of_other_settings_or_data_are_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    train(tmp_path, x)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(ProvenanceError, match=r"other settings \(lr\)"):
        train(tmp_path, x, lr=0.1)
    with pytest.raises(ProvenanceError, match="data"):
        train(tmp_path, x + 1)
    assert (tmp_path / NAME).read_bytes() == before


def test_checkpoints_of_other_stacks_are_refused_with_the_number_of_threads(tmp_path, monkeypatch):
    """Dictionaries that are large enough are dealt out to the cores."""
    from otoscope.saes.training import bank

    def train():
        x = np.random.default_rng(0).normal(size=(400, 12)).astype("f4")
        options = {"checkpoint": tmp_path, "checkpoint_every_s": 0, "device": "cpu", "progress": False}
        train_saes({0: x}, make_config("topk", n_latents=32, k=3), seeds=range(4), epochs=2, **options)

    monkeypatch.setattr(bank, "SMALL_WEIGHTS", 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        train()
        torch.set_num_threads(1)
        with pytest.raises(ProvenanceError, match=r"made on 2 threads, and on 1 .* OMP_NUM_THREADS=2"):
            train()
        torch.set_num_threads(2)
        train()
    finally:
        torch.set_num_threads(before)


def test_corrupt_checkpoints_are_refused_and_left_alone(tmp_path):
    (tmp_path / NAME).write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        train(tmp_path, np.ones((50, 4), np.float32))
    assert (tmp_path / NAME).read_bytes() == b"not a checkpoint"


if __name__ == "__main__":
    torch.set_num_threads(1)
    data.BLOCK_ROWS = 64
    train_many(sys.argv[1])
