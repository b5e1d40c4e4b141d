"""Numbers of single factors: where each is predicted best, and its completeness beside its entropy."""

from __future__ import annotations

import pandas as pd

from otoscope.report.run import Run, score_of
from otoscope.results import (
    FAMILIES,
    HEADLINE_SPARSITY,
    NULLS,
    at_nearest_sparsity,
    entropy_column,
    layer_order,
    trained_codes,
)


def best_factors(run: Run) -> pd.DataFrame:
    """Return where each factor is predicted best.

    Returns
    -------
    DataFrame
        ``encoder, layer, representation, sparsity, factor, family, score, r2_label, r2_beyond, label_owned``. ``score``
        is the R2 that counts in this run; numbers are means over seeds; a factor is the label's if it is in any. Nulls
        are left out; the best predicted comes first.
    """
    by = ["encoder", "layer", "representation", "sparsity", "factor", "family"]
    table = run.table("disentanglement")
    if table is None:
        return pd.DataFrame(columns=[*by, "score", "r2_label", "r2_beyond", "label_owned"])
    real = table[~table["representation"].isin(NULLS) & (table["importance"] == "lasso")]
    groups = real.groupby(by, dropna=False, sort=False)
    means = groups[["r2_label", "r2_beyond"]].mean()
    means = means.assign(label_owned=groups["label_owned"].any(), score=groups[score_of(run)].mean())
    means = means.dropna(subset=["score"]).reset_index()
    best = means.loc[means.groupby("factor", sort=False)["score"].idxmax()]
    return best.sort_values("score", ascending=False, ignore_index=True)


def base_rate(run: Run) -> pd.Series | None:
    """Return family -> share of all factors that are of it: what factors drawn blindly would be about.

    Families that the paper does not name count as "other".
    """
    table = run.table("disentanglement")
    if table is None:
        return None
    families = table.drop_duplicates("factor")["family"]
    return families.where(families.isin(FAMILIES), "other").value_counts(normalize=True)


def entropy_points(
    disentanglement: pd.DataFrame,
    factor_entropy: pd.DataFrame,
    *,
    sparsity: float = HEADLINE_SPARSITY,
    score: str = "r2_cv",
    column: str = "entropy_knn_bits",
    min_r2: float | None = 0.0,
    representation: str | None = None,
    completeness: str = "completeness",
) -> pd.DataFrame:
    """Return ``encoder, layer, factor, completeness, r2, family, entropy, hollow, counted`` of the codes.

    Means over seeds, of the Lasso's importances, at the sparsity nearest to `sparsity`; R2 is the column `score`,
    entropy the column `column`. Factors without a completeness or an entropy are left out. ``hollow``: R2 below
    `min_r2`, and then not ``counted`` in a correlation; or, if `min_r2` is None, no coefficient kept, and counted as
    published. Where entropy is from nearest neighbours, factors that are "mixed" (many values are tied) are left out:
    the estimate says nothing of them.
    With `representation`, "dense" or a null, of that instead of the codes.
    """
    if representation is None:
        codes = trained_codes(disentanglement)
        codes = at_nearest_sparsity(codes, sparsity)
    else:
        codes = disentanglement[disentanglement["representation"] == representation]
    codes = codes[codes["importance"] == "lasso"]
    groups = codes.groupby(["encoder", "layer", "factor"], sort=False)
    means = groups.agg(
        completeness=(completeness, "mean"), r2=(score, "mean"), kept=("n_nonzero", "mean")
    ).reset_index()
    known = factor_entropy if column != entropy_column("knn") else factor_entropy[~factor_entropy["mixed"]]
    entropy = known[["factor", "family"]].assign(entropy=known[column])
    points = means.merge(entropy, on="factor").dropna(subset=["completeness", "entropy"])
    points["hollow"] = points.pop("kept") == 0 if min_r2 is None else points["r2"] < min_r2
    points["counted"] = True if min_r2 is None else ~points["hollow"]
    depth = points["layer"].map(layer_order)
    return points.iloc[depth.argsort(kind="stable")].sort_values("encoder", kind="stable", ignore_index=True)


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Return Spearman's rank correlation; NaN if either side is constant or there are fewer than three points."""
    if len(x) < 3 or x.nunique() == 1 or y.nunique() == 1:
        return float("nan")
    return float(x.rank().corr(y.rank()))
