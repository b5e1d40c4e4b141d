"""What a whole run on frames takes of memory when the store of frames is larger than what may be read whole (4 GB).

    python benchmarks/frames_memory.py DIR [--clips 400]

Makes noise (clips of 30 s at 16 kHz, three labels, a level each) and a run from the sound to claims and latents in a
process of its own, on a random convolution that is 2,048 wide (a large model's width at little cost: what is asked is
what comes after it); prints a line of JSON: bytes of the frames' store, and the most memory that the process held. 400
clips are 600,000 frames, 4.9 GB of float32. Killed, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

SECONDS, RATE, WIDTH = 30, 16_000, 2048
SPEC = {
    "name": "wide",
    "dataset": {"name": "folder", "label": "level", "group": "speaker"},
    "factors": {"whole_clip": True},
    "probing": {"few_latents": []},
    "saes": {"rows": "frames", "n_latents": 256, "sparsities": [0.95], "seeds": [0], "epochs": 1},
    "disentanglement": {"nulls": ["untrained", "random"], "folds": 3, "infomec": "none", "frames": 1000},
    "latents": {"permutations": 20},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=400)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    worker = multiprocessing.get_context("spawn").Process(target=whole_run, args=(asked.folder, asked.clips))
    worker.start()
    worker.join()


def whole_run(folder: Path, n_clips: int) -> None:
    """Make what is missing, run, and print what it took."""
    import otoscope
    from otoscope.encoders import ENCODERS

    ENCODERS.add("wide", wide, "a random convolution, 2,048 wide")
    sounds = folder / "sounds"
    if not (sounds / "metadata.csv").exists():
        make_sounds(sounds, n_clips)
    spec = SPEC | {
        "dataset": SPEC["dataset"] | {"root": str(sounds)},
        "encoders": [{"name": "wide", "layers": [1]}],
        "factors": SPEC["factors"] | {"name": str(sounds / "factors.csv")},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    before = memory("VmRSS")
    run = otoscope.run(folder / "spec.yaml", out=folder / "run", say=lambda line: print(line, flush=True))
    stores = [sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
              for path in (run.root / "activations").iterdir()]  # fmt: skip
    found = {"clips": n_clips, "frames' store, GB": round(max(stores) / 1e9, 2)}
    found |= {"at the start, GB": round(before / 1e9, 2), "at most, GB": round(memory("VmHWM") / 1e9, 2)}
    print(json.dumps(found))


def memory(what: str) -> int:
    """Return bytes of this process, as Linux says (VmRSS: now, VmHWM: at most)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what + ":"))


def make_sounds(folder: Path, n_clips: int) -> None:
    """Write noise at three levels, and a table of it."""
    from otoscope.audio import write_audio

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n_clips):
        level = number % 3
        gain = 10 ** (-20 * (level + rng.uniform(0, 0.9)) / 20) * 0.2
        write_audio(
            folder / f"{number:04d}.wav", gain * rng.standard_normal(SECONDS * RATE).clip(-4, 4), RATE
        )
        rows.append(
            {
                "file_name": f"{number:04d}.wav",
                "level": f"level {level}",
                "speaker": f"s{number // 10}",
                "gain": gain,
            }
        )
    table = pd.DataFrame(rows)
    table[["file_name", "level", "speaker"]].to_csv(folder / "metadata.csv", index=False)
    clips = pd.DataFrame({"clip_id": table.file_name, "start_s": 0.0, "stop_s": float(SECONDS)})
    clips.assign(gain_db=20 * np.log10(table.gain), other=rng.standard_normal(n_clips)).to_csv(
        folder / "factors.csv", index=False
    )


def wide(*, device="cpu", precision="float32", revision=None):
    """Return an encoder of 20 ms frames: a random convolution, and a block that bends what it says."""
    import torch

    from otoscope.encoders import Encoder

    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv1d(1, WIDTH, 400, stride=320)
            self.blocks = torch.nn.ModuleList([torch.nn.Tanh()])

        def forward(self, waveforms):
            return self.blocks[0](10 * self.stem(waveforms[:, None]).transpose(1, 2))

    torch.manual_seed(0)
    options = {
        "sample_rate": RATE,
        "min_samples": 400,
        "name": "wide",
        "device": "cpu",
        "frame_rate_hz": RATE / 320,
    }
    return Encoder.from_module(Wide(), blocks="blocks.*", **options)


if __name__ == "__main__":
    main()
