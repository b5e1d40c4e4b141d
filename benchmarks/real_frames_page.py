"""Fill the part of docs/real.md on frames from benchmarks/real/frames_*.csv and places.csv.

Run ``python benchmarks/real_frames_page.py`` after ``real_frames.py`` and ``real_places.py``; the prose around the
tables is written by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from real_page import fill, markdown, of, over_seeds, percent, read

from otoscope.probing import mean_interval

SET, LAYER = "LibriSpeech", 3
DENSE, LATENTS, MEANS, RANDOM = "dense", "topk of frames", "topk of means", "random directions"
CONFIRMED = (DENSE, LATENTS, MEANS, "untrained", "matryoshka")
"""What the predictions for FSDD are of."""
PURE = (DENSE, RANDOM, "pca", "untrained", LATENTS, MEANS, "temporal")
WAYS = ("mean", "max", "share")


def main() -> None:
    """Write every table into its place; those of further layers and of FSDD once they are measured."""
    parts = {"frames probes": probes, "frames areas": areas, "frames pure": pure, "frames few": few,
             "frames speakers": speakers, "frames dictionaries": dictionaries, "frames places": places}  # fmt: skip
    done = set(zip(read("frames_done")["set"], read("frames_done")["layer"]))
    layers = [(SET, layer) for layer in (2, LAYER, 4)]
    if done.issuperset(layers):
        parts["frames layers"] = partial(summary, layers, "layer {1}")
    if ("FSDD", LAYER) in done:
        parts["frames fsdd"] = partial(summary, [("FSDD", LAYER)], "FSDD")
    fill(parts)


def units(**which: object) -> pd.DataFrame:
    """Return the rows of single units."""
    return of(read("frames_units"), set=SET, layer=LAYER, **which)


def names(table: pd.DataFrame) -> list[str]:
    """Return the representations, as they were made."""
    return list(dict.fromkeys(table["representation"]))


def probes() -> str:
    """How many recordings' speakers are told, by how a clip's code is made."""
    table = of(read("frames_probes"), set=SET, layer=LAYER)
    rows = []
    for name in names(table):
        row = {"representation": f"**{name}**" if name in (LATENTS, MEANS) else name}
        for way in WAYS:
            own = of(table, representation=name, clip_code=way).groupby("seed")[["n", "correct"]].sum()
            row[f"{way}, %"] = over_seeds(own["correct"] / own["n"], percent) if len(own) else ""
        rows.append(row)
    return markdown(rows)


def areas() -> str:
    """The area under the curve of each concept's best unit, on speakers who did not choose it; means over seeds."""
    table = units(choice="auc", k=1)
    wide = table.pivot_table(index="concept", columns="representation", values="auc", sort=False)
    rows = []
    for concept, values in wide[names(table)].iterrows():
        best = values.max()
        row = {"concept": concept}
        row |= {name: f"**{v:.2f}**" if v > best - 0.005 else f"{v:.2f}" for name, v in values.items()}
        rows.append(row)
    means = table.groupby(["representation", "seed"])["auc"].mean()
    rows.append({"concept": "mean"} | {name: over_seeds(means[name], _two) for name in names(table)})
    return markdown(rows)


def pure() -> str:
    """Precision of the purest unit where it takes a tenth of a concept's frames, and of the unit that fires best.

    Means over seeds; in the last row over concepts, with the lowest and the highest seed.
    """
    shown = {f"{name}: precision (recall)": (name, "pure") for name in PURE}
    shown |= {f"{LATENTS}, where it fires": (LATENTS, "fires")}
    whole = units()
    rows, last = [], {"concept": "mean precision", "chance": ""}
    for concept in dict.fromkeys(whole["concept"]):
        own = of(whole, concept=concept)
        row = {"concept": concept, "chance": f"{own['chance'].iloc[0]:.2f}"}
        for title, (name, choice) in shown.items():
            found = of(own, representation=name, choice=choice)[["precision", "recall"]].mean()
            row[title] = f"{found['precision']:.2f} ({found['recall']:.2f})"
        rows.append(row)
    for title, (name, choice) in shown.items():
        found = of(whole, representation=name, choice=choice).groupby("seed")["precision"].mean()
        last[title] = over_seeds(found, _two)
    return markdown([*rows, last])


def few() -> str:
    """The mean area over concepts of probes on the best 1, 2, 4 and 8 units."""
    table = units(choice="auc")
    means = table.groupby(["representation", "k", "seed"])["auc"].mean()
    return markdown(
        [
            {"representation": name}
            | {f"best {k}": over_seeds(means[name, k], "{:.3f}".format) for k in (1, 2, 4, 8)}
            for name in names(table)
        ]
    )


