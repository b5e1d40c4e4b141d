"""What the paper published, from tables that come with the package, and every number that a run has too beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from otoscope.report.run import Run, metric_of, read_run
from otoscope.results import DENSE, FAMILIES, TABLES, trained_codes

CITATION = (
    "Mariotte, Lebourdais, Almudévar, Tahon, Ortega, Dugué: Sparse Autoencoders Make Audio Foundation Models More "
    "Explainable (2025)"
)
DATASET, LABEL = "vocalset", "technique"

ENCODERS = {
    "ast": ("ast", "ast-finetuned-audioset-10-10-0.4593"),
    "hubert": ("hubert-base", "hubert-base-ls960"),
    "wavlm": ("wavlm-base-plus",),
    "mert": ("mert-v1-95m",),
}
"""Name in the tables -> what a run calls the same model: our short name, or the last part of its hub id."""

Published = dict[str, pd.DataFrame]
"""Published tables by name, with a run's own names for the encoders."""

KEY = ["encoder", "layer", "sparsity"]


@dataclass(frozen=True)
class Quantity:
    """A kind of number that was published.

    Attributes
    ----------
    name : str
        As the column ``quantity`` of published_comparison.csv has it.
    label : str
        As a person reads it.
    table, column : str
        Where the published values stand.
    written : {"accuracy", "r2", "mse", "count"}
        How its values are written.
    """

    name: str
    label: str
    table: str
    column: str
    written: str


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("probe_layers", "probe accuracy, layer", "layer_probing", "score", "accuracy"),
        Quantity("probe_codes", "probe accuracy, codes", "sae_probing", "score", "accuracy"),
        Quantity("mse", "MSE of the codes", "reconstruction", "mse", "mse"),
        Quantity("r2_top10", "mean R², ten best", "disentanglement", "top10_r2", "r2"),
        Quantity(
            "completeness_published",
            "mean completeness, as published",
            "disentanglement",
            "top10_completeness",
            "r2",
        ),
        *(
            Quantity(
                f"n_{family}", f"factors of {family} among the ten best", "factor_families", family, "count"
            )
            for family in FAMILIES
        ),
    )
}
"""By name, in the order they are shown."""


def published_name(encoder: str) -> str | None:
    """Return what the published tables call an encoder of a run, None if it is none of theirs."""
    last = encoder.replace("--", "/").rpartition("/")[2].lower()
    return next((name for name, ours in ENCODERS.items() if last in ours), None)


def published_table(name: str) -> pd.DataFrame:
    """Return a published table.

    Parameters
    ----------
    name : {"layer_probing", "sae_probing", "reconstruction", "disentanglement", "factor_families", "table1_sota"}

    Returns
    -------
    DataFrame
        As the file has it, ``source`` last; layers are ints, and the sparsity of a dense layer is NaN.
    """
    return _read(name).copy()


def beside(run: Run) -> Published:
    """Return the published tables of the encoders that a run has too, under the run's own names for them.

    Empty unless the run is of the paper's data set and label, and has one of its four encoders.
    """
    dataset = run.spec.get("dataset") or {}
    if dataset.get("name") != DATASET or dataset.get("label", LABEL) != LABEL:
        return {}
    encoders = dict.fromkeys(
        encoder for table in run.tables.values() if "encoder" in table for encoder in table["encoder"]
    )
    ours = {name: encoder for encoder in encoders if (name := published_name(encoder)) is not None}
    if not ours:
        return {}
    found = {}
    for name in ("layer_probing", "sae_probing", "reconstruction", "disentanglement", "factor_families"):
        table = published_table(name)
        table = table[table["encoder"].isin(ours)]
        found[name] = table.assign(encoder=table["encoder"].map(ours)).reset_index(drop=True)
    found["table1_sota"] = published_table("table1_sota")
    return found


