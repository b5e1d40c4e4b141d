"""A latents folder written from the contract alone: tones of known bands, and clicks at known seconds.

Each latent but the first hears one band of the spectrum; latent 0 hears clicks. What fires when is therefore known
without any model, and every table is worked out here, apart from the package.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

RATE = 16_000
STEP_S = 0.02
SECONDS = 2.0
MARKUP = '<img src=x onerror="document.title=1">'
VOWELS = {"a": (800, 1200), "e": (450, 2000), "i": (300, 2500), MARKUP: (350, 800)}
LICENCE = "CC BY 4.0"


def click_s(clip: int) -> float:
    """Where clip number `clip` clicks, in seconds; every second clip does."""
    return round(0.31 + 0.13 * (clip % 10), 3)


def write_clips(folder: Path, *, n_clips: int = 16, n_groups: int = 4, seed: int = 0) -> pd.DataFrame:
    """Write tones with formants as wav files; return the clips table with the labels vowel and singer, and f0_hz."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for clip in range(n_clips):
        vowel = list(VOWELS)[clip % len(VOWELS)]
        group = f"singer-{clip % n_groups + 1}"
        f0 = float(110 * 2 ** (rng.uniform(0, 2) + 0.3 * (clip % n_groups)))
        wave = tone(f0, VOWELS[vowel], rng)
        if clip % 2:
            at = round(click_s(clip) * RATE)
            wave[at : at + 24] += 0.9 * (-1.0) ** np.arange(24)
        path = folder / f"{group} {clip:02d}.wav"
        soundfile.write(path, np.clip(wave, -1, 1), RATE)
        rows.append(
            [
                f"clip-{clip:02d}",
                str(path),
                0.0,
                SECONDS,
                "test" if group[-1] == "4" else "train",
                group,
                vowel,
                f0,
            ]
        )
    columns = ["clip_id", "path", "start_s", "stop_s", "split", "group", "vowel", "f0_hz"]
    return pd.DataFrame(rows, columns=columns)


