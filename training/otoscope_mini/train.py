"""Pretrain `otoscope-mini`: masked prediction of acoustic units of synthetic singing, as HuBERT does it.

    python training/otoscope_mini/train.py --out DIR [--resume] [--stop-after STEPS] [--threads N] [--n-singers 160 ...]

DIR gets the corpus, the units, a checkpoint, `log.jsonl`, and at the end `model/`: what the package holds. A run that
was stopped goes on from its checkpoint with `--resume`; what is random is seeded by its step, so that with the same
number of threads it ends with the same weights.
"""

import argparse
import json
import math
import multiprocessing
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from check import ProbeSet, probe_layers, probe_set
from corpus import Corpus, draw_batch, make_corpus
from export import export_model
from model import MaskedPredictor, draw_mask
from optimiser import optimisers
from settings import Settings
from targets import SAMPLE_RATE, acoustic_views, cluster, phrase_view


@dataclass(frozen=True)
class Progress:
    """How far a run is; part of the checkpoint."""

    stage: int = 0
    step: int = 0
    """Steps done of this stage."""
    train_s: float = 0.0
    """Time spent in optimiser steps, all calls together."""
    audio_s: float = 0.0
    """Audio in all batches so far."""


def main(options: list[str] | None = None) -> None:
    """Run the whole recipe; `options` as on the command line."""
    arguments, settings = _arguments(options)
    out: Path = arguments.out
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists() and not arguments.resume:
        raise SystemExit(f"{out} holds a run; go on with --resume, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    _keep_settings(out / "settings.json", settings)
    torch.set_num_threads(arguments.threads)
    corpus = make_corpus(out / "corpus", settings, processes=arguments.threads)
    print(f"corpus: {len(corpus)} clips, {corpus.duration_s / 3600:.2f} h", flush=True)
    probes = probe_set(settings.probe_singers, sides=("train", "valid")) if settings.check_every else None

    kept = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    progress = Progress(**kept["progress"]) if kept else Progress()
    stop_after, model = arguments.stop_after, None
    while True:
        units = _units(out, corpus, settings, progress.stage, arguments.threads)
        model = _next_model(settings, units, model, progress.stage)
        before = progress.step
        progress = _train(model, corpus, units, settings, progress, out, kept, stop_after, probes)
        stop_after -= progress.step - before
        if progress.step < settings.steps[progress.stage]:
            print("stopped; go on with --resume", flush=True)
            return
        if progress.stage + 1 == len(settings.steps):
            break
        kept, progress = None, replace(progress, stage=progress.stage + 1, step=0)
    export_model(out)


def _train(
    model: MaskedPredictor,
    corpus: Corpus,
    units: dict[str, np.ndarray],
    settings: Settings,
    progress: Progress,
    out: Path,
    kept: dict | None,
    stop_after: float,
    probes: ProbeSet | None,
) -> Progress:
    """One stage, from where `kept` left it to its end or by `stop_after` steps."""
    both = optimisers(
        model,
        lr=settings.learning_rate,
        matrix_lr=settings.matrix_learning_rate,
        weight_decay=settings.weight_decay,
    )
    peaks = [optimiser.defaults["lr"] for optimiser in both]
    if kept:
        model.load_state_dict(kept["model"])
        for optimiser, state in zip(both, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)
    model.train()
    last = settings.steps[progress.stage]
    stop = min(last, progress.step + stop_after)
    before = sum(settings.steps[: progress.stage])
    recent: list[dict[str, float]] = []
    while progress.step < stop:
        start_s = time.perf_counter()
        for optimiser, peak in zip(both, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * _schedule(
                before + progress.step, sum(settings.steps), settings.warmup_share
            )
        rng = np.random.default_rng((settings.seed, progress.stage, progress.step))
        measured, audio_s = _step(model, both, corpus, units, settings, rng)
        step_s = time.perf_counter() - start_s
        progress = replace(
            progress,
            step=progress.step + 1,
            train_s=progress.train_s + step_s,
            audio_s=progress.audio_s + audio_s,
        )
        recent.append({**measured, "audio_s_per_s": audio_s / step_s})
        if progress.step % settings.log_every == 0 or progress.step == stop:
            means = {name: float(np.mean([row[name] for row in recent])) for name in recent[0]}
            _log(out, progress, means)
            recent = []
        if progress.step % settings.checkpoint_every == 0 or progress.step == stop:
            _save(out / "checkpoint.pt", model, both, progress)
        if probes and (progress.step % settings.check_every == 0 or progress.step == last):
            scores = probe_layers(model.hubert, probes, side="valid").round(3)
            _log(out, progress, {f"valid_{name}": scores[name].tolist() for name in ("accuracy", "f0_r2_cv")})
    return progress


def _step(
    model: MaskedPredictor,
    both: list[torch.optim.Optimizer],
    corpus: Corpus,
    units: dict[str, np.ndarray],
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[dict[str, float], float]:
    waveforms, targets = draw_batch(corpus, units, settings, rng)
    n_crops, frames = next(iter(targets.values())).shape
    masked = draw_mask(rng, n_crops, frames, share=settings.mask_share, span=settings.mask_span)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bfloat16):
        loss, accuracies = model(
            torch.from_numpy(waveforms),
            torch.from_numpy(masked),
            {name: torch.from_numpy(array) for name, array in targets.items()},
        )
    model.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    for optimiser in both:
        optimiser.step()
    measured = {"loss": loss.item(), **accuracies, "gradient_norm": norm.item()}
    return measured, waveforms.size / SAMPLE_RATE


def _schedule(step: int, last: int, warmup_share: float) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    warmup = max(1, round(warmup_share * last))
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, last - warmup)))