def speakers() -> str:
    """The best latent minus the best dense dimension and random direction, within each of the ten speakers."""
    table = of(read("frames_units_speakers"), set=SET, layer=LAYER)
    wide = table.pivot_table(
        index=["concept", "k", "speaker"], columns="representation", values="auc", sort=False
    )
    rows = []
    for concept in dict.fromkeys(table["concept"]):
        row = {"concept": concept}
        for k in (1, 8):
            own = wide.loc[concept, k]
            for other in (DENSE, RANDOM):
                paired = (own[LATENTS] - own[other]).dropna()
                found = mean_interval(paired.to_numpy(), paired.index.to_numpy())
                text = f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
                clear = not found.low <= 0 <= found.high
                row[f"best {k}, minus {other}"] = f"**{text}**" if clear else text
        rows.append(row)
    return markdown(rows)


def summary(places: list[tuple[str, int]], title: str) -> str:
    """Clips told right by the mean code, and the best unit's area and the purest one's precision, means over concepts.

    Of representations that all of `places` have; over the folds that the confirmation's ones all have.
    """
    done = [of(read("frames_done"), set=name, layer=layer) for name, layer in places]
    folds = set.intersection(
        *(set(table["fold"][table["representation"] == name]) for table in done for name in CONFIRMED)
    )
    common = [
        {name for name, own in table.groupby("representation") if folds <= set(own["fold"])} for table in done
    ]
    rows = {
        name: {"representation": name}
        for name in names(read("frames_done"))
        if all(name in c for c in common)
    }
    for place in places:
        which = {"set": place[0], "layer": place[1]}
        probed, table = (
            of(read("frames_probes"), clip_code="mean", **which),
            of(read("frames_units"), **which),
        )
        probed, table = probed[probed["fold"].isin(folds)], table[table["fold"].isin(folds)]
        for name, row in rows.items():
            own, its = of(probed, representation=name), of(table, representation=name)
            counts = own.groupby("seed")[["n", "correct"]].sum()
            row[f"{title.format(*place)}: right, %"] = _over(counts["correct"] / counts["n"], percent)
            found = {
                "area": (of(its, choice="auc", k=1), "auc"),
                "purest": (of(its, choice="pure"), "precision"),
            }
            for what, (chosen, column) in found.items():
                row[f"{title.format(*place)}: {what}"] = _over(chosen.groupby("seed")[column].mean(), _two)
    return markdown(list(rows.values()))


def _over(values: pd.Series, form: Callable[[float], str]) -> str:
    return over_seeds(values, form) if len(values) else ""


def _two(value: float) -> str:
    return f"{value:.2f}"


def dictionaries() -> str:
    """Error, life and steadiness of each dictionary, on the ten speakers' frames."""
    table = of(read("frames_dictionaries"), set=SET, layer=LAYER)
    rows = []
    for name in names(table):
        own = of(table, representation=name)
        rows.append(
            {
                "dictionary": name,
                "L0": over_seeds(own["l0"], lambda v: f"{v:.0f}"),
                "alive": over_seeds(own["alive"], lambda v: f"{v:,.0f}"),
                "FVU": over_seeds(own["fvu"], lambda v: f"{v:.3f}"),
                "still fell, %": over_seeds(own["tail_slope"], percent),
                "cosine of neighbours": over_seeds(own["cosine"], lambda v: f"{v:.2f}"),
                "of any two frames": over_seeds(own["cosine_apart"], lambda v: f"{v:.2f}"),
                "still on in the next, %": over_seeds(own["kept"], percent),
                "a run lasts, ms": over_seeds(20 * own["run_frames"], lambda v: f"{v:.0f}"),
                "verdict": ", ".join(np.unique(own["state"])),
            }
        )
    return markdown(rows)


def places() -> str:
    """Error and active latents by where in a recording a frame is, and from where the dictionary learnt."""
    table = read("places")
    rows = []
    for (name, learnt), own in table.groupby(["representation", "learnt"], sort=False):
        row = {"dictionary": name, "learnt from": learnt}
        for (speakers, place), part in own.groupby(["speakers", "place"], sort=False):
            what = f"{speakers} speakers, {place}"
            row[f"{what}: FVU"] = over_seeds(part["fvu"], _two)
            row[f"{what}: L0"] = over_seeds(part["l0"], lambda v: f"{v:.0f}")
        rows.append(row)
    return markdown(rows)


if __name__ == "__main__":
    main()