def tone(f0: float, formants: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a glide of harmonics, swelling and fading, with a breath of noise."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    pitch = f0 * (1 + 0.02 * np.sin(2 * np.pi * 5.5 * time) + rng.uniform(-0.2, 0.3) * time / SECONDS)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = np.zeros_like(time)
    for harmonic in range(1, int(6000 / f0) + 1):
        at = harmonic * f0
        gain = sum(np.exp(-(((at - formant) / 220) ** 2)) for formant in formants) + 0.04
        wave += gain * np.sin(harmonic * phase) / harmonic**0.4
    swell = np.interp(time, [0, 0.15, 0.5 + rng.uniform(0, 0.6), 1.75, SECONDS], [0, 0.7, 1, 0.6, 0])
    wave = 0.3 * swell * wave / np.abs(wave).max()
    return wave + 0.002 * rng.standard_normal(len(time))


def codes_of(clips: pd.DataFrame, n_latents: int) -> np.ndarray:
    """Return what each latent says of each frame [clips, frames, latents]."""
    found = []
    for path in clips.path:
        wave, _ = soundfile.read(path)
        hop = round(STEP_S * RATE)
        frames = wave.reshape(-1, hop) * np.hanning(hop)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
        edges = np.geomspace(2, hop // 2 + 1, n_latents + 1).astype(int)
        bands = np.stack(
            [power[:, low : max(high, low + 1)].mean(axis=1) for low, high in itertools.pairwise(edges)],
            axis=1,
        )
        code = np.maximum(np.log10(bands + 1e-6) - np.linspace(-1.2, -2.4, n_latents), 0)
        sharp = np.diff(wave, 4, append=[0.0] * 4).reshape(
            -1, hop
        )  # only a click alternates from sample to sample
        code[:, 0] = np.maximum(np.log10((sharp**2).mean(axis=1) + 1e-9) + 0.5, 0)
        found.append(code)
    return np.stack(found)


def write_latents(
    folder: Path,
    clips: pd.DataFrame,
    *,
    n_latents: int = 40,
    layer: int = 3,
    sparsity: float = 0.9,
    framewise: bool = True,
    seed: int = 0,
) -> Path:
    """Write all tables of the contract for `clips`; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    codes = codes_of(clips, n_latents)
    peaks, means = codes.max(axis=1), codes.mean(axis=1)
    if not framewise:
        codes = means[:, None, :]
        peaks = means
    examples = _examples(clips, codes, peaks, means, framewise)
    labels, factors = _labels(clips, peaks), _factors(clips, peaks)
    tables = {
        "latents": _latents(codes, labels, factors, seed),
        "examples": examples,
        "labels": labels,
        "factors": factors,
        "neighbours": _neighbours(codes),
        "clips": clips,
        "activity": _activity(clips, codes, peaks, means),
        "curves": _curves(clips, codes, peaks, examples) if framewise else _no_curves(),
        "judged": pd.DataFrame(
            {
                "latent": [0],
                "n_hits": [10],
                "n_holding": [12],
                "n_false": [3],
                "n_rows": [120],
                "n_groups": [2],
            }
        ),
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    about = {
        "encoder": "otoscope-mini",
        "layer": layer,
        "sae": {
            "folder": f"saes/otoscope-mini/layer_{layer:02d}/topk-{n_latents}-s{sparsity:g}-seed0",
            "kind": "topk",
            "n_latents": n_latents,
            "k": round(n_latents * (1 - sparsity)),
            "sparsity": sparsity,
            "seed": 0,
        },
        "rows": "frames" if framewise else "clips",
        "frame_step_s": STEP_S if framewise else None,
        "dataset": "tones & clicks",
        "licence": LICENCE,
        "n_rows": int(codes.shape[0] * codes.shape[1]),
        "n_clips": len(clips),
        "health": "healthy",
        "labels": ["vowel"],
        "groups": "group",
        "n_tested": n_latents,
        "versions": {"otoscope": "0"},
    }
    (folder / "about.json").write_text(json.dumps(about))
    return folder


def _examples(
    clips: pd.DataFrame, codes: np.ndarray, peaks: np.ndarray, means: np.ndarray, framewise: bool
) -> pd.DataFrame:
    rows = []
    for latent in range(codes.shape[2]):
        order = np.argsort(-peaks[:, latent], kind="stable")
        on = order[peaks[order, latent] > 0]
        if not len(on):
            continue
        picks = {"top": on[:4]}
        picks |= {f"q{q}": on[[round((1 - q / 100) * (len(on) - 1))]] for q in (75, 50, 25)}
        picks["control"] = order[len(on) :][:2]
        for kind, chosen in picks.items():
            for rank, clip in enumerate(chosen):
                at = float(codes[clip, :, latent].argmax() + 0.5) * STEP_S if framewise else np.nan
                rows.append(
                    [latent, kind, rank, clips.clip_id[clip], peaks[clip, latent], means[clip, latent], at]
                )
    return pd.DataFrame(rows, columns=["latent", "kind", "rank", "clip_id", "value", "mean", "peak_s"])


def _labels(clips: pd.DataFrame, peaks: np.ndarray) -> pd.DataFrame:
    rows = []
    for latent in range(peaks.shape[1]):
        for column in ("vowel", "group"):
            for value in sorted(set(clips[column])):
                auc = area(peaks[:, latent], (clips[column] == value).to_numpy())
                p = float(np.clip(2 * (1 - auc) ** 2, 1e-4, 1))
                rows.append([latent, column, value, auc, 0.71, p, min(1.0, 4 * p)])
    columns = ["latent", "column", "value", "auc", "null95", "p", "p_corrected"]
    return pd.DataFrame(rows, columns=columns)


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a positive is above a negative, ties half."""
    above = (scores[positive][:, None] > scores[~positive]).mean()
    return float(above + 0.5 * (scores[positive][:, None] == scores[~positive]).mean())


def _factors(clips: pd.DataFrame, peaks: np.ndarray) -> pd.DataFrame:
    known = {
        "f0": ("pitch", "Hz", clips.f0_hz),
        "group number": ("loudness", "", clips.group.str[-1].astype(float)),
    }
    rows = []
    for latent in range(peaks.shape[1]):
        for name, (family, unit, values) in known.items():
            rho = (
                float(pd.Series(peaks[:, latent]).corr(values, method="spearman"))
                if peaks[:, latent].any()
                else 0.0
            )
            rows.append([latent, name, family, unit, rho, 0.35, 0.01, 0.04 if abs(rho) > 0.35 else 0.6])
    columns = ["latent", "factor", "family", "unit", "rho", "null95", "p", "p_corrected"]
    return pd.DataFrame(rows, columns=columns)


def _latents(codes: np.ndarray, labels: pd.DataFrame, factors: pd.DataFrame, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    flat = codes.reshape(-1, codes.shape[2])
    rows = []
    for latent in range(flat.shape[1]):
        values = flat[:, latent]
        on = values[values > 0]
        best = labels[labels.latent == latent].sort_values("auc").iloc[-1]
        group = labels[(labels.latent == latent) & (labels.column == "group")].sort_values("auc").iloc[-1]
        factor = factors[factors.latent == latent].sort_values("rho", key=abs).iloc[-1]
        alive, clear = bool(len(on)), best.auc > 0.75
        name = f"{best.column} {best.value}" if clear else "no clear meaning"
        label_value = best.value
        if latent == 0:
            name = "clicks"
        if latent == 1:  # a name that would run, were it markup
            name, label_value = f"vowel {MARKUP}", MARKUP
        rows.append(
            {
                "latent": latent,
                "alive": alive,
                "frequency": float((values > 0).mean()),
                "mean_active": float(on.mean()) if alive else 0.0,
                "max": float(values.max()),
                "histogram": np.histogram(on, 20, (0, max(values.max(), 1e-9)))[0].tolist(),
                "name": name if alive else "never fires",
                "confidence": float(np.clip(2 * best.auc - 1, 0, 1)) if clear and alive else 0.1,
                "evidence": f"AUC {best.auc:.2f} for {best.column} {best.value} (null 0.71)",
                "caveat": "one group alone fires it" if group.auc > 0.9 else "",
                "label_column": best.column,
                "label_value": label_value,
                "label_auc": best.auc,
                "label_p": best.p_corrected,
                "factor": factor.factor,
                "factor_unit": factor.unit,
                "factor_rho": factor.rho,
                "factor_p": factor.p_corrected,
                "group_value": group.value,
                "group_auc": group.auc,
                "recurrence": float(rng.uniform(0.2, 1)),
            }
        )
    return pd.DataFrame(rows)


def _neighbours(codes: np.ndarray) -> pd.DataFrame:
    flat = codes.reshape(-1, codes.shape[2])
    norms = np.linalg.norm(flat, axis=0)
    cosine = flat.T @ flat / np.maximum(np.outer(norms, norms), 1e-9)
    together = (flat > 0).astype(float)
    cofiring = together.T @ together / np.maximum(together.sum(axis=0)[:, None], 1)
    rows = []
    for latent in range(len(cosine)):
        others = [int(other) for other in np.argsort(-cosine[latent]) if other != latent][:10]
        rows += [[latent, other, cosine[latent, other], cofiring[latent, other]] for other in others]
    return pd.DataFrame(rows, columns=["latent", "other", "cosine", "cofiring"])


def _activity(clips: pd.DataFrame, codes: np.ndarray, peaks: np.ndarray, means: np.ndarray) -> pd.DataFrame:
    clip, latent = np.nonzero(peaks > 0)
    share = (codes > 0).mean(axis=1)
    return pd.DataFrame(
        {
            "clip_id": clips.clip_id.to_numpy()[clip],
            "latent": latent,
            "max": peaks[clip, latent],
            "mean": means[clip, latent],
            "share": share[clip, latent],
        }
    )


def _curves(
    clips: pd.DataFrame, codes: np.ndarray, peaks: np.ndarray, examples: pd.DataFrame
) -> pd.DataFrame:
    place = {clip_id: at for at, clip_id in enumerate(clips.clip_id)}
    wanted = {(place[clip_id], latent) for clip_id, latent in zip(examples.clip_id, examples.latent)}
    for clip in {clip for clip, _ in wanted}:
        wanted |= {(clip, int(latent)) for latent in np.argsort(-peaks[clip])[:32] if peaks[clip, latent] > 0}
    rows = []
    for clip, latent in sorted(wanted):
        peak = float(peaks[clip, latent])
        values = np.round(255 * codes[clip, :, latent] / max(peak, 1e-9)).astype(np.uint8)
        rows.append([clips.clip_id[clip], latent, 0.0, STEP_S, peak, values])
    return pd.DataFrame(rows, columns=["clip_id", "latent", "start_s", "step_s", "peak", "values"])


def _no_curves() -> pd.DataFrame:
    return pd.DataFrame(columns=["clip_id", "latent", "start_s", "step_s", "peak", "values"])
