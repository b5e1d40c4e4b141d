"""What happens while a command runs: recordings vanish or change, a clock jumps, memory or the disk is full.

OTOSCOPE_WRITE_DOCS=1 python -m pytest tests/fuzz/test_interruptions.py     writes its table of docs/reliability.md
anew
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from inputs import RATE
from tally import TIMES, Tally, again, check_page, note, told

import otoscope
from otoscope import contents, files
from otoscope.activations import Activations, pipeline
from otoscope.errors import OtoscopeError
from otoscope.saes import TopKConfig, train_saes

WRITTEN: dict[str, str] = {}
HOUR_NS = 3_600_000_000_000
pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.mark.parametrize("becomes", ["gone", "shorter", "another"])
def test_a_recording_that_goes_while_it_is_extracted(bench, encoder, store, becomes, monkeypatch):
    """After it was planned, before or while it is decoded. It is put back, and the same command ends as it should."""
    tally = Tally(f"a recording is {becomes} between planning and decoding")
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        shutil.rmtree(store, ignore_errors=True)
        path = bench.data / f"{rng.integers(6)}.wav"
        content, read = path.read_bytes(), pipeline.read_audio

        def changes(name, path=path, rng=rng, read=read, **options):
            if name == str(path):
                change(path, becomes, rng)
            return read(name, **options)

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "read_audio", changes)
            tally.injected += 1
            tally.told += told(lambda: again(bench, encoder, store))
        path.write_bytes(content)
        again(bench, encoder, store)
        tally.count_store(store, *bench.numbers)
    note(WRITTEN, tally)


def test_a_recording_that_changes_between_shards(bench, encoder, tmp_path):
    """One that two shards hear, made by two processes: the second one sees that the first heard something else."""
    tally = Tally("a recording is another between two shards that hear it")
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(6 * 3200), RATE)
    content = path.read_bytes()
    spans = [(f"c{i}", str(path), 0.2 * i, 0.2 * (i + 1), "train", "one") for i in range(6)]
    clips = pd.DataFrame(spans, columns=["clip_id", "path", "start_s", "stop_s", "split", "group"])
    undisturbed = otoscope.extract(clips, encoder, out=tmp_path / "whole", layers=[0, 2], progress=False)
    numbers = undisturbed.rows, undisturbed.layer(0), undisturbed.layer(2)
    for seed in range(TIMES):
        store = tmp_path / str(seed)

        def part(shard: str, store=store) -> None:
            otoscope.extract(clips, encoder, out=store, layers=[0, 2], progress=False, shard=shard)

        part(f"{1 + seed % 2}/2")
        change(path, "another", np.random.default_rng(seed))
        tally.injected += 1
        tally.told += told(lambda seed=seed, part=part: part(f"{2 - seed % 2}/2"))
        path.write_bytes(content)
        part(f"{2 - seed % 2}/2")
        tally.count_store(store, *numbers)
    note(WRITTEN, tally)


def test_memory_that_does_not_hold_a_batch(bench, encoder, store, monkeypatch):
    """In how many a batch is cut may show in a number's last digit, as whether a GPU does."""
    tally = Tally("memory does not hold a batch (it is halved; the numbers then within 1e-6)")
    rows, *states = bench.numbers
    reader = otoscope.Encoder.reader
    for seed in range(TIMES):
        shutil.rmtree(store, ignore_errors=True)
        most, given = 1 + seed % 2, []

        @contextmanager
        def limited(self, layers, most=most, given=given) -> Iterator[Callable]:
            with reader(self, layers) as read:

                def within(inputs: torch.Tensor) -> dict:
                    given.append(len(inputs))
                    if len(inputs) > most:
                        raise torch.OutOfMemoryError("CUDA out of memory")
                    return read(inputs)

                yield within

        with monkeypatch.context() as patch:
            patch.setattr(otoscope.Encoder, "reader", limited)
            again(bench, encoder, store, batch_size=3)
        tally.injected += 1
        tally.told += max(given) > most
        opened = Activations.open(store)
        found = [opened.layer(0), opened.layer(2)]
        close = all(np.allclose(*pair, rtol=0, atol=1e-6) for pair in zip(found, states))
        tally.count(close and opened.rows.equals(rows))
    note(WRITTEN, tally)


