"""How fast activations are extracted: against the bare model, and against the published way. Prints Markdown tables.

    python benchmarks/extraction.py                       all tables
    python benchmarks/extraction.py overhead published    some of: overhead published stem precision probes paper
                                                          memory stream busy gpu
    python benchmarks/extraction.py published --clips 4   fewer clips, to see that it runs

Models are full-size and randomly initialised, saved to disk and loaded as a user would; sound is noise under a tone,
16 bit, 44.1 kHz. Contenders of a table run in one process, in turns; a number is the best of the rounds (what else the
machine does only ever slows one down), and ratios are of those.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers

import otoscope
from otoscope.audio import read_audio, write_audio
from otoscope.compute import cpu_count
from otoscope.encoders.precision import processor_features

RATE = 44_100
CROP_S = 5.0
VOCALSET = {"train": 970, "valid": 242, "test": 400}  # 1,612 clips; 20 % of the training files validate
PASSES_THERE = 24 * 100 + (52 + 48) * 120  # SAE runs x epochs + probes x epochs, each with the model

MODELS = {
    "hubert-base": ("HubertModel", transformers.HubertConfig, transformers.Wav2Vec2FeatureExtractor),
    "wavlm-base-plus": ("WavLMModel", transformers.WavLMConfig, transformers.Wav2Vec2FeatureExtractor),
    "mert-95m": (
        "HubertModel",
        transformers.HubertConfig,
        lambda: transformers.Wav2Vec2FeatureExtractor(sampling_rate=24_000),
    ),
    "ast": ("ASTModel", transformers.ASTConfig, transformers.ASTFeatureExtractor),
}


def main() -> None:
    """Print the tables asked for."""
    parts = {
        "overhead": overhead, "published": published, "stem": stem, "precision": precision, "probes": probes,
        "paper": paper, "memory": memory, "stream": stream, "busy": busy, "gpu": gpu,
    }  # fmt: skip
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="default: all")
    parser.add_argument("--clips", type=int, default=16, help="clips per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor seconds, not the clock: for a busy machine"
    )
    options = parser.parse_args()
    if options.cpu_time:
        in_turns.__kwdefaults__["clock"] = time.process_time
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="At least one mel filter")
    print(f"{machine()}\n")
    for part in options.parts or parts:
        print(f"### {part}\n\n{parts[part].__doc__.split('.')[0]}.\n")
        print(table(parts[part](options)), "\n", flush=True)


def overhead(options: argparse.Namespace) -> pd.DataFrame:
    """Whole extraction / a bare loop of the model on ready waveforms, all layers, every core busy in both."""
    rows = []
    for name in options.models:
        for precision in ("float32", "auto"):
            encoder = load(name, precision)
            clips = recordings(options.clips)
            ready = made_ready(encoder, clips)
            contenders: dict[str, Callable[[], None]] = {
                "bare": lambda encoder=encoder, ready=ready: bare_loop(encoder, ready, 8),
                "whole": lambda encoder=encoder, clips=clips: extracted(clips, encoder),
            }
            if precision == "float32":
                contenders["plain"] = lambda name=name, ready=ready: plain_loop(name, ready, 8)
            best = in_turns(contenders, options.rounds)
            rows.append(
                {
                    "model": name,
                    "precision": encoder.precision,
                    "transformers, s/clip": best["plain"] / options.clips if "plain" in best else None,
                    "bare, s/clip": best["bare"] / options.clips,
                    "extract, s/clip": best["whole"] / options.clips,
                    "ratio (<= 1.10)": best["whole"] / best["bare"],
                }
            )
    return pd.DataFrame(rows)


def published(options: argparse.Namespace) -> pd.DataFrame:
    """One clip at a time, every hidden state kept as a list, float32 / extract, decoding included in both."""
    rows = []
    aims = {"hubert-base": ("3", 1.7), "ast": ("all", 2.5), "wavlm-base-plus": ("all", None)}
    for name, (layers, aim) in aims.items():
        if name not in options.models:
            continue
        clips = recordings(options.clips)
        contenders: dict[str, Callable[[], None]] = {
            "published": lambda name=name, clips=clips: as_published(name, clips)
        }
        for precision in ("float32", "auto"):
            encoder = load(name, precision)
            way = precision if precision == encoder.precision else f"{precision} ({encoder.precision})"
            contenders[way] = lambda encoder=encoder, clips=clips, layers=layers: extracted(
                clips, encoder, layers
            )
        best = in_turns(contenders, options.rounds)
        for contender, seconds in best.items():
            rows.append(
                {
                    "model": name,
                    "layers": "all" if contender == "published" else layers,
                    "way": contender,
                    "s/clip": seconds / options.clips,
                    "x published": best["published"] / seconds,
                    "aim": aim if contender != "published" else None,
                }
            )
    return pd.DataFrame(rows)


def as_published(name: str, clips: pd.DataFrame) -> list[list[torch.Tensor]]:
    """Run transformers' model as the published code does, eval mode aside: without it there are fewer states."""
    model, extractor = plain(name)
    rate, states = extractor.sampling_rate, []
    for path in clips.path:
        waveform, _ = read_audio(path, sample_rate=rate, stop_s=CROP_S)
        inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
        with torch.no_grad():
            found = model(inputs["input_values"], output_hidden_states=True).hidden_states
        states.append([state.mean(dim=1) for state in found])
    return states


