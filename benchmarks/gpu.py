"""Whether a GPU gives the CPU's numbers, and how fast it then is. Prints and writes a Markdown table; under 5 minutes.

    python benchmarks/gpu.py                         on the first GPU; writes benchmarks/gpu.md
    python benchmarks/gpu.py --device cpu --quick    to see that it runs: a few small steps

First correctness, then speed; it stops where a number is wrong. Beside torch, numpy and transformers it needs what
importing Otoscope's encoders, activations and autoencoders needs: pandas, pyarrow, zarr, soundfile, soxr, safetensors,
pydantic, rich and numba. It needs no network: models are full-size, random, saved to disk and loaded as a user would.

Correctness
    Every hidden state of every family in float32 and bfloat16 against the CPU's in float32, as the largest error over
    the largest state of a layer; and 48 autoencoders (8 layers, 6 sparsities) after 1, 10 and 31 steps against the
    CPU's: their weights in float64, their errors in float32 and bf16.
Speed
    Clips per second of a whole extraction, decoding and writing included, beside a bare loop of transformers' model
    with fused attention on waveforms that are there; and the bank of 48 beside plain autoencoders one by one, and its
    necessary products as a share of the measured peak.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from extraction import MODELS, extracted, folder_of, in_turns, load, machine, made_ready, recordings, table
from saes import N_LATENTS, WIDTH, activations, cycle, peak_multiply, timed
from saes_contenders import plain_step

from otoscope.saes import TopKConfig, train_saes
from otoscope.saes.training.options import AS_PUBLISHED

TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of a state, as a share of the largest of its layer. TF32 and fused kernels move float32 by about 1e-4."""
BANK_TOLERANCES = {"float64": 1e-6, "float32": 1e-3, "bf16": 2e-2}
"""Of a weight, as a share of the largest of its kind (float64), or of the error."""
SPARSITIES = (0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
ROWS, BATCH = 970, 32


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--quick", action="store_true", help="few clips, layers and steps; nothing is written"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here; --device cpu --quick shows that the script runs")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="At least one mel filter")
    where = (
        torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    )
    text = [f"# On {where}\n\n{machine()}\n"]
    for name, part in (
        ("States against the CPU's", states),
        ("48 autoencoders against the CPU's", bank_steps),
        ("Clips per second", speed),
        ("48 autoencoders", bank_speed),
    ):
        found = pd.DataFrame(part(options.device, options.quick))
        text.append(f"## {name}\n\n{table(found)}\n")
        print(text[-1], flush=True)
        if "holds" in found and not found.holds.all():
            raise SystemExit("the numbers of this device are not those of the CPU: no speed is measured")
    if not options.quick:
        options.out.write_text("\n".join(text))
        print(f"written to {options.out}")


def states(device: str, quick: bool) -> Iterator[dict]:
    """Compare every layer of every family."""
    for name in list(MODELS)[: 1 if quick else None]:
        clips = recordings(2)
        reference = load(name, "float32", "cpu")
        ready = made_ready(reference, clips)
        wanted = reference.run(ready, reference.layers("all"))
        for precision, tolerance in TOLERANCES.items():
            encoder = load(name, precision, device)
            found = encoder.run(made_ready(encoder, clips), encoder.layers("all"))
            errors = [
                float((found[layer].float().cpu() - state).abs().max() / state.abs().max())
                for layer, state in wanted.items()
            ]
            yield {
                "model": name,
                "precision": precision,
                "layers": len(errors),
                "largest error": max(errors),
                "allowed": tolerance,
                "holds": max(errors) <= tolerance,
            }


def bank_steps(device: str, quick: bool) -> Iterator[dict]:
    """Compare banks after some steps: weights in float64, where rounding turns no step of Adam's round; else errors."""
    for precision, allowed in BANK_TOLERANCES.items():
        for n_steps in (1,) if quick else (1, 10, 31):
            data = rows(2 if quick else 8, n_steps * BATCH)
            cpu, there = (
                train_saes(data, configs(), epochs=1, device=place, precision=precision, **ALIKE)
                for place in ("cpu", device)
            )
            if precision == "float64":
                found = [
                    float((b.detach().cpu() - a.detach()).abs().max() / a.detach().abs().max())
                    for ours, theirs in zip(cpu, there)
                    for a, b in zip(ours.parameters(), theirs.parameters())
                ]
            else:
                mse = [[sae.history.train_mse.iloc[-1] for sae in saes] for saes in (cpu, there)]
                found = [abs(b / a - 1) for a, b in zip(*mse)]
            yield {
                "autoencoders": len(cpu),
                "precision": precision,
                "steps": n_steps,
                "compared": "weights" if precision == "float64" else "mean squared error",
                "largest difference": max(found),
                "allowed": allowed,
                "holds": max(found) <= allowed,
            }


