"""Fill the tables of docs/real.md from benchmarks/real/*.csv and draw its figures.

Run ``python benchmarks/real_page.py``. Between ``<!-- name -->`` and ``<!-- end -->`` stands what this writes; the
prose around it is written by hand. Accuracies are means over seeds (lowest to highest); differences are paired, with
95 % intervals over units: speakers, takes or recordings that are new.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from otoscope.disentanglement import same_factors
from otoscope.probing import mean_interval

ROOT = Path(__file__).resolve().parents[1]
TABLES, PAGE, FIGURES = ROOT / "benchmarks" / "real", ROOT / "docs" / "real.md", ROOT / "docs" / "figures"
LAST = 4
CHOSEN, PUBLISHED = "topk", "topk, published training"
QUESTIONS = {
    "digit": "digit, new speakers",
    "speaker": "speaker, held-out takes",
    "ten speakers": "ten speakers, LibriSpeech",
}
CHANCE = {"digit": 1 / 10, "speaker": 1 / 6, "ten speakers": 1 / 10}
KINDS = (CHOSEN, "topk-gao", "batch-topk", "jumprelu", "matryoshka")
TRAINED = (CHOSEN, PUBLISHED, "frozen encoder", "frozen decoder", "permuted")
COLOURS = {"dense": "#000000", CHOSEN: "#0072B2", PUBLISHED: "#D55E00", "pca": "#999999"}
"""Okabe and Ito's, which the colour-blind tell apart."""


def main() -> None:
    """Write every table into its place, and draw."""
    fill(PARTS)
    draw_layers(FIGURES / "real-layers.png")
    draw_differences(FIGURES / "real-differences.png")


def fill(parts: dict[str, Callable[[], str]]) -> None:
    """Write each of `parts` into its place on the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in parts.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(page):
            raise SystemExit(f"{PAGE} has no place for '{name}'")
        text = table()
        page = place.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page)
    PAGE.write_text(page, encoding="utf-8")


def read(name: str) -> pd.DataFrame:
    """Return a table of ``benchmarks/real``."""
    return pd.read_csv(TABLES / f"{name}.csv")


def of(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Return the rows that have these values."""
    return table[np.all([table[column] == value for column, value in values.items()], axis=0)]


def accuracies(layer: int = LAST, **which: object) -> pd.DataFrame:
    """Return ``question, representation, seed, unit, accuracy``, of one layer, a row per unit."""
    table = of(read("probes"), layer=layer, **which)
    counts = table.groupby(["question", "representation", "seed", "unit"], sort=False)[["n", "correct"]].sum()
    return counts.assign(accuracy=counts["correct"] / counts["n"]).reset_index()


def over_seeds(values: pd.Series, form: Callable[[float], str]) -> str:
    """Write the mean of values, and the lowest and highest where there are several that differ."""
    low, high = form(values.min()), form(values.max())
    mean = form(values.mean())
    return mean if len(values) < 2 or low == high else f"{mean} ({low} to {high})"


def percent(value: float) -> str:
    """Write a share as percent."""
    return f"{100 * value:.1f}"


def score(table: pd.DataFrame) -> pd.Series:
    """Return the accuracy of each seed over all units."""
    sums = table.groupby("seed")[["n", "correct"]].sum()
    return sums["correct"] / sums["n"]


def difference(table: pd.DataFrame, first: str, second: str) -> tuple[float, float, float]:
    """Return accuracy of `first` minus `second`, and its interval over units; each is its mean over seeds."""
    means = table.groupby(["representation", "unit"])["accuracy"].mean()
    paired = (means[first] - means[second]).dropna()
    found = mean_interval(paired.to_numpy(), paired.index.to_numpy())
    return found.value, found.low, found.high