def stem(options: argparse.Namespace) -> pd.DataFrame:
    """HuBERT's convolutional stem on one 5 s clip, as it is and made faster."""
    model, _ = plain("hubert-base")
    waveform = torch.randn(1, round(CROP_S * 16_000))
    encoders = {precision: load("hubert-base", precision).module for precision in ("float32", "bfloat16")}
    contenders: dict[str, Callable[[], torch.Tensor]] = {
        "transformers": lambda: model.feature_extractor(waveform),
        "ours, float32": lambda: encoders["float32"].feature_extractor(waveform),
        "ours, bfloat16": lambda: encoders["bfloat16"].feature_extractor(waveform),
        "whole model": lambda: model(waveform),
    }
    try:
        compiled = torch.compile(model.feature_extractor)
        with torch.no_grad():
            compiled(waveform)
        contenders["torch.compile, float32"] = lambda: compiled(waveform)
    except Exception as error:  # no compiler on this machine, or one that torch cannot use
        print(f"(torch.compile cannot be had here: {type(error).__name__})\n")
    with torch.no_grad():
        best = in_turns(contenders, max(options.rounds, 5))
    whole = best["whole model"]
    return pd.DataFrame(
        [
            {"stem": k, "ms": 1000 * v, "% of the model": 100 * v / whole, "x": best["transformers"] / v}
            for k, v in best.items()
        ]
    )


def precision(options: argparse.Namespace) -> pd.DataFrame:
    """What each precision costs and how far it moves the states of a random model, one clip of 5 s, all layers."""
    rows = []
    for name in options.models:
        exact, found = None, {}
        for precision in ("float32", "bfloat16"):
            encoder = load(name, precision)
            sound = np.stack(
                [read_audio(p, sample_rate=encoder.sample_rate, stop_s=CROP_S)[0] for p in recordings(1).path]
            )
            best = in_turns(
                {"run": lambda encoder=encoder, sound=sound: encoder.hidden_states(sound)}, options.rounds
            )
            found = encoder.hidden_states(sound)
            exact = exact or found
            errors = {k: float((found[k] - exact[k]).norm() / exact[k].norm()) for k in found}
            pooled = {
                k: float((found[k].mean(1) - exact[k].mean(1)).norm() / exact[k].mean(1).norm())
                for k in found
            }
            rows.append(
                {
                    "model": name,
                    "precision": precision,
                    "s": best["run"],
                    "relative error, layer 0": errors[0],
                    "layer 6": errors[6],
                    "layer 12": errors[12],
                    "layer 12, pooled": pooled[12],
                }
            )
    return pd.DataFrame(rows)


