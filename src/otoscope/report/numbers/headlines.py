"""The few numbers a run is known by: one row per encoder. Sentences, tiles and comparisons all read them here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from otoscope.report.numbers.means import over_seeds, probe_points, rows_of
from otoscope.report.run import Run, completeness_of, in_sample, n_top
from otoscope.results import (
    BEST_LAYER,
    CODES,
    DENSE,
    HEADLINE_SPARSITY,
    NULLS,
    TABLES,
    at_nearest_sparsity,
    layer_order,
    nearest_sparsity,
    trained_codes,
)


@dataclass(frozen=True)
class Best:
    """The layer an encoder is judged by, and how its probe did on test clips."""

    encoder: str
    layer: int | str
    score: float
    low: float
    high: float
    peak_layer: int | str
    peak_score: float
    groups: int
    trusted: bool


@dataclass(frozen=True)
class Drop:
    """What probing codes instead of dense states costs, for one layer and sparsity (dense minus codes)."""

    encoder: str
    layer: int | str
    sparsity: float
    drop: float
    low: float
    high: float
    groups: float

    @property
    def shown(self) -> bool | None:
        """Whether the interval of the difference leaves 0 out; None without an interval."""
        return None if self.low != self.low else not self.low <= 0 <= self.high


def best_layers(run: Run) -> list[Best]:
    """Return each encoder's best layer: the one the run chose where it says so, else the best on test clips."""
    table = run.table("layer_probing")
    if table is None:
        return []
    points = probe_points(table, ("encoder", "layer"))
    found = []
    for encoder, here in points.groupby("encoder", sort=False):
        peak = here.loc[here["mean"].idxmax()]
        chosen = here[here["layer"] == chosen_layer(run, str(encoder))]
        row = chosen.iloc[0] if len(chosen) else peak
        found.append(
            Best(
                str(encoder),
                row["layer"],
                row["mean"],
                row["low"],
                row["high"],
                peak["layer"],
                peak["mean"],
                int(row["groups"]),
                bool(row["trusted"]),
            )
        )
    return sorted(found, key=lambda best: -best.score)


def chosen_layer(run: Run, encoder: str) -> int | str | None:
    """Return the layer that the run chose as best, None if it does not say."""
    return run.layers.get(encoder, {}).get("best")


def comparison(run: Run, encoder: str) -> pd.Series | None:
    """Return the row "best layer minus layer 0" of an encoder."""
    table = run.table("comparisons")
    if table is None:
        return None
    rows = table[(table["encoder"] == encoder) & (table["comparison"] == BEST_LAYER)]
    return rows.iloc[0] if len(rows) else None


def code_drops(run: Run) -> list[Drop]:
    """Return what codes cost a probe, for every layer and sparsity; means over seeds, also of the "
    "paired intervals."""
    codes, dense = run.table("sae_probing"), run.table("layer_probing")
    if codes is None or dense is None:
        return []
    levels = dense.groupby(["encoder", "layer"], sort=False)["score"].mean().to_dict()
    intervals = _paired_intervals(run)
    found = []
    for p in rows_of(over_seeds(codes, "score", by=("encoder", "layer", "sparsity"))):
        level = levels.get((p.encoder, p.layer))
        if level is not None:
            low, high, groups = intervals.get((p.encoder, str(p.layer), p.sparsity), (float("nan"),) * 3)
            found.append(Drop(p.encoder, p.layer, p.sparsity, level - p.mean, -high, -low, groups))
    return found


def main_selection(summary: pd.DataFrame) -> str:
    """Return the selection of factors that figure 2 and the sentences use."""
    known = list(dict.fromkeys(summary["selection"]))
    return next((name for name in ("same", "top10_r2") if name in known), known[0])