def markdown(rows: list[dict]) -> str:
    """Return rows as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def before_after() -> str:
    """Published training beside the default's, last layer."""
    health, pairs, probes = read("dictionaries"), read("stability"), accuracies()
    rows = []
    for question in QUESTIONS:
        for name in (PUBLISHED, CHOSEN):
            which = {"question": question, "representation": name, "layer": LAST}
            own, both = of(health, **which), of(pairs, **which)
            if not len(own):
                continue
            rows.append(
                {
                    "question": QUESTIONS[question],
                    "training": "before (`AS_PUBLISHED`)" if name == PUBLISHED else "now (default)",
                    "alive of 1,024": over_seeds(own["alive"], lambda v: f"{v:,.0f}"),
                    "on in over half": over_seeds(own["dense"], lambda v: f"{v:.0f}"),
                    "their activity, %": over_seeds(own["dense_activity"], lambda v: f"{100 * v:.0f}"),
                    "FVU": over_seeds(own["fvu"], lambda v: f"{v:.2f}"),
                    "FVU of PCA, 51": f"{own['pca_fvu'].mean():.2f}",
                    "verdict": ", ".join(sorted(own["state"].unique())),
                    "PW-MCC": over_seeds(both["pw_mcc"], lambda v: f"{v:.2f}"),
                    "recur at .7, %": over_seeds(both["recurring_0.7"], lambda v: f"{100 * v:.0f}"),
                    "probe, %": over_seeds(
                        score(of(probes, question=question, representation=name)), percent
                    ),
                }
            )
    return markdown(rows)


def probes() -> str:
    """Accuracy of every representation, and codes minus it."""
    table = accuracies()
    names = [name for name in table["representation"].unique() if name not in KINDS[1:]]
    rows = []
    for name in names:
        row = {"representation": f"**{name}**" if name == CHOSEN else name}
        for question in QUESTIONS:
            own = table[table["question"] == question]
            mine = own[own["representation"] == name]
            row[f"{QUESTIONS[question]}, %"] = over_seeds(score(mine), percent) if len(mine) else ""
            row[f"{QUESTIONS[question]}: codes minus it"] = ""
            if name != CHOSEN and len(mine):
                value, low, high = (100 * v for v in difference(own, CHOSEN, name))
                sure = "**" if low > 0 or high < 0 else ""
                row[f"{QUESTIONS[question]}: codes minus it"] = (
                    f"{sure}{value:+.1f}{sure} ({low:+.1f} to {high:+.1f})"
                )
        rows.append(row)
    return markdown(rows)


def errors() -> str:
    """Error, life and stability of the dictionary and of those that are nulls, last layer."""
    return _dictionaries(TRAINED)


def kinds() -> str:
    """The same of other kinds, with probes, for the digits."""
    return _dictionaries(KINDS, question="digit")


def _dictionaries(names: tuple[str, ...], **which: object) -> str:
    health, pairs = (of(read(table), layer=LAST, **which) for table in ("dictionaries", "stability"))
    table, probed = accuracies(**which), "question" in which
    rows = []
    for question in QUESTIONS:
        for name in names:
            own = of(health, question=question, representation=name)
            both = of(pairs, question=question, representation=name)
            if not len(own):
                continue
            row = {} if probed else {"question": QUESTIONS[question]}
            row |= {
                "dictionary": f"**{name}**" if name == CHOSEN else name,
                "L0": over_seeds(own["l0"], lambda v: f"{v:.0f}"),
                "alive of 1,024": over_seeds(own["alive"], lambda v: f"{v:,.0f}"),
                "FVU": over_seeds(own["fvu"], lambda v: f"{v:.2f}"),
                "FVU of PCA at that L0": over_seeds(own["pca_fvu"], lambda v: f"{v:.2f}"),
                "PW-MCC": over_seeds(both["pw_mcc"], lambda v: f"{v:.2f}"),
                "recur at .7, %": over_seeds(both["recurring_0.7"], lambda v: f"{100 * v:.0f}"),
                "verdicts": ", ".join(f"{n} {state}" for state, n in own["state"].value_counts().items()),
            }
            if probed:
                own_probes = of(table, question=question, representation=name)
                row["probe, %"] = over_seeds(score(own_probes), percent)
            rows.append(row)
    return markdown(rows)


def layers() -> str:
    """Probes and error by layer."""
    health, found = read("dictionaries"), read("probes")
    rows = []
    for question in QUESTIONS:
        for layer in sorted(of(found, question=question)["layer"].unique()):
            table = of(accuracies(layer), question=question)
            row = {"question": QUESTIONS[question], "layer": layer}
            for name, called in (("dense", "dense"), (CHOSEN, "codes"), (PUBLISHED, "codes, before")):
                own = table[table["representation"] == name]
                row[f"{called}, %"] = over_seeds(score(own), percent) if len(own) else ""
            for name, called in ((CHOSEN, "codes"), (PUBLISHED, "before")):
                own = of(health, question=question, layer=layer, representation=name)
                row[f"FVU, {called}"] = over_seeds(own["fvu"], lambda v: f"{v:.2f}") if len(own) else ""
                row[f"alive, {called}"] = over_seeds(own["alive"], lambda v: f"{v:,.0f}") if len(own) else ""
            pca = of(health, question=question, layer=layer, representation=CHOSEN)
            row["FVU, PCA 51"] = f"{pca['pca_fvu'].mean():.2f}" if len(pca) else ""
            rows.append(row)
    return markdown(rows)