def probes(options: argparse.Namespace) -> pd.DataFrame:
    """Probe accuracy of the built-in model on synthsing's ten techniques, unseen singers, by what it computes in."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clips = otoscope.load_clips("synthsing", root=f"{folder}/synthsing")
        test = (clips.split == "test").to_numpy()
        for precision in ("float32", "bfloat16"):
            encoder = otoscope.load_encoder("otoscope-mini", device="cpu", precision=precision)
            store = otoscope.extract(clips, encoder, out=f"{folder}/{precision}", progress=False)
            row: dict[str, object] = {"precision": precision}
            for layer in store.layers:
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
                x, y = store.layer(layer), clips.technique.to_numpy()
                row[f"layer {layer}"] = probe.fit(x[~test], y[~test]).score(x[test], y[test])
            rows.append(row)
    return pd.DataFrame(rows)


def paper(options: argparse.Namespace) -> pd.DataFrame:
    """The `paper` protocol's extraction for VocalSet: measured on some clips, extrapolated to 1,612; float32."""
    passes = VOCALSET["train"] * 8 + VOCALSET["valid"] + 2 * VOCALSET["test"]
    rows = []
    for name in options.models:
        encoder = load(name, "float32")
        clips = recordings(
            options.clips, 2 * CROP_S
        )  # longer than a crop: the same crop twice is computed once
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            store = otoscope.extract(
                clips, encoder, out=folder, crop="random:2x5,pad", pool="paper", progress=False
            )
            seconds, n_crops = time.perf_counter() - began, len(store)
        rows.append(
            {
                "model": name,
                "crops measured": n_crops,
                "s/crop": seconds / n_crops,
                "passes": passes,
                "hours": seconds / n_crops * passes / 3600,
                "passes there": sum(VOCALSET.values()) * PASSES_THERE // 4,
            }
        )
    total = {"model": "all four", "passes": 4 * passes, "hours": sum(float(row["hours"]) for row in rows)}
    return pd.DataFrame([*rows, total | {"passes there": sum(VOCALSET.values()) * PASSES_THERE}])


def memory(options: argparse.Namespace) -> pd.DataFrame:
    """Peak memory of extracting 200 and 2,000 clips with the built-in model, each in a process of its own."""
    return in_processes("memory", [[200], [2000]])


def stream(options: argparse.Namespace) -> pd.DataFrame:
    """Shuffled batches of a framewise store larger than the memory given to the process, two epochs."""
    return in_processes("stream", [[]])


def busy(options: argparse.Namespace) -> pd.DataFrame:
    """Processor time on a busy machine, where cores share operations: torch's own waiting, and ours."""
    tables = []
    for way, spins in (("torch's", "300000"), ("ours", "10000")):
        runs = [[options.clips, 0], [options.clips, max(cpu_count() - 1, 1)]]
        tables.append(in_processes("busy", runs, GOMP_SPINCOUNT=spins).assign(waiting=way))
    return pd.concat(tables)


def gpu(options: argparse.Namespace) -> pd.DataFrame:
    """Clips per second on a GPU, fused attention, beside the CPU and beside a bare loop on ready waveforms."""
    if not torch.cuda.is_available():
        return pd.DataFrame({"note": ["no GPU here"]})
    rows = []
    for name in options.models:
        for device, precision in (("cuda", "bfloat16"), ("cuda", "float32"), ("cpu", "auto")):
            encoder = load(name, precision, device)
            clips = recordings(options.clips * (16 if device == "cuda" else 1))
            ready = made_ready(encoder, clips)
            best = in_turns(
                {
                    "bare": lambda encoder=encoder, ready=ready: bare_loop(
                        encoder, ready, 120 if encoder.device.type == "cuda" else 8
                    ),
                    "whole": lambda encoder=encoder, clips=clips: extracted(clips, encoder),
                },
                options.rounds,
            )
            rows.append(
                {
                    "model": name,
                    "device": device,
                    "precision": encoder.precision,
                    "bare, clips/s": len(clips) / best["bare"],
                    "extract, clips/s": len(clips) / best["whole"],
                }
            )
    return pd.DataFrame(rows)


def made_ready(encoder: otoscope.Encoder, clips: pd.DataFrame) -> torch.Tensor:
    """Return the model's inputs for the clips."""
    rate = encoder.sample_rate
    waveforms = [read_audio(path, sample_rate=rate, stop_s=CROP_S)[0] for path in clips.path]
    return torch.stack([encoder.frontend(waveform) for waveform in waveforms])


