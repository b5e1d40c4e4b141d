"""Every number that a run and the paper both have, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from otoscope.report.drawing import FAMILIES
from otoscope.report.published.reference import beside
from otoscope.report.runs import Run, codes_of, read_run

COLUMNS = ("what", "encoder", "layer", "sparsity", "published", "ours", "difference", "source")
KEY = ["encoder", "layer", "sparsity"]


def comparison(run: Run | str | Path) -> pd.DataFrame:
    """Return the published numbers beside a run's own, each the same quantity at the same place.

    Completeness is, as published, that of the ten factors of highest R2 for the dense state and of the ten of highest
    completeness for codes. By whose rules the run's own numbers were made is for its protocol to say.

    Parameters
    ----------
    run : Run, str or Path
        A run from `otoscope.report.runs.read_run`, or its directory.

    Returns
    -------
    DataFrame
        ``what, encoder, layer, sparsity, published, ours, difference, source``; the sparsity of a dense layer is NaN,
        ``difference`` is ours minus published, and ours are means over seeds. Where the paper has two values of one
        place, a row for each. Empty unless the run is of the paper's data set, label and encoders.
    """
    run = run if isinstance(run, Run) else read_run(run)
    published = beside(run)
    parts = []
    for what, name, column, ours in _ours(run):
        if not published or ours is None:
            continue
        theirs = published[name].reindex(columns=[*KEY, column, "source"])
        ours = ours.groupby(KEY, dropna=False, sort=False)["ours"].mean().reset_index()
        both = (
            theirs.rename(columns={column: "published"})
            .merge(ours, on=KEY)
            .dropna(subset=["published", "ours"])
        )
        parts.append(both.assign(what=what, difference=both["ours"] - both["published"]))
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    both = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    encoders = (
        list(dict.fromkeys(run.tables["layer_probing"]["encoder"])) if "layer_probing" in run.tables else []
    )
    rank = {name: i for i, name in enumerate([*both["what"].unique(), *encoders])}
    keys = both[["what", "encoder", "layer", "sparsity"]].assign(
        what=both["what"].map(rank), encoder=both["encoder"].map(rank), sparsity=both["sparsity"].fillna(-1.0)
    )
    return both.loc[keys.sort_values(list(keys), kind="stable").index].reset_index(drop=True)


def comparison_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``what, encoder, n, published, ours, difference, largest``: `comparison` in a row per kind and encoder.

    Means over layers and sparsities; ``largest`` is the largest absolute difference. Family counts are left out: their
    mean says nothing.
    """
    kept = table[~table["what"].str.startswith("factors of ")]
    rows = []
    for (what, encoder), here in kept.groupby(["what", "encoder"], sort=False):
        means = here[["published", "ours", "difference"]].astype(float).mean()
        largest = here["difference"].astype(float).abs().max()
        rows.append({"what": what, "encoder": encoder, "n": len(here), **means, "largest": largest})
    return pd.DataFrame(rows, columns=["what", "encoder", "n", "published", "ours", "difference", "largest"])


def _ours(run: Run) -> Iterator[tuple[str, str, str, pd.DataFrame | None]]:
    """Yield (what it is, published table and column, our rows of it)."""
    if str(run.summary.get("metric") or "accuracy") == "accuracy":
        yield (
            "probe accuracy, layer",
            "layer_probing",
            "accuracy",
            _rows(run.table("layer_probing"), "accuracy"),
        )
        yield "probe accuracy, codes", "sae_probing", "accuracy", _rows(run.table("sae_probing"), "accuracy")
    yield "MSE of the codes", "reconstruction", "mse", _rows(run.table("reconstruction"), "mse")
    summary = run.table("disentanglement_summary")
    if summary is not None:
        by_r2 = summary[summary["selection"] == "top10_r2"]
        by_completeness = codes_of(summary[summary["selection"] == "top10_completeness"])
        dense = by_r2[by_r2["representation"] == "dense"]
        both = pd.concat([dense, codes_of(by_r2)])
        yield "mean R², ten best", "disentanglement", "top10_r2", _rows(both, "r2_mean")
        both = pd.concat([dense, by_completeness])
        yield (
            "mean completeness, as published",
            "disentanglement",
            "top10_completeness",
            _rows(both, "completeness_mean"),
        )
    families = run.table("factor_families")
    for family in FAMILIES:
        ours = None if families is None else _rows(codes_of(families), family)
        yield f"factors of {family} among the ten best", "factor_families", family, ours


def _rows(table: pd.DataFrame | None, value: str) -> pd.DataFrame | None:
    if table is None:
        return None
    found: dict[str, Any] = {name: table[name] for name in ("encoder", "layer")}
    found["sparsity"] = table["sparsity"] if "sparsity" in table else float("nan")
    return pd.DataFrame(found).assign(ours=table[value])