def layer_nulls() -> str:
    """Return codes beside every null, layer by layer: right answers, and codes minus the best code that learnt less."""
    found, rows = read("probes"), []
    for question in QUESTIONS:
        for layer in sorted(of(found, question=question)["layer"].unique()):
            table = of(accuracies(layer), question=question)
            means = {
                name: score(table[table["representation"] == name]).mean() for name in [*BESIDE, *LEARNT_LESS]
            }
            row = {"question": QUESTIONS[question], "layer": layer}
            row |= {BESIDE.get(name) or name: percent(value) for name, value in means.items()}
            best = max(LEARNT_LESS, key=lambda name: means[name])
            value, low, high = (100 * v for v in difference(table, CHOSEN, best))
            sure = "**" if low > 0 or high < 0 else ""
            row["codes minus the best of the last five"] = (
                f"{sure}{value:+.1f}{sure} ({low:+.1f} to {high:+.1f}; {best})"
            )
            rows.append(row)
    return markdown(rows)


BESIDE = {"dense": "dense", CHOSEN: "codes", "pca 51": "PCA 51", "ica 100": "ICA 100"}
LEARNT_LESS = ("random projection, top k", "untrained", "frozen encoder", "frozen decoder", "permuted")

NAMES = {
    "dense": "dense", "topk": "**topk**", "published": "topk, as before", "pca": "PCA", "ica": "ICA",
    "random": "random projection", "untrained": "untrained", "frozen_encoder": "frozen encoder",
    "frozen_decoder": "frozen decoder", "permuted": "permuted", "label": "label alone", "shuffled": "shuffled factors",
}  # fmt: skip


def run_probes() -> str:
    """Digit probes and error of the run's two layers, two new speakers."""
    dense, codes, nulls = (read(f"run_{name}_probing") for name in ("layer", "sae", "null"))
    probes = pd.concat([dense.assign(representation="dense"), codes.assign(representation="topk"), nulls])
    errors = pd.concat(
        [read("run_reconstruction").assign(representation="topk"), read("run_null_reconstruction")]
    )
    rows = []
    for name, called in NAMES.items():
        row = {"representation": called}
        for layer in sorted(codes["layer"].unique()):
            own, lost = (of(table, representation=name, layer=layer) for table in (probes, errors))
            row[f"layer {layer}: digit, %"] = over_seeds(own["score"], percent) if len(own) else ""
            row[f"layer {layer}: FVU"] = over_seeds(lost["fvu"], lambda v: f"{v:.2f}") if len(lost) else ""
        if any(list(row.values())[1:]):
            rows.append(row)
    return markdown(rows)


def disentanglement() -> str:
    """Held-out R2 and effective dimensions of the factors that dense and codes hold best, by representation."""
    table = read("before_disentanglement")
    table = table.assign(representation=table["representation"].replace("topk", "published"))
    if (TABLES / "run_disentanglement.csv").exists():
        table = pd.concat([of(table, representation="published"), read("run_disentanglement")])
    codes_of = "topk" if "topk" in set(table["representation"]) else "published"
    rows = []
    for layer in sorted(table["layer"].unique()):
        here = of(table, layer=layer)
        codes = [own for _, own in of(here, representation=codes_of).groupby("seed")]
        same = same_factors(of(here, representation="dense"), codes, floor=FLOOR).set_index("factor")
        for name, called in NAMES.items():
            seeds = [own for _, own in of(here, representation=name).groupby("seed")]
            if seeds:
                found = pd.DataFrame(
                    [_means_over(own.set_index("factor").loc[same.index], same) for own in seeds]
                )
                rows.append({"layer": layer, "representation": called}
                            | {column: _or_none(found[column], form) for column, form in FORMS.items()})  # fmt: skip
    return markdown(rows)


FLOOR = 0.1
"""Held-out R2 under which a factor counts as not predicted."""


def _means_over(table: pd.DataFrame, same: pd.DataFrame) -> dict[str, float]:
    """Return means over factors: R2 over all, dimensions over those that are held."""
    score = table["r2_cv"].where(~same["beyond"], table["r2_beyond"])
    held = table[score >= FLOOR]
    return {
        "R² of new speakers": score.mean(),
        "factors held": len(held),
        "effective dimensions": held["effective_dims"].mean(),
        "the same, R² .01 lower": held["effective_dims_matched"].mean(),
        "completeness": held["completeness"].mean(),
    }