def speed(device: str, quick: bool) -> Iterator[dict]:
    """Time whole extractions beside a bare loop."""
    n_clips, batch = (2, 2) if quick else (256, 64)
    for name in list(MODELS)[: 1 if quick else None]:
        clips = recordings(n_clips)
        for precision in ("float32", "bfloat16"):
            encoder = load(name, precision, device)
            ready = made_ready(encoder, clips)
            model = getattr(transformers, MODELS[name][0]).from_pretrained(
                folder_of(name), dtype=getattr(torch, precision), attn_implementation=fused(name)
            )
            model = model.eval().to(device)

            def bare(model=model, ready=ready, device=device) -> None:
                with torch.no_grad():
                    for start in range(0, len(ready), batch):
                        found = model(
                            ready[start : start + batch].to(device, model.dtype), output_hidden_states=True
                        )
                found.last_hidden_state[0, 0].float().cpu()  # what was asked for is done

            best = in_turns(
                {"bare": bare, "whole": lambda encoder=encoder, clips=clips: extracted(clips, encoder)},
                1 if quick else 2,
            )
            yield {
                "model": name,
                "precision": precision,
                "bare, clips/s": n_clips / best["bare"],
                "extract, clips/s": n_clips / best["whole"],
                "extract / bare": best["whole"] / best["bare"],
            }


def bank_speed(device: str, quick: bool) -> Iterator[dict]:
    """Time the bank beside plain autoencoders one by one, a few steps of each sparsity."""
    n_layers, epochs = (2, 1) if quick else (8, 4)
    data = rows(n_layers, ROWS)
    train_saes({0: data[0]}, configs()[:1], epochs=1, device=device, **ALIKE)  # warm up
    ours, _ = timed(lambda: train_saes(data, configs(), epochs=epochs, device=device, **ALIKE))
    steps_in_all = len(data) * len(SPARSITIES) * epochs * -(-ROWS // BATCH)
    n_steps, one_by_one = 3 if quick else 31, 0.0
    for config in configs():
        step, _ = plain_step(WIDTH, N_LATENTS, config.active, device)
        batches = cycle(torch.from_numpy(data[0]).to(device), BATCH)
        step(next(batches)).item()
        seconds, _ = timed(lambda step=step, b=batches: [step(next(b)) for _ in range(n_steps)][-1].item())
        one_by_one += seconds / n_steps / len(SPARSITIES)
    useful = np.mean([2 * BATCH * WIDTH * N_LATENTS * (1 + 4 * c.active / N_LATENTS) for c in configs()])
    yield {
        "autoencoders": n_layers * len(SPARSITIES),
        "plain, one by one, steps/s": 1 / one_by_one,
        "bank, steps/s": steps_in_all / ours,
        "bank / plain (aim 10)": steps_in_all / ours * one_by_one,
        "share of the measured float32 peak": useful * steps_in_all / ours / peak_multiply(device),
    }


ALIKE = {"progress": False, **AS_PUBLISHED}
"""The plain loop's work, and no more."""


def rows(n_layers: int, n_rows: int) -> dict[int, np.ndarray]:
    """Return rows of some layers."""
    return {layer: activations(n_rows, seed=layer).numpy() for layer in range(n_layers)}


def configs() -> list[TopKConfig]:
    """Return the paper's."""
    return [TopKConfig(n_latents=N_LATENTS, sparsity=sparsity) for sparsity in SPARSITIES]


def fused(name: str) -> str:
    """Return which attention a bare loop takes: the fused one, which WavLM's gated bias does not have."""
    return "eager" if name.startswith("wavlm") else "sdpa"


if __name__ == "__main__":
    main()
