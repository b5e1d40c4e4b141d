"""Latents that go with one true factor, clamped: does a later layer then hear that factor move, and the others stay?

Run ``python benchmarks/interventions_truth.py`` (built-in singing and model, offline; about three minutes on a quiet
core). Ten singers: dictionary, choice of latents and ridge estimates of factors from layer 4 learn from seven, and 30
clips of the three others are heard with three latents of layer 1 clamped at 0 and at their mean where they are active
(the one or the other end first, as their correlation with the factor says); they are active in 2 % of the rows at
least, and go with this factor more than with any other by the widest margin. An effect is the difference of the two
mean estimates over the estimate's standard deviation, untouched, between clips. Beside them: as many latents of equal
frequency, drawn at random, clamped in the same way, two draws.

Writes ``interventions/truth.csv``: factor, estimate, latents ("tied", "random 0", ...), effect, low, high (intervals
over singers), r2 (of the estimate on the unheard singers); and ``docs/figures/interventions_truth.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

import otoscope as oto
from otoscope.datasets.synthsing.factors import ground_truth
from otoscope.experiment.sounds import waveforms_of
from otoscope.interventions import Probed, answers, clamp, matched_latents, through
from otoscope.probing import mean_interval
from otoscope.saes import codes_of, make_config, train_saes

FACTORS = ("f0_hz", "f1_hz", "f2_hz", "hnr_db")
EDITED, READ, N_LATENTS, N_DRAWS = 1, 4, 3, 2


def main() -> None:
    """Measure, write the table, draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("interventions-work"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "interventions")
    parser.add_argument("--figures", type=Path, default=Path(__file__).parents[1] / "docs" / "figures")
    parser.add_argument("--draw-only", action="store_true")
    options = parser.parse_args()
    if not options.draw_only:
        measure(options)
    draw(pd.read_csv(options.out / "truth.csv"), options.figures / "interventions_truth.png")


def measure(options: argparse.Namespace) -> None:
    """Write the effects of clamping, factor by factor."""
    clips = oto.load_clips("synthsing", n_singers=10)
    singers = sorted(clips.group.unique())
    learns = clips.group.isin(singers[:7]).to_numpy()
    encoder = oto.load_encoder("otoscope-mini", device="cpu")
    store = oto.extract(clips, encoder, out=options.work / "synthsing", layers=[EDITED, READ])
    truth = factors_of(clips)
    sae = train_saes(
        {EDITED: store.layer(EDITED)[learns]}, [make_config("topk", n_latents=256, sparsity=0.95)], seeds=[0],
        device="cpu", progress=False,
    )[0]  # fmt: skip
    codes = codes_of(sae, store.layer(EDITED)[learns])
    r = correlation(codes, truth[learns])
    density = (codes > 0).mean(0)
    on = codes.sum(0) / np.maximum((codes > 0).sum(0), 1)

    heard = clips[~learns].groupby("group").sample(10, random_state=0)
    waveforms, known = waveforms_of(heard, encoder), truth[heard.index]
    ridge = RidgeCV(np.logspace(-1, 4, 11)).fit(store.layer(READ)[learns], truth[learns])
    readout = Probed(READ, ridge.coef_.T, ridge.intercept_)
    readout.prepare(encoder)
    plain = np.stack([answer.values for answer in answers(encoder, waveforms, readout)])
    r2 = 1 - ((plain - known) ** 2).sum(0) / ((known - known.mean(0)) ** 2).sum(0)
    rows = []
    for place, factor in enumerate(FACTORS):
        others = np.abs(np.delete(r, place, axis=1)).max(1)
        lead = np.where(
            density >= 0.1, np.abs(r[:, place]) - others, -np.inf
        )  # a rarer one's ends are both 0
        tied = np.argsort(-lead)[:N_LATENTS]
        chosen = {"tied": tied}
        chosen |= {f"random {i}": matched_latents(density, tied, seed=i) for i in range(N_DRAWS)}
        for name, latents in chosen.items():
            rises = r[latents, place] > 0
            high = np.where(rises, on[latents], 0.0)
            low = np.where(rises, 0.0, on[latents])
            moved = np.zeros_like(plain)
            for values, sign in ((high, 1), (low, -1)):
                found = answers(encoder, waveforms, readout, {EDITED: through(sae, clamp(latents, values))})
                moved += sign * np.stack([answer.values for answer in found])
            for estimate, effect, spread, fit in zip(FACTORS, moved.T, plain.std(0), r2):
                interval = mean_interval(effect / spread, heard.group.to_numpy())
                row = {"factor": factor, "estimate": estimate, "latents": name, "effect": interval.value}
                rows.append(row | {"low": interval.low, "high": interval.high, "r2": fit})
        pd.DataFrame(rows).to_csv(options.out / "truth.csv", index=False, float_format="%.6g")
        print(
            pd.DataFrame(rows[-(N_DRAWS + 1) * len(FACTORS) :]).query("latents == 'tied'").to_string(),
            flush=True,
        )


def factors_of(clips: pd.DataFrame) -> np.ndarray:
    """Return true factors [clips, factors], frequencies as logarithms, each in its own standard deviations."""
    table = ground_truth(clips)[list(FACTORS)]
    values = np.column_stack([np.log(table[f]) if f.endswith("_hz") else table[f] for f in FACTORS])
    return (values - values.mean(0)) / values.std(0)


def correlation(codes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation [latents, factors]; 0 of a latent that never moves."""
    a, b = codes - codes.mean(0), truth - truth.mean(0)
    scale = np.sqrt((a**2).sum(0))[:, None] * np.sqrt((b**2).sum(0))
    return np.divide(a.T @ b, scale, out=np.zeros_like(scale), where=scale > 0)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the matrix of effects beside that of random latents."""
    import matplotlib
    from matplotlib.figure import Figure

    from otoscope.report.figures.style import RC

    short = [
        name.removesuffix("_hz").removesuffix("_db").removesuffix("_dbfs").split("_db_")[0]
        for name in FACTORS
    ]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(7.4, 3.4))
        panels = figure.subplots(1, 2, sharey=True)
        drawn = table[table.latents != "tied"].assign(effect=lambda t: t.effect.abs())
        most = float(table[table.latents == "tied"].effect.abs().max())
        for axes, own, title in (
            (panels[0], table[table.latents == "tied"], "latents tied to the factor: effect"),
            (panels[1], drawn, "random latents: size of effect, mean of 2"),
        ):
            matrix = (
                own.groupby(["factor", "estimate"]).effect.mean().unstack().loc[list(FACTORS), list(FACTORS)]
            )
            axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
            for i, row in enumerate(matrix.to_numpy()):
                for j, value in enumerate(row):
                    color = "white" if abs(value) > 0.6 * most else "black"
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
            axes.set_xticks(range(len(short)), short, rotation=30, ha="right")
            axes.set_yticks(range(len(short)), short)
            axes.set_xlabel("estimate at layer 4, in its standard deviations")
            axes.grid(visible=False)
            axes.set_title(title)
        panels[0].set_ylabel("latents of layer 1 clamped for")
        figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