def _two(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


FORMS = {"R² of new speakers": _two, "factors held": _whole, "effective dimensions": _whole,
         "the same, R² .01 lower": _whole, "completeness": _two}  # fmt: skip


def _or_none(values: pd.Series, form: Callable[[float], str]) -> str:
    values = values.dropna()
    return over_seeds(values, form) if len(values) else "none"


PARTS = {
    "before and after": before_after,
    "probes": probes,
    "errors": errors,
    "layers": layers,
    "layer nulls": layer_nulls,
    "kinds": kinds,
    "run probes": run_probes,
    "disentanglement": disentanglement,
}


def draw_layers(path: Path) -> None:
    """Above, probes by layer; below, error and living latents."""
    found, health = read("probes"), read("dictionaries")
    shown = [question for question in QUESTIONS if question in set(found["question"])]
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(3, len(shown), figsize=(3.1 * len(shown), 6.6), sharex=True, squeeze=False)
    for column, question in zip(axes.T, shown):
        for name, label, mark in (("dense", "dense", "o"), (CHOSEN, "codes, now", "s"),
                                  (PUBLISHED, "codes, before", "^")):  # fmt: skip
            own = of(found, question=question, representation=name)
            sums = own.groupby(["layer", "seed"])[["n", "correct"]].sum()
            by_layer = (100 * sums["correct"] / sums["n"]).groupby("layer").agg(["mean", "min", "max"])
            _line(column[0], by_layer, name, label, mark)
            own = of(health, question=question, representation=name)
            if len(own):
                _line(column[1], own.groupby("layer")["fvu"].agg(["mean", "min", "max"]), name, label, mark)
                _line(column[2], own.groupby("layer")["alive"].agg(["mean", "min", "max"]), name, label, mark)
        pca = of(health, question=question, representation=CHOSEN).groupby("layer")["pca_fvu"]
        column[1].plot(pca.mean(), color=COLOURS["pca"], marker="D", markersize=4, ls="--", label="PCA, 51")
        column[0].set_title(TITLES[question])
        column[1].set_ylim(0, 1.1 * column[1].dataLim.ymax)
        column[2].set_ylim(0, 1080)
        column[2].set_xlabel("layer")
        column[2].set_xticks(sorted(found["layer"].unique()))
    axes[0, 0].set_ylabel("probe, % right")
    axes[1, 0].set_ylabel("error (FVU)")
    axes[2, 0].set_ylabel("living latents of 1,024")
    axes[0, 0].legend(frameon=False, loc="lower right")
    axes[1, -2].legend(frameon=False, loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


TITLES = {
    "digit": "FSDD: digit,\nunseen speakers",
    "speaker": "FSDD: speaker,\nheld-out recordings",
    "ten speakers": "LibriSpeech: ten speakers,\nheld-out recordings",
}


def _line(axes: plt.Axes, table: pd.DataFrame, name: str, label: str, mark: str) -> None:
    axes.plot(table.index, table["mean"], color=COLOURS[name], marker=mark, markersize=5, label=label)
    axes.fill_between(table.index, table["min"], table["max"], color=COLOURS[name], alpha=0.2, lw=0)


def draw_differences(path: Path) -> None:
    """Codes minus each representation, last layer, with intervals over units."""
    table = accuracies()
    shown = [question for question in QUESTIONS if question in set(table["question"])]
    names = [n for n in table["representation"].unique() if n not in KINDS and n != CHOSEN]
    figure, axes = plt.subplots(
        1, len(shown), figsize=(2.9 * len(shown) + 1.4, 3.2), sharey=True, squeeze=False
    )
    for panel, question in zip(axes[0], shown):
        own = table[table["question"] == question]
        for place, name in enumerate(names):
            if name not in set(own["representation"]):
                continue
            value, low, high = (100 * v for v in difference(own, CHOSEN, name))
            sure = low > 0 or high < 0
            colour = COLOURS[CHOSEN] if sure else COLOURS["pca"]
            panel.plot([low, high], [place, place], color=colour, lw=2)
            panel.plot(value, place, "o", color=colour, mfc=colour if sure else "white")
        panel.axvline(0, color="black", lw=0.8)
        panel.set_title(TITLES[question])
        panel.set_xlabel("codes minus it, points")
    axes[0, 0].set_yticks(np.arange(len(names)), names)
    axes[0, 0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
