"""Latents that go with one true factor, clamped: does a later layer then hear that factor move, and the others stay?

Run ``python benchmarks/interventions_truth.py`` (built-in singing and model, offline; six minutes of a core). This
is the third design. Two earlier ones, of dictionaries of clip means, were changed after their results were seen, and
showed nothing. This one was written down, here, before it was run, and is run once:

- **Data.** 16 singers: ten to learn from, six to hear. Rows are the frames of layers 2 (edited) and 4 (read).
- **Factors.** Pitch, loudness and second formant as they are at each frame, first formant and harmonics over noise as
  they are in the clip; frequencies as logarithms; only frames that sound. A ridge regression estimates each from layer
  4, fitted on the ten singers. A factor is in the matrix if its estimate has an R2 of .5 or more over those, five folds
  of two singers left out.
- **Dictionaries.** topk, 512 latents, k 16, on layer 2's frames of the ten, 10 epochs, three seeds.
- **Latents.** For each factor the five of largest partial correlation with it given the other factors, on the ten's
  frames, of those that are active in 1 to 50 % of them and whose largest partial correlation is with this factor.
- **Clamped.** Once up: those that rise with the factor are held at their mean where active, those that fall with it at
  0; once down, the other way round; at every token, the dictionary's error kept. 60 clips of the six singers.
- **Effect.** The mean estimate of a clip, up less down, over the estimate's standard deviation between the untouched
  clips. Beside it five draws a seed of as many latents of equal frequency, held in the same way as their partners.
- **What would show something.** A factor is *moved* if the effect of its latents on its own estimate, mean over seeds,
  has an interval over singers above 0 and is larger than that of all 15 random draws, by size. It is moved *alone* if,
  besides, its effect on no other estimate has more than half the size of that on its own.

Writes ``interventions/truth.csv``: factor, estimate, latents ("tied", "random"), effect, low, high (of tied: mean over
seeds, interval over singers), size and largest (of random: mean and largest size of the draws), r2 (folds of the ten
singers), r2_heard, n_tied (fewest over seeds), partial_r (mean size over latents and seeds); and
``docs/figures/interventions_truth.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict

import otoscope as oto
from otoscope.datasets.synthsing.factors import ground_truth, true_moments
from otoscope.encoders import Encoder
from otoscope.experiment.sounds import waveforms_of
from otoscope.interventions import Probed, answers, clamp, matched_latents, through
from otoscope.probing import mean_interval
from otoscope.saes import SparseAutoencoder, codes_of, make_config, train_saes

MOVING = {"f0": "true_f0_hz", "loudness": "true_loudness_db", "f2": "true_f2_hz"}
STILL = {"f1": "f1_hz", "hnr": "hnr_db"}
FACTORS = [*MOVING, *STILL]
EDITED, READ = 2, 4
N_SINGERS, N_LEARN, N_HEARD = 16, 10, 10
"""Singers, of them to learn from, and clips of each of the others."""
N_LATENTS, K, EPOCHS, SEEDS = 512, 16, 10, (0, 1, 2)
N_TIED, N_DRAWS, LEAST_R2, DENSITY = 5, 5, 0.5, (0.01, 0.5)


def main() -> None:
    """Measure, write the table, draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("interventions-work"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "interventions")
    parser.add_argument("--figures", type=Path, default=Path(__file__).parents[1] / "docs" / "figures")
    parser.add_argument("--draw-only", action="store_true")
    options = parser.parse_args()
    if not options.draw_only:
        measure(options.work).to_csv(options.out / "truth.csv", index=False, float_format="%.6g")
    draw(pd.read_csv(options.out / "truth.csv"), options.figures / "interventions_truth.png")