def bare_loop(encoder: otoscope.Encoder, ready: torch.Tensor, batch_size: int) -> None:
    """Compute all layers of ready inputs and drop them."""
    for start in range(0, len(ready), batch_size):
        states = encoder.run(ready[start : start + batch_size], encoder.layers("all"))
    states[0].cpu()  # a GPU has finished


def plain_loop(name: str, ready: torch.Tensor, batch_size: int) -> None:
    """Compute all hidden states of ready inputs with transformers' own model and drop them."""
    model, _ = plain(name)
    with torch.no_grad():
        for start in range(0, len(ready), batch_size):
            model(ready[start : start + batch_size], output_hidden_states=True)


def extracted(clips: pd.DataFrame, encoder: otoscope.Encoder, layers: str = "all") -> None:
    """Extract into a store that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        otoscope.extract(clips, encoder, out=f"{folder}/store", layers=layers, progress=False)


def in_processes(part: str, runs: list[list[int]], **settings: str) -> pd.DataFrame:
    """Run ``extraction_processes.py`` once per list of arguments; it prints one line of JSON each."""
    script = Path(__file__).with_name("extraction_processes.py")
    lines = []
    for arguments in runs:
        command = [sys.executable, str(script), part, *map(str, arguments)]
        lines.append(
            subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | settings)
            .stdout.strip()
            .splitlines()[-1]
        )
    return pd.DataFrame([json.loads(line) for line in lines])


def in_turns(
    contenders: dict[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the best time of each, in seconds, after one round to warm up."""
    best = dict.fromkeys(contenders, np.inf)
    for i in range(rounds + 1):
        for name, run in contenders.items():
            began = clock()
            run()
            if i:
                best[name] = min(best[name], clock() - began)
    return best


@cache
def folder_of(name: str) -> str:
    """Save a full-size random model, once."""
    class_name, config, extractor = MODELS[name]
    folder = Path(tempfile.mkdtemp(prefix="otoscope-bench-")) / name
    torch.manual_seed(0)
    getattr(transformers, class_name)(config()).save_pretrained(folder)
    extractor().save_pretrained(folder)
    return str(folder)


@cache
def load(name: str, precision: str, device: str = "cpu") -> otoscope.Encoder:
    """Load it as a user does."""
    return otoscope.load_encoder(folder_of(name), device=device, precision=precision)


@cache
def plain(name: str):
    """Load it as the published code does."""
    model = getattr(transformers, MODELS[name][0]).from_pretrained(folder_of(name)).eval()
    return model, transformers.AutoFeatureExtractor.from_pretrained(folder_of(name))


@cache
def recordings(count: int, duration_s: float = CROP_S) -> pd.DataFrame:
    """Write `count` recordings at 44.1 kHz and return them as clips."""
    folder = Path(tempfile.mkdtemp(prefix="otoscope-bench-"))
    rng = np.random.default_rng(0)
    time_s = np.arange(round(duration_s * RATE)) / RATE
    paths = []
    for i in range(count):
        sound = 0.3 * np.sin(2 * np.pi * (150 + 10 * (i % 60)) * time_s) + 0.05 * rng.standard_normal(
            len(time_s)
        )
        paths.append(folder / f"{i:05d}.wav")
        write_audio(paths[-1], sound, RATE)
    ids = [path.stem for path in paths]
    return pd.DataFrame(
        {
            "clip_id": ids,
            "path": map(str, paths),
            "start_s": 0.0,
            "stop_s": duration_s,
            "split": "train",
            "group": ids,
        }
    )


def machine() -> str:
    """Describe where this runs."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    features = ", ".join(processor_features(torch.device("cpu"))) or "no bfloat16"
    return (
        f"{capabilities.get('cpu_name', platform.processor())}, {cpu_count()} cores, {torch.get_num_threads()} threads "
        f"({features}); Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, otoscope {otoscope.__version__}"
    )


def table(frame: pd.DataFrame) -> str:
    """Return a frame as a Markdown table."""
    text = [[_text(value) for value in row] for row in frame.itertuples(index=False)]
    lines = [list(frame.columns), ["---"] * len(frame.columns), *text]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


if __name__ == "__main__":
    main()
