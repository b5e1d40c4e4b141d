"""What an edit costs: CPU time of an edited pass over that of a plain one, run to the end, in turns.

Run ``python benchmarks/interventions_cost.py [--whisper FOLDER]``; under a minute on a quiet core. A random model of
HuBERT-base's shape (12 blocks of 768) hears clips of 5 s, layer 6 edited through a TopK dictionary of 2,048 latents,
k 102, ten of them ablated; Whisper tiny.en hears its 30 s window with layer 2 edited through 1,024 latents. CPU time of
the process, one thread, so that what else runs on the machine counts for little. Writes ``interventions/cost.csv``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

import otoscope as oto
from otoscope.encoders import Encoder
from otoscope.interventions import ablate, editing, through
from otoscope.saes import build_sae, make_config


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whisper", type=Path, help="Folder of Whisper tiny.en.")
    parser.add_argument("--work", type=Path, default=Path("interventions-work"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "interventions" / "cost.csv")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure("HuBERT-base's shape, random", hubert(options.work), 6, 5.0, 2048, options.rounds)]
    if options.whisper:
        whisper = oto.load_encoder(options.whisper, device="cpu")
        rows.append(measure("Whisper tiny.en's encoder", whisper, 2, 30.0, 1024, options.rounds))
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False, float_format="%.4g")
    print(table.to_string(index=False))


def hubert(work: Path) -> Encoder:
    """Return a random HuBERT of the base model's shape."""
    folder = work / "hubert-shape"
    if not (folder / "preprocessor_config.json").exists():
        torch.manual_seed(0)
        HubertModel(HubertConfig()).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return oto.load_encoder(folder, device="cpu")


def measure(
    name: str, encoder: Encoder, layer: int, duration_s: float, n_latents: int, rounds: int
) -> dict[str, object]:
    """Return the ratio of edited over plain, each round's measured right after one another."""
    clip = (
        np.random.default_rng(0)
        .normal(0, 0.1, (1, round(duration_s * encoder.sample_rate)))
        .astype(np.float32)
    )
    width = encoder.widths[layer]
    sae = build_sae(make_config("topk", n_latents=n_latents, sparsity=0.95), width, seed=0).eval()
    last = encoder.n_layers
    edit = {layer: through(sae, ablate(range(10)))}

    def plain() -> None:
        encoder.hidden_states(clip, [last])

    def edited() -> None:
        with editing(encoder, edit), torch.no_grad():
            encoder.hidden_states(clip, [last])

    plain()
    edited()
    pairs = [(cpu_s(plain), cpu_s(edited)) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in pairs)
    return {
        "model": name,
        "layer": layer,
        "of": last,
        "latents": n_latents,
        "clip_s": duration_s,
        "plain_cpu_s": float(np.median([a for a, _ in pairs])),
        "ratio": float(np.median(ratios)),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "rounds": rounds,
    }


def cpu_s(run: Callable[[], None]) -> float:
    """Return the CPU seconds of this process that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
