"""Parts of `extraction.py` that need a process of their own: what they measure is the process's memory or settings."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

MIB = 2**20
STREAM_ROOM = 1024 * MIB  # what the streaming process may take beside what it holds when the store is open
STREAM_ROWS = 1_500_000  # x 768 float16 = 2.2 GiB
BUFFER_ROWS = 128 * MIB // (2 * 768)


def main() -> None:
    """Run one part and print one line of JSON."""
    part, *arguments = sys.argv[1:]
    print(json.dumps({"memory": memory, "stream": stream, "busy": busy}[part](*map(int, arguments))))


def memory(n_clips: int) -> dict[str, float]:
    """Extract `n_clips` recordings; the built-in model is small, so what grows with the clips would show."""
    import otoscope

    sys.path.insert(0, str(Path(__file__).parent))
    from extraction import recordings

    unlike = recordings(20)
    clips = pd.concat([unlike] * (n_clips // 20), ignore_index=True)
    clips["clip_id"] = clips["group"] = [str(i) for i in range(len(clips))]
    clips["stop_s"] = 4.0 + np.arange(len(clips)) % 3 / 2  # three lengths
    encoder = otoscope.load_encoder("otoscope-mini", device="cpu", precision="auto")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        otoscope.extract(
            clips, encoder, out=f"{folder}/store", pool="frames", dtype="float16", progress=False
        )
        seconds = time.perf_counter() - began
    # Not getrusage's ru_maxrss: it begins at what the parent held when it started this process.
    return {"clips": n_clips, "peak, MiB": round(status("VmHWM") / MIB), "clips/s": n_clips / seconds}


def stream() -> dict[str, float]:
    """Stream a store that is larger than the process may grow; the limit is the kernel's, on its private memory."""
    from otoscope.activations import Activations

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = f"{folder}/store"
        writer = multiprocessing.get_context("spawn").Process(target=write_frames, args=(path,))
        writer.start()
        writer.join()
        store, peaks, rates = Activations.open(path), [], []
        # What the limit counts: private writable memory, threads' stacks included.
        limit = status("VmData") + STREAM_ROOM
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        for epoch in range(2):
            seen, began, peak = 0, time.perf_counter(), Peak()
            for _, values in store.batches([6], batch_size=1024, seed=epoch, buffer_rows=BUFFER_ROWS):
                seen += values[6].size * 2
            rates.append(seen / MIB / (time.perf_counter() - began))
            peaks.append(peak.stop())
    return {
        "store, MiB": round(seen / MIB),
        "room beside the libraries, MiB": STREAM_ROOM // MIB,
        "epoch 1, MiB/s": rates[0],
        "epoch 2, MiB/s (>= 200)": rates[1],
        "peak in epoch 1, MiB": round(peaks[0]),
        "in epoch 2": round(peaks[1]),
    }


def busy(n_clips: int, n_taken: int) -> dict[str, float]:
    """Extract by a model whose operations the cores share, while other processes take `n_taken` of them."""
    import otoscope

    sys.path.insert(0, str(Path(__file__).parent))
    from extraction import recordings

    clips = recordings(n_clips)
    mini = otoscope.load_encoder("otoscope-mini", device="cpu")
    encoder = otoscope.Encoder.from_module(  # which is never run by several threads at once
        mini.module, blocks="encoder.layers.*", sample_rate=16_000, min_samples=400, device="cpu"
    )
    others = [multiprocessing.get_context("spawn").Process(target=burn, daemon=True) for _ in range(n_taken)]
    for other in others:
        other.start()
    with tempfile.TemporaryDirectory() as folder:
        otoscope.extract(clips[:2], encoder, out=f"{folder}/warm", progress=False)
        began, spent = time.perf_counter(), time.process_time()
        otoscope.extract(clips, encoder, out=f"{folder}/store", progress=False)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
    for other in others:
        other.kill()
    return {"clips": n_clips, "cores taken": n_taken, "s": seconds, "processor seconds": spent}


def burn() -> None:
    """Take a core."""
    while True:
        pass


def status(key: str) -> int:
    """Return what Linux says of this process's memory, in bytes."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def write_frames(path: str) -> None:
    """Write a framewise store of noise, shard by shard, as `extract` would."""
    from otoscope.activations.plan import Plan, Shard
    from otoscope.activations.store import Store

    rows_per_shard, width = 16 * 4096, 768
    numbers = range(-(-STREAM_ROWS // rows_per_shard))
    shards = [Shard(i, i, i + 1, i * rows_per_shard, rows_per_shard) for i in numbers]
    provenance = {"encoder": "noise", "layers": ["6"], "shards": len(shards)}
    plan = Plan(pd.DataFrame(), shards, [6], "frames", "float16", {6: width}, 4096, provenance)
    store = Store(path)
    store.create(plan)
    frames = np.random.default_rng(0).standard_normal((rows_per_shard, width), np.float32).astype(np.float16)
    for shard in shards:
        rows = pd.DataFrame(
            {"clip_id": [str(shard.number)] * rows_per_shard, "crop": 0, "start_s": 0.0, "stop_s": 1.0}
        )
        store.write_shard(shard, {6: frames}, rows, [])


class Peak:
    """The largest resident memory of this process while it is watched, in MiB."""

    def __init__(self) -> None:
        self.peak, self.watching = 0.0, True
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> float:
        self.watching = False
        self.thread.join()
        return self.peak

    def _watch(self) -> None:
        while self.watching:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.peak = max(self.peak, pages * resource.getpagesize() / MIB)
            time.sleep(0.02)


if __name__ == "__main__":
    main()