FEWEST_FACTORS = 3
"""Factors held, from which on a mean over them is one."""
_OF_HELD = ("completeness_mean", "effective_dims_mean", "effective_dims_matched_mean")
"""Means over the factors that a representation holds, of those selected."""
_SUMMED = {
    "r2_mean": "r2",
    "r2_label_mean": "r2_label",
    "r2_beyond_mean": "r2_beyond",
    "completeness_mean": "completeness",
    "effective_dims_mean": "effective_dims",
    "effective_dims_matched_mean": "effective_dims_matched",
    "n_factors": "n_factors",
}
"""Columns of disentanglement_summary.csv -> what they are called here."""


def main_rows(run: Run, selection: str | None = None) -> pd.DataFrame:
    """Return the rows of disentanglement_summary.csv of a selection (the main one), completeness as it counts.

    Where fits are held out, dimensions and completeness over fewer than `FEWEST_FACTORS` factors are missing.
    """
    summary = run.table("disentanglement_summary")
    if summary is None:
        return pd.DataFrame(columns=list(TABLES["disentanglement_summary"].names))
    rows = summary[summary["selection"] == (selection or main_selection(summary))]
    rows = rows.assign(completeness_mean=rows[f"{completeness_of(run)}_mean"])
    if not in_sample(run):
        rows.loc[rows["n_factors"] < FEWEST_FACTORS, list(_OF_HELD)] = float("nan")
    return rows


def factors_asked(run: Run) -> int:
    """Return of how many factors a selection is: ten, unless fewer were measured."""
    table = run.table("disentanglement")
    return n_top(run) if table is None else min(n_top(run), table["factor"].nunique())


def representations(run: Run, encoder: str, layer: int | str | None) -> pd.DataFrame:
    """Return what each representation of a layer comes to: codes, dense and each null.

    Returns
    -------
    DataFrame
        ``representation, sparsity``, then means over seeds of the main selection, ``r2, r2_label, r2_beyond,
        completeness, effective_dims, effective_dims_matched, n_factors``; ``*_low`` and ``*_high``, their range over
        seeds; ``seeds``, how many; ``completeness_unequal``, that of the unequal selection that was published: highest
        completeness, but for the dense layer. Codes and nulls are at the sparsity nearest to 95 %. ``n_factors`` may
        be below ten, where fewer are predicted at all.
    """
    here = _at(main_rows(run), encoder, layer)
    unequal = _at(main_rows(run, "top10_completeness"), encoder, layer)
    parts = [at_nearest_sparsity(trained_codes(here))]
    parts += [here[here["representation"] == name] for name in (DENSE, *NULLS)]
    rows: list[dict[str, Any]] = []
    for part in parts:
        for name, group in part.groupby("representation", sort=False):
            sparsity = nearest_sparsity(group["sparsity"])
            others = here if name == DENSE else unequal
            others = others[others["representation"] == name]
            if sparsity is not None:
                group = group[group["sparsity"] == sparsity]
                others = others[others["sparsity"] == sparsity]
            values = group[list(_SUMMED)].astype(float).rename(columns=_SUMMED)
            row = {"representation": name, "sparsity": sparsity, **values.mean()}
            row |= {
                f"{column}_{end}": value for end in ("low", "high") for column, value in _ends(values, end)
            }
            row |= {
                "seeds": group["seed"].nunique(),
                "completeness_unequal": others["completeness_mean"].mean(),
            }
            rows.append(row)
    names = [f"{name}{end}" for name in _SUMMED.values() for end in ("", "_low", "_high")]
    names = ["representation", "sparsity", *names, "seeds", "completeness_unequal"]
    return pd.DataFrame(rows, columns=names).astype({"sparsity": float})


def _ends(values: pd.DataFrame, end: str) -> list[tuple[str, float]]:
    return list((values.min() if end == "low" else values.max()).items())


def _at(table: pd.DataFrame, encoder: str, layer: int | str | None) -> pd.DataFrame:
    return table[(table["encoder"] == encoder) & (table["layer"] == layer)]


