"""Extraction under load: whether memory and speed stay as they are over many clips, what a second worker brings, and
what planning costs.

    python benchmarks/load.py steady workers planner --work DIR

Run it on a machine that does nothing else. ``steady`` goes on where it was stopped. The tables are written to the
folder --out: load_steady.csv, load_workers.csv and load_planner.csv.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

EVERY = 1000  # clips between two samples
CLIP_S = 0.5
MIB = 2**20


def main() -> None:
    """Measure the parts that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["steady", "workers", "planner"])
    parser.add_argument(
        "--work", type=Path, required=True, help="recordings and stores; may be removed afterwards"
    )
    parser.add_argument(
        "--folder", type=Path, help="recordings to take instead of noise of half a second each"
    )
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--encoder", default="otoscope-mini")
    parser.add_argument("--rounds", type=int, default=3, help="of workers, in turns")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for part in given.parts:
        {
            "steady": steady,
            "workers": workers,
            "planner": planner,
            "_plan": plan_one,
            "_extract": extract_one,
        }[part.partition(":")[0]](given, *part.split(":")[1:])


def steady(given: argparse.Namespace) -> None:
    """Extract all clips in one process of one thread; note memory and time each thousand clips."""
    started(given, "_extract:1/1:steady")
    table = pd.read_csv(given.work / "steady.csv")
    table.to_csv(given.out / "load_steady.csv", index=False)
    first, last = table.iloc[1 : len(table) // 4 + 1], table.iloc[-(len(table) // 4) :]
    print(table.to_string(index=False))
    for column in ("rss_mib", "cpu_s", "wall_s"):
        a, b = first[column].mean(), last[column].mean()
        print(f"{column}: first quarter {a:.4g}, last quarter {b:.4g}, ratio {b / a:.3f}")


def workers(given: argparse.Namespace) -> None:
    """Time one process of one thread, then two at once with half of the shards each, in turns."""
    rows = []
    few = argparse.Namespace(**{**vars(given), "clips": min(given.clips, 4000)})
    for turn in range(given.rounds):
        for n in (1, 2):
            store = f"workers-{turn}-{n}"
            subprocess.run(["rm", "-rf", str(given.work / store)], check=True)
            began, spent = time.perf_counter(), children_cpu_s()
            processes = [start(few, f"_extract:{i}/{n}:{store}") for i in range(1, n + 1)]
            assert [process.wait() for process in processes] == [0] * n
            wall_s, cpu_s = time.perf_counter() - began, children_cpu_s() - spent
            extracting = [pd.read_csv(given.work / f"{store}-{i}.time") for i in range(1, n + 1)]
            seconds = max(table.wall_s[0] for table in extracting)
            rows.append(
                {
                    "round": turn, "workers": n, "clips": few.clips, "extracting_s": seconds,
                    "clips_per_s": few.clips / seconds, "wall_s_with_start": wall_s, "cpu_s_with_start": cpu_s,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table.to_csv(given.out / "load_workers.csv", index=False)
    print(table.round(2).to_string(index=False))
    rate = table.groupby("workers").clips_per_s.median()
    print(f"two workers: {rate[2] / rate[1]:.2f} times the clips per second of one (asked: 1.8)")


def planner(given: argparse.Namespace) -> None:
    """Plan tables of a thousand to a million clips, a hundred to a recording; no file is looked at."""
    for n in (1000, 10_000, 100_000, 1_000_000):
        started(given, f"_plan:{n}")
    table = pd.read_csv(
        given.work / "planner.csv", names=["clips", "plan_s", "pipeline_s", "shards", "held_mib", "peak_mib"]
    )
    table = table.drop_duplicates("clips", keep="last").sort_values("clips")
    table["us_per_clip"] = 1e6 * (table.plan_s + table.pipeline_s) / table.clips
    table.to_csv(given.out / "load_planner.csv", index=False)
    print(table.round(3).to_string(index=False))


def extract_one(given: argparse.Namespace, shard: str, name: str) -> None:
    """Extract one share, and note time and memory as shards are written."""
    import otoscope
    from otoscope.activations.store import Store

    clips, samples = recordings(given), given.work / f"{name}.csv"
    encoder = otoscope.load_encoder(given.encoder, device="cpu")
    write_shard, done, last = Store.write_shard, [0], [0, time.perf_counter(), time.process_time()]

    def noted(self: Store, shard, *arguments, **options) -> None:
        write_shard(self, shard, *arguments, **options)
        done[0] = shard.stop_crop
        if done[0] - last[0] >= EVERY:
            now = [done[0], time.perf_counter(), time.process_time()]
            n = now[0] - last[0]
            per = [EVERY * (b - a) / n for a, b in zip(last[1:], now[1:])]
            line = f"{now[0]},{rss_mib():.1f},{per[1]:.4f},{per[0]:.4f},{EVERY / per[0]:.2f}\n"
            with open(samples, "a") as stream:
                stream.write(line if stream.tell() else f"clips,rss_mib,cpu_s,wall_s,clips_per_s\n{line}")
            last[:] = now

    if shard == "1/1" and name == "steady":
        Store.write_shard = noted  # type: ignore[method-assign]
        if Store(given.work / name).exists():
            last[0] = 64 * len(Store(given.work / name).done())
    began, spent = time.perf_counter(), time.process_time()
    otoscope.extract(clips, encoder, out=given.work / name, shard=shard, progress=False)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - spent
    (given.work / f"{name}-{shard.split('/')[0]}.time").write_text(f"wall_s,cpu_s\n{wall_s},{cpu_s}\n")


def plan_one(given: argparse.Namespace, n: str) -> None:
    """Plan a table of `n` clips, and append what it took: CPU seconds, shards, memory beside the table's."""
    import otoscope
    from otoscope.activations.pipeline import Pipeline
    from otoscope.activations.plan import make_plan

    i = np.arange(int(n))
    clips = pd.DataFrame(
        {
            "clip_id": [f"{k:08d}" for k in i], "path": [f"/data/{k // 100:06d}.wav" for k in i],
            "start_s": i % 100 * 2.0, "stop_s": i % 100 * 2.0 + 1 + i % 7 / 7, "split": "train",
            "group": [f"g{k % 50}" for k in i],
        }
    )  # fmt: skip
    encoder = otoscope.load_encoder("otoscope-mini", device="cpu")
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the peak so far, of making the table, is none of the plan's
    before, began = rss_mib(), time.process_time()
    plan = make_plan(
        clips, encoder, layers="all", crop="full", pool="mean", dtype="float32", skip_unreadable=False
    )
    planned = time.process_time()
    Pipeline(plan, encoder, None, None, None, False)  # type: ignore[arg-type]
    ready = time.process_time()
    held, peak = rss_mib(), int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    with open(given.work / "planner.csv", "a") as stream:
        took = f"{planned - began:.3f},{ready - planned:.3f}"
        stream.write(f"{n},{took},{len(plan.shards)},{held - before:.0f},{peak - before:.0f}\n")


def recordings(given: argparse.Namespace) -> pd.DataFrame:
    """Return a table of clips, a recording each; noise is written where no folder is given."""
    import soundfile

    folder = given.folder or given.work / "wavs"
    if given.folder is None:
        folder.mkdir(exist_ok=True)
        noise = 0.1 * np.random.default_rng(0).standard_normal(given.clips + int(16_000 * CLIP_S))
        for k in range(given.clips):
            if not (folder / f"{k:06d}.wav").exists():
                soundfile.write(folder / f"{k:06d}.wav", noise[k : k + int(16_000 * CLIP_S)], 16_000)
    paths = sorted(folder.glob("*.wav"))[: given.clips]
    ids = [path.name for path in paths]
    stop_s = soundfile.info(paths[0]).duration
    return pd.DataFrame(
        {
            "clip_id": ids, "path": [str(path) for path in paths], "start_s": 0.0, "stop_s": stop_s,
            "split": "train", "group": ids,
        }
    )  # fmt: skip


def start(given: argparse.Namespace, part: str) -> subprocess.Popen:
    """Start a part in a process of one thread."""
    command = [
        sys.executable,
        __file__,
        part,
        "--work",
        given.work,
        "--clips",
        given.clips,
        "--encoder",
        given.encoder,
    ]
    command += ["--folder", given.folder] if given.folder else []
    return subprocess.Popen([str(each) for each in command], env=os.environ | {"OMP_NUM_THREADS": "1"})


def started(given: argparse.Namespace, part: str) -> None:
    """Run a part to its end."""
    if start(given, part).wait():
        sys.exit(f"{part} failed")


def children_cpu_s() -> float:
    """Return the CPU seconds of all processes that were started and have ended."""
    found = os.times()
    return found.children_user + found.children_system


def rss_mib() -> float:
    """Return the memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


if __name__ == "__main__":
    main()