def measure(work: Path) -> pd.DataFrame:
    """Return the effects of clamping, factor by factor."""
    clips = oto.load_clips("synthsing", n_singers=N_SINGERS)
    singers = sorted(clips.group.unique())
    encoder = oto.load_encoder("otoscope-mini", device="cpu")
    store = oto.extract(clips, encoder, layers=[EDITED, READ], pool="frames", out=work / "synthsing-frames")
    truth = truth_of(clips, store.rows)
    group = store.rows.clip_id.map(clips.set_index("clip_id").group).to_numpy()
    sounds = truth.notna().all(axis=1).to_numpy()
    own = np.isin(group, singers[:N_LEARN]) & sounds
    y = truth[own].to_numpy()
    middle, scale = y.mean(0), y.std(0)
    y = (y - middle) / scale
    r2, ridge = estimates(store.layer(READ)[own], y, group[own])
    kept = [place for place, fit in enumerate(r2) if fit >= LEAST_R2]
    print("R2 of the estimates:", dict(zip(FACTORS, r2.round(2))), flush=True)

    heard = clips[~clips.group.isin(singers[:N_LEARN])].groupby("group").sample(N_HEARD, random_state=0)
    waveforms = waveforms_of(heard, encoder)
    readout = Probed(READ, ridge.coef_.T, ridge.intercept_)
    readout.prepare(encoder)
    plain = np.stack([answer.values for answer in answers(encoder, waveforms, readout)])
    known = truth[sounds].groupby(store.rows.clip_id[sounds]).mean().loc[heard.clip_id].to_numpy()
    known = (known - middle) / scale
    r2_heard = 1 - ((plain - known) ** 2).sum(0) / ((known - known.mean(0)) ** 2).sum(0)

    def effect(sae: SparseAutoencoder, latents: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
        moved = [
            np.stack([a.values for a in answers(encoder, waveforms, readout, {EDITED: through(sae, edit)})])
            for edit in (clamp(latents, up), clamp(latents, down))
        ]
        return (moved[0] - moved[1]) / plain.std(0)

    tied: dict[int, list] = {place: [] for place in kept}
    drawn: dict[int, list] = {place: [] for place in kept}
    about: dict[int, list] = {place: [] for place in kept}
    for sae in dictionaries(store.layer(EDITED), own, group, encoder):
        codes = codes_of(sae, store.layer(EDITED)[own])
        density = (codes > 0).mean(0)
        on = codes.sum(0) / np.maximum((codes > 0).sum(0), 1)
        r = partial_correlation(codes, y)
        for place in kept:
            chosen = tied_latents(r, density, place)
            about[place].append((len(chosen), np.abs(r[chosen, place]).mean() if len(chosen) else 0.0))
            rises = r[chosen, place] > 0
            for held, latents in ways(chosen, density, sae.seed):
                up, down = np.where(rises, on[latents], 0.0), np.where(rises, 0.0, on[latents])
                (tied if held == "tied" else drawn)[place].append(effect(sae, latents, up, down))
        print("seed", sae.seed, {FACTORS[p]: about[p][-1] for p in kept}, flush=True)
    rows = []
    for place in filter(tied.get, kept):  # a factor that no latent goes with has no row
        fit = {"n_tied": min(n for n, _ in about[place]), "partial_r": np.mean([r for _, r in about[place]])}
        mean = np.mean(tied[place], axis=0)
        sizes = np.abs(np.mean(drawn[place], axis=1))  # of each draw, mean over clips
        for other in kept:
            cell = {"factor": FACTORS[place], "estimate": FACTORS[other]}
            found = mean_interval(mean[:, other], heard.group.to_numpy())
            of = {"r2": r2[other], "r2_heard": r2_heard[other], **fit}
            rows.append(
                cell | {"latents": "tied", "effect": found.value, "low": found.low, "high": found.high} | of
            )
            size = {"size": sizes[:, other].mean(), "largest": sizes[:, other].max()}
            rows.append(cell | {"latents": "random"} | size | of)
    return pd.DataFrame(rows)


def truth_of(clips: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return true factors [frames, factors], frequencies as logarithms; NaN where nothing sounds."""
    keys = ["clip_id", "start_s", "stop_s"]
    moments = rows[keys].merge(true_moments(clips, rows)[0], on=keys, how="left")
    whole = ground_truth(clips).set_index("clip_id").loc[rows.clip_id].reset_index()
    table = pd.DataFrame(
        {name: moments[column] for name, column in MOVING.items()}
        | {name: whole[column] for name, column in STILL.items()}
    )
    table[["f0", "f2", "f1"]] = np.log(table[["f0", "f2", "f1"]])
    return table


def estimates(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, Ridge]:
    """Return the R2 of each factor over folds of singers, and the regression on all rows."""
    ridge = Ridge(alpha=10.0)
    held_out = cross_val_predict(ridge, x, y, groups=group, cv=GroupKFold(5))
    return 1 - ((held_out - y) ** 2).mean(0) / y.var(0), ridge.fit(x, y)


def dictionaries(
    x: np.ndarray, own: np.ndarray, group: np.ndarray, encoder: Encoder
) -> list[SparseAutoencoder]:
    """Train a dictionary a seed; the last of the singers says when to stop."""
    last = group == sorted(set(group[own]))[-1]
    config = make_config("topk", n_latents=N_LATENTS, k=K)
    return train_saes(
        {EDITED: x}, config, rows=own & ~last, validation_rows=own & last, seeds=list(SEEDS), epochs=EPOCHS,
        batch_size=256, device="cpu", progress=False,
    )  # fmt: skip


def partial_correlation(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the correlation [latents, factors] of each latent with each factor, given the other factors."""
    z = codes - codes.mean(0)
    found = np.zeros((z.shape[1], y.shape[1]))
    for place in range(y.shape[1]):
        others = np.column_stack([np.ones(len(y)), np.delete(y, place, axis=1)])
        basis = np.linalg.qr(others)[0]
        own = y[:, place] - basis @ (basis.T @ y[:, place])
        left = (z**2).sum(0) - ((basis.T @ z) ** 2).sum(0)  # what the others leave of each latent
        scale = np.sqrt(np.maximum(left, 0)) * np.linalg.norm(own)
        np.divide(own @ z, scale, out=found[:, place], where=scale > 1e-9)
    return found


def tied_latents(r: np.ndarray, density: np.ndarray, place: int) -> np.ndarray:
    """Return the latents that go with a factor more than with any other, the closest first."""
    fits = (
        (np.abs(r).argmax(1) == place)
        & (r[:, place] != 0)
        & (density >= DENSITY[0])
        & (density <= DENSITY[1])
    )
    found = np.flatnonzero(fits)
    return found[np.argsort(-np.abs(r[found, place]), kind="stable")][:N_TIED]


def ways(chosen: np.ndarray, density: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tied latents, and draws of as many of equal frequency."""
    if len(chosen):
        yield "tied", chosen
        for draw in range(N_DRAWS):
            yield "random", matched_latents(density, chosen, seed=100 * seed + draw)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the matrix of effects beside that of random latents."""
    import matplotlib
    from matplotlib.figure import Figure

    from otoscope.report.figures.style import RC

    names = list(dict.fromkeys(table.factor))
    tied = table[table.latents == "tied"].pivot(index="factor", columns="estimate", values="effect")
    size = table[table.latents == "random"].pivot(index="factor", columns="estimate", values="size")
    most = float(tied.abs().to_numpy().max())
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(7.4, 3.6))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, own, title in (
            (panels[0], tied, "latents tied to the factor: effect"),
            (panels[1], size, f"random latents: size, mean of {N_DRAWS * len(SEEDS)}"),
        ):
            matrix = own.loc[names, names]
            axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
            for i, row in enumerate(matrix.to_numpy()):
                for j, value in enumerate(row):
                    color = "white" if abs(value) > 0.6 * most else "black"
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
            axes.set_yticks(range(len(names)), names)
            axes.set_xlabel(f"estimate at layer {READ}, in its standard deviations")
            axes.grid(visible=False)
            axes.set_title(title)
        panels[0].set_ylabel(f"latents of layer {EDITED} clamped for")
        figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