@pytest.mark.parametrize("jump", ["an hour ahead", "an hour back", "a day ahead when the file was written"])
def test_a_clock_that_jumps(bench, encoder, store, jump, monkeypatch):
    """A recording is heard, and edited within one tick of its file system: no size and no time tells of it."""
    tally = Tally(f"a clock jumps ({jump}), and a recording is edited within one tick of the file system")
    tick_ns = time.time_ns() + ("written" in jump) * 24 * HOUR_NS
    clock_ns = {"an hour ahead": HOUR_NS, "an hour back": -HOUR_NS}.get(jump, 0)
    signature, time_ns = contents.signature, time.time_ns

    def coarse(path: str) -> contents.Signature:
        size, _written, _entered, inode, device = signature(path)
        return size, tick_ns, tick_ns, inode, device

    monkeypatch.setattr(contents, "SETTLED_NS", HOUR_NS // 6)  # on a busy machine two seconds are nothing
    monkeypatch.setattr(pipeline, "signature", coarse)
    monkeypatch.setattr(contents, "signature", coarse)
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() + clock_ns)
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        shutil.rmtree(store, ignore_errors=True)
        path = bench.data / f"{rng.integers(6)}.wav"
        content = path.read_bytes()
        again(bench, encoder, store)
        change(path, "another", rng)
        tally.injected += 1
        tally.told += told(lambda: again(bench, encoder, store))
        path.write_bytes(content)
        again(bench, encoder, store)
        tally.count_store(store, *bench.numbers)
    note(WRITTEN, tally)


def test_a_disk_that_is_full_while_training(monkeypatch, tmp_path):
    """At the n-th file that is flushed to the disk, for every n there is: checkpoints, weights, configurations."""
    tally = Tally("the disk is full while autoencoders are trained (at each write in turn)")
    x = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)

    def trained(out: Path) -> dict[str, bytes]:
        configs = [TopKConfig(n_latents=16, k=k) for k in (2, 3)]
        saes = train_saes({0: x}, configs, epochs=3, batch_size=8, checkpoint=out / "checkpoint", log=out,
                          checkpoint_every_s=0, device="cpu", progress=False)  # fmt: skip
        for sae in saes:
            sae.save_pretrained(out / sae.name)
        return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("topk*/*"))}

    whole = trained(tmp_path / "whole")
    assert len(whole) == 8
    for stop_at in range(1, 1000):
        with monkeypatch.context() as patch:
            full_disk_at(stop_at, patch)
            try:
                trained(tmp_path / str(stop_at))
                break  # it has fewer writes
            except OtoscopeError as error:
                tally.told += "the disk is full" in str(error)
        tally.injected += 1
        tally.count(trained(tmp_path / str(stop_at)) == whole)
    assert tally.injected >= 6
    note(WRITTEN, tally)


def test_the_page_says_what_the_tests_found():
    """It stands last: the tests above count."""
    check_page(__file__, WRITTEN, 9)


def change(path: Path, becomes: str, rng: np.random.Generator) -> None:
    """Have a recording be gone, shorter, or another of the same size; it keeps its place on the disk."""
    if becomes == "gone":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if becomes == "shorter":
        content = content[: len(content) // 2]
    else:
        content[100 + 2 * rng.integers(1000)] ^= 0xFF
    path.write_bytes(content)


def full_disk_at(n: int, patch: pytest.MonkeyPatch) -> None:
    """Have the n-th file that is flushed find the disk full."""
    flush, n_written = files.flush, [0]

    def full(path) -> None:
        n_written[0] += 1
        if n_written[0] == n:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    patch.setattr(files, "flush", full)