def studied_layers(run: Run) -> list[tuple[str, int | str]]:
    """Return the (encoder, layer) pairs that were split into latents."""
    names = ("sae_probing", "reconstruction", "disentanglement_summary")
    places = {
        (row.encoder, row.layer)
        for name in names
        if (table := run.table(name)) is not None
        for row in rows_of(table[["encoder", "layer"]].drop_duplicates())
    }
    return sorted(places, key=lambda place: (place[0], layer_order(place[1])))


def main_layer(run: Run, encoder: str | None = None) -> tuple[str, int | str] | None:
    """Return the studied (encoder, layer) that sentences are about, of all encoders or of one.

    The best layer if it was studied, else the studied one whose probe did best.
    """
    places = [place for place in studied_layers(run) if encoder in (None, place[0])]
    if not places:
        return None
    for best in best_layers(run):
        if (best.encoder, best.layer) in places:
            return best.encoder, best.layer
    table = run.table("layer_probing")
    if table is None:
        return places[0]
    levels = table.groupby(["encoder", "layer"], sort=False)["score"].mean().to_dict()
    return max(places, key=lambda place: levels.get(place, float("-inf")))


def headlines(run: Run) -> pd.DataFrame:
    """Return one row per encoder: best layer and score, gain over layer 0, cost of codes, FVU, R2, completeness.

    Codes are those of the main studied layer of that encoder, at the sparsity nearest to 95 %.
    """
    rows = []
    drops = code_drops(run)
    for best in best_layers(run):
        place = main_layer(run, best.encoder)
        layer = place[1] if place else None
        row: dict[str, Any] = {
            "encoder": best.encoder,
            "layer": best.layer,
            "score": best.score,
            "low": best.low,
            "high": best.high,
            "groups": best.groups,
            "trusted": best.trusted,
        }
        gain = comparison(run, best.encoder)
        row["gain"] = gain["difference"] if gain is not None else float("nan")
        row["gain_low"] = gain["difference_low"] if gain is not None else float("nan")
        row["gain_high"] = gain["difference_high"] if gain is not None else float("nan")
        row["studied"] = layer
        here = [drop for drop in drops if (drop.encoder, drop.layer) == (best.encoder, layer)]
        row["code_change"] = (
            -min(here, key=lambda d: abs(d.sparsity - HEADLINE_SPARSITY)).drop if here else float("nan")
        )
        row["fvu"] = _fvu(run, best.encoder, layer)
        table = representations(run, best.encoder, layer)
        codes, dense = trained_codes(table), table[table["representation"] == DENSE]
        row["n_factors"], row["dense_n_factors"] = codes["n_factors"].mean(), dense["n_factors"].mean()
        row["n_asked"] = factors_asked(run)
        row["r2"] = codes["r2"].mean()
        row["dense_r2"] = dense["r2"].mean()
        row["completeness_gain"] = codes["completeness"].mean() - dense["completeness"].mean()
        row["effective_dims"] = codes["effective_dims"].mean()
        row["dense_effective_dims"] = dense["effective_dims"].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def _paired_intervals(run: Run) -> dict[tuple[str, str, float], tuple[float, float, float]]:
    """Return (encoder, layer, sparsity) -> interval of codes minus dense, a mean over seeds, and its test groups."""
    table = run.table("comparisons")
    if table is None:
        return {}
    own = table[table["comparison"] == CODES]
    names = ["difference_low", "difference_high", "n_groups"]
    means = own.groupby(["encoder", "layer", "sparsity"])[names].mean()
    return {
        (encoder, str(layer), sparsity): (low, high, groups)
        for (encoder, layer, sparsity), (low, high, groups) in zip(means.index, means.to_numpy())
    }


def _fvu(run: Run, encoder: str, layer: int | str | None) -> float:
    table = run.table("reconstruction")
    if table is None:
        return float("nan")
    here = table[(table["encoder"] == encoder) & (table["layer"] == layer)]
    return at_nearest_sparsity(here)["fvu"].mean()
