"""Fill the part of docs/real.md on words from benchmarks/real/words/*.csv, and draw its picture.

Run ``python benchmarks/real_words_page.py`` after ``real_words.py``; the prose around the tables is written by hand.
Areas are means over words of the area within each of the ten speakers; differences are paired within speakers, with 95
% intervals over them.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from real_page import COLOURS, FIGURES, fill, markdown, of, over_seeds, read

from otoscope.probing import mean_interval

DENSE, LATENTS = "dense", "topk of frames"
LAYER = 3
ROWS = {"frames": "frames", "mean": "words, mean", "max": "words, largest"}
MARKS = {DENSE: ("o", COLOURS["dense"]), LATENTS: ("s", "#0072B2"), "matryoshka": ("^", "#D55E00"),
         "ica 100": ("D", "#999999"), "untrained": ("x", "#009E73")}  # fmt: skip


def main() -> None:
    """Write the tables into their places, and draw."""
    fill({"frames words": everyone, "frames words minus": minus, "frames words each": each})
    draw(FIGURES / "real-words.png")


def units(**which: object) -> pd.DataFrame:
    """Return the rows of single units."""
    table = read("words/frames_units")
    return of(table, **which) if which else table


def names(table: pd.DataFrame) -> list[str]:
    """Return the representations, as they were made."""
    return list(dict.fromkeys(table["representation"]))


def layers() -> list[int]:
    """Return the layers that were measured."""
    return sorted(read("words/frames_units")["layer"].unique())


def everyone() -> str:
    """Every representation's means over words and seeds: areas, and the purest unit of frames."""
    rows = []
    for name in names(units()):
        row: dict = {"representation": f"**{name}**" if name == LATENTS else name}
        for layer in layers():
            own = units(layer=layer, representation=name)
            for kind, label in ROWS.items():
                areas = of(own, rows=kind, choice="auc")
                for k in (1, 8) if kind == "frames" else (1,):
                    row[f"layer {layer}, {label}: best {k}"] = _over(of(areas, k=k), "auc")
            pure, fires = (of(own, rows="frames", choice=choice) for choice in ("pure", "fires"))
            row[f"layer {layer}: purest, precision"] = _over(pure, "precision")
            row[f"layer {layer}: recall"] = _over(pure, "recall")
            row[f"layer {layer}: where it fires, precision (recall)"] = _pair(fires)
        rows.append(row)
    return markdown(rows)


def minus() -> str:
    """The dense layer's best unit, or best eight, less than each representation's, means over words, by speakers."""
    rows = []
    for name in [n for n in names(units()) if n != DENSE]:
        row: dict = {"representation, minus dense": f"**{name}**" if name == LATENTS else name}
        for layer in layers():
            for kind, k in (("frames", 1), ("frames", 8), ("mean", 1), ("max", 1)):
                row[f"layer {layer}, {ROWS[kind]}: best {k}"] = _interval(name, DENSE, layer, kind, k)
        rows.append(row)
    return markdown(rows)


def difference(name: str, other: str, layer: int, kind: str, k: int, concept: str | None = None):
    """Return an estimate of the area of `name` minus that of `other`, within speakers, over words or of one."""
    which = {"layer": layer, "rows": kind, "k": k} | ({} if concept is None else {"concept": concept})
    table = of(read("words/frames_units_speakers"), **which)
    wide = table.pivot_table(index=["concept", "speaker"], columns="representation", values="auc")
    if name not in wide or other not in wide:
        return None
    paired = (wide[name] - wide[other]).dropna().groupby("speaker").mean()
    return mean_interval(paired.to_numpy(), paired.index.to_numpy())


def _interval(name: str, other: str, layer: int, kind: str, k: int) -> str:
    found = difference(name, other, layer, kind, k)
    if found is None:
        return ""
    text = f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
    return text if found.low <= 0 <= found.high else f"**{text}**"


def each() -> str:
    """Every word of one layer: how often it is said, and what the best units of some representations do."""
    counts = read("words/counts").set_index("word")
    table = units(layer=LAYER)
    rows = []
    for word in dict.fromkeys(table["concept"]):
        own = of(table, concept=word)
        frames = of(own, rows="frames")
        row = {
            "word": word,
            "said (speakers), to choose on": _times(counts.loc[word], "learn"),
            "to judge on": _times(counts.loc[word], "judge"),
            "frames, %": f"{100 * frames['chance'].iloc[0]:.1f}",
        }
        for name in (DENSE, LATENTS):
            row[f"{name}: area"] = _mean(of(frames, representation=name, choice="auc", k=1)["auc"])
        row[f"{LATENTS}, largest in the word: area"] = _mean(
            of(own, representation=LATENTS, rows="max", choice="auc", k=1)["auc"]
        )
        for name in (DENSE, LATENTS, "ica 100", "untrained"):
            row[f"{name}, purest: precision (recall)"] = _pair(of(frames, representation=name, choice="pure"))
        row[f"{LATENTS}, where it fires"] = _pair(of(frames, representation=LATENTS, choice="fires"))
        rows.append(row)
    return markdown(rows)


def _times(counted: pd.Series, side: str) -> str:
    return f"{counted[f'times_{side}']} ({counted[f'speakers_{side}']})"


def _mean(values: pd.Series) -> str:
    return f"{values.mean():.2f}" if len(values) else ""


def _over(found: pd.DataFrame, column: str) -> str:
    return over_seeds(found.groupby("seed")[column].mean(), "{:.2f}".format) if len(found) else ""


def _pair(found: pd.DataFrame) -> str:
    return f"{found['precision'].mean():.2f} ({found['recall'].mean():.2f})" if len(found) else ""


def draw(path) -> None:
    """Left and middle: the best latent minus the best dense dimension, word by word; right: how pure the purest is."""
    table = units(layer=LAYER)
    words = list(dict.fromkeys(table["concept"]))
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 0.32 * len(words) + 1.5), sharey=True)
    for panel, kind in zip(axes, ("frames", "max")):
        for place, word in enumerate(words):
            found = difference(LATENTS, DENSE, LAYER, kind, 1, word)
            sure = found.low > 0 or found.high < 0
            colour = "#0072B2" if sure else "#999999"
            panel.plot([found.low, found.high], [place, place], color=colour, lw=2)
            panel.plot(found.value, place, "o", color=colour, mfc=colour if sure else "white")
        panel.axvline(0, color="black", lw=0.8)
        panel.set_title({"frames": "frames", "max": "words, largest value"}[kind])
        panel.set_xlabel("area: best latent minus best dimension")
        panel.locator_params(axis="x", nbins=4)
    for name, (mark, colour) in MARKS.items():
        own = of(table, rows="frames", choice="pure", representation=name)
        if len(own):
            pure = own.groupby("concept")["precision"].mean().reindex(words)
            axes[2].plot(pure, range(len(words)), mark, color=colour, label=name, mfc="none")
    chance = of(table, rows="frames", choice="pure", representation=DENSE).set_index("concept")["chance"]
    axes[2].plot(chance.reindex(words), range(len(words)), "|", color="black", label="chance")
    axes[2].set_title("purest unit, frames")
    axes[2].set_xlabel("precision on the ten speakers")
    axes[2].set_xlim(0, None)
    axes[2].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[0].set_yticks(np.arange(len(words)), words)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