def _units(
    out: Path, corpus: Corpus, settings: Settings, stage: int, processes: int
) -> dict[str, np.ndarray]:
    """The units of all frames that a stage predicts: those of the stages before, and its own, made if need be."""
    units = _units(out, corpus, settings, stage - 1, processes) if stage else {}
    path = out / f"units_{stage + 1}.npz"
    if not path.exists():
        start_s = time.perf_counter()
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            views = pool.map(phrase_view if stage else acoustic_views, corpus, chunksize=16)
        made = {
            name: cluster(
                [view[name] for view in views],
                n_units=getattr(settings, f"{name}_units"),
                fit_frames=settings.fit_frames,
                seed=settings.seed,
            )
            for name in views[0]
        }
        partial = out / "partial.npz"
        np.savez(partial, **made)
        partial.rename(path)
        print(f"{', '.join(made)} units: {time.perf_counter() - start_s:.0f} s", flush=True)
    return {**units, **np.load(path)}


def _next_model(
    settings: Settings, units: dict[str, np.ndarray], before: MaskedPredictor | None, stage: int
) -> MaskedPredictor:
    """A model that goes on from the stage before, with heads for the units that are new."""
    torch.manual_seed(settings.seed + stage)
    counts = {name: np.bincount(u) + 1 for name, u in units.items()}
    model = MaskedPredictor(settings, {name: count / count.sum() for name, count in counts.items()})
    if before is not None:
        model.load_state_dict(before.state_dict(), strict=False)
    return model


def _save(path: Path, model: MaskedPredictor, both: list[torch.optim.Optimizer], progress: Progress) -> None:
    partial = path.with_suffix(".partial")
    states = [optimiser.state_dict() for optimiser in both]
    torch.save({"model": model.state_dict(), "optimisers": states, "progress": asdict(progress)}, partial)
    partial.rename(path)


def _log(out: Path, progress: Progress, measured: dict) -> None:
    row = {**asdict(progress), **measured}
    row = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def _keep_settings(path: Path, settings: Settings) -> None:
    """Write the settings at the first call, and refuse to go on with others."""
    text = json.dumps(asdict(settings), indent=2) + "\n"
    if not path.exists():
        path.write_text(text)
    elif path.read_text() != text:
        raise SystemExit(
            f"{path} says other settings than this call; go on with those, or name another folder"
        )


def _arguments(options: list[str] | None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--threads", type=int, default=2, help="one is best on a machine shared with others")
    parser.add_argument(
        "--stop-after", type=int, default=math.inf, metavar="STEPS", help="steps of this call"
    )
    for field in fields(Settings):
        default = field.default
        many = isinstance(default, tuple)
        kind = type(default[0]) if many else type(default)
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=(lambda text: text.lower() in ("1", "true", "yes")) if kind is bool else kind,
            nargs="+" if many else None,
            default=default,
        )
    arguments = parser.parse_args(options)
    chosen = {field.name: getattr(arguments, field.name) for field in fields(Settings)}
    return arguments, Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in chosen.items()})


if __name__ == "__main__":
    main()