def comparison(run: Run | str | Path) -> pd.DataFrame:
    """Return the published numbers beside a run's own, each the same quantity at the same place.

    Completeness is, as published, that of the ten factors of highest R2 for the dense state and of the ten of highest
    completeness for codes. By whose rules the run's own numbers were made is for its protocol to say.

    Parameters
    ----------
    run : Run, str or Path
        A run from `otoscope.report.run.read_run`, or its directory.

    Returns
    -------
    DataFrame
        ``quantity`` (see `QUANTITIES`), ``encoder, layer, sparsity, published, ours, difference, source``; the sparsity
        of a dense layer is NaN, ``difference`` is ours minus published, and ours are means over seeds. Where the paper
        has two values of one place, a row for each. Empty unless it is of the paper's data set, label and encoders.
    """
    run = run if isinstance(run, Run) else read_run(run)
    published = beside(run)
    columns = list(TABLES["published_comparison"].names)
    parts = []
    for name, ours in _ours(run).items():
        if not published or ours is None:
            continue
        quantity = QUANTITIES[name]
        theirs = published[quantity.table].reindex(columns=[*KEY, quantity.column, "source"])
        ours = ours.groupby(KEY, dropna=False, sort=False)["ours"].mean().reset_index()
        both = theirs.rename(columns={quantity.column: "published"}).merge(ours, on=KEY)
        both = both.dropna(subset=["published", "ours"])
        parts.append(both.assign(quantity=name, difference=both["ours"] - both["published"]))
    if not parts:
        return pd.DataFrame(columns=columns)
    both = pd.concat(parts, ignore_index=True)[columns]
    encoders = (
        list(dict.fromkeys(run.tables["layer_probing"]["encoder"])) if "layer_probing" in run.tables else []
    )
    rank = {name: i for i, name in enumerate([*QUANTITIES, *encoders])}
    keys = both[["quantity", *KEY]].assign(
        quantity=both["quantity"].map(rank),
        encoder=both["encoder"].map(rank),
        sparsity=both["sparsity"].fillna(-1.0),
    )
    return both.loc[keys.sort_values(list(keys), kind="stable").index].reset_index(drop=True)


def comparison_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``quantity, encoder, n, published, ours, difference, largest``, a row per quantity and encoder.

    Of a `comparison`: means over layers and sparsities; ``largest`` is the largest absolute difference. Family counts
    are left out: their mean says nothing.
    """
    counts = [name for name, quantity in QUANTITIES.items() if quantity.written == "count"]
    kept = table[~table["quantity"].isin(counts)]
    rows = []
    for (name, encoder), here in kept.groupby(["quantity", "encoder"], sort=False):
        means = here[["published", "ours", "difference"]].astype(float).mean()
        largest = here["difference"].astype(float).abs().max()
        rows.append({"quantity": name, "encoder": encoder, "n": len(here), **means, "largest": largest})
    columns = ["quantity", "encoder", "n", "published", "ours", "difference", "largest"]
    return pd.DataFrame(rows, columns=columns)


def _ours(run: Run) -> dict[str, pd.DataFrame | None]:
    """Return the name of each quantity -> our rows of it, None where the run has none."""
    found: dict[str, pd.DataFrame | None] = {}
    if metric_of(run) == "accuracy":
        found["probe_layers"] = _rows(run.table("layer_probing"), "score")
        found["probe_codes"] = _rows(run.table("sae_probing"), "score")
    found["mse"] = _rows(run.table("reconstruction"), "mse")
    summary = run.table("disentanglement_summary")
    if summary is not None:
        by_r2 = summary[summary["selection"] == "top10_r2"]
        by_completeness = trained_codes(summary[summary["selection"] == "top10_completeness"])
        dense = by_r2[by_r2["representation"] == DENSE]
        found["r2_top10"] = _rows(pd.concat([dense, trained_codes(by_r2)]), "r2_mean")
        both = pd.concat([dense, by_completeness])
        found["completeness_published"] = _rows(both, "completeness_published_mean")
    families = run.table("factor_families")
    if families is not None:
        found |= {f"n_{family}": _rows(trained_codes(families), family) for family in FAMILIES}
    return found


def _rows(table: pd.DataFrame | None, value: str) -> pd.DataFrame | None:
    if table is None:
        return None
    found: dict[str, Any] = {name: table[name] for name in ("encoder", "layer")}
    found["sparsity"] = table["sparsity"] if "sparsity" in table else float("nan")
    return pd.DataFrame(found).assign(ours=table[value])


@cache
def _read(name: str) -> pd.DataFrame:
    path = resources.files("otoscope.report") / "published" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, na_values=["dense"])
    if "layer" in table:
        table["layer"] = table["layer"].astype("Int64").astype(object)
    return table
