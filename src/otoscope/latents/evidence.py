"""Which labels, groups and factors each latent goes with, beside what chance would give.

A latent's value in a clip is its mean code over the clip's rows. Labels: the area under the ROC curve, which is the
chance that a clip with the label has a higher value than one without. Factors: Spearman's correlation after the ranks
of both were centred by the label's classes and by groups, so what is left goes together among clips of one class sung
or spoken by one person. All are tested by permutation; p is corrected for all latents and all values of a column by the
highest z of each draw, and by Bonferroni for the number of columns, or of kinds of factors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

from otoscope.clips import COLUMNS, label_kind
from otoscope.latents.permuting import CHUNK, Null, Tested, corrected, draw, permutation_test

FEWEST_CLIPS = 10
"""A latent that fires in fewer clips is not tested: too little to say anything of it."""
FEWEST_OF_VALUE = 5
"""Clips that a label's value needs."""
MOST_VALUES = 200
"""A column of more values is no label (a transcript, a file name)."""
GROUP = "group"
_NUMBERS = 8_000_000
"""Ranks that are in memory at a time."""


@dataclass(frozen=True)
class Labels:
    """Which clips have which label.

    Attributes
    ----------
    pairs : DataFrame
        ``column, value``: the labels.
    holds : bool [clips, labels]
    nulls : dict
        Column -> how its labels are dealt out anew.
    """

    pairs: pd.DataFrame
    holds: np.ndarray
    nulls: dict[str, Null]


def labels_of(clips: pd.DataFrame) -> Labels:
    """Return all labels of a clips table that enough clips have and lack, and the groups as one more column."""
    names, masks, nulls = [], [], {}
    groups = clips.group.to_numpy()
    for column in [GROUP, *label_columns(clips)]:
        for value, mask in masks_of(clips[column]).items():
            if FEWEST_OF_VALUE <= mask.sum() <= len(clips) - FEWEST_OF_VALUE:
                names.append((column, value))
                masks.append(mask)
        nulls[column] = _null_of(clips[column].astype(str).to_numpy(), groups)
    holds = np.array(masks, dtype=bool).reshape(len(masks), len(clips)).T
    return Labels(pd.DataFrame(names, columns=["column", "value"]), holds, nulls)


def label_columns(clips: pd.DataFrame) -> list[str]:
    """Return the columns that hold classes: neither numbers, nor the group once more, nor a name for each clip."""
    found = []
    for column in clips.columns:
        if column in COLUMNS or column == "channel" or label_kind(clips[column]) == "number":
            continue
        values = clips[column].astype(str)
        if 2 <= values.nunique() <= min(MOST_VALUES, len(clips) / 2) and not _same(values, clips.group):
            found.append(column)
    return found


def label_evidence(
    values: sparse.csc_matrix,
    latents: np.ndarray,
    labels: Labels,
    groups: np.ndarray,
    *,
    n_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Return how well each latent tells clips with each label from those without.

    Parameters
    ----------
    values : sparse [clips, latents]
    latents : int [tested]
        Which to test.
    labels : Labels
    groups : int [clips]
        From 0.

    Returns
    -------
    DataFrame
        ``latent, column, value, auc, null95, p, p_corrected, null``, a row for each latent and label.
    """
    n = len(groups)
    found: list[tuple[np.ndarray, Tested]] = []
    for number, (column, null) in enumerate(labels.nulls.items()):
        own = np.flatnonzero(labels.pairs.column == column)
        if not len(own) or not len(latents):
            continue
        holds = labels.holds[:, own].astype(np.float64)
        n_with = holds.sum(0)
        scaled = (holds - holds.mean(0)) / (n_with * (n - n_with))
        draws = draw(null, groups, max(n_draws, 40 * len(labels.nulls)), seed=seed + number)
        found.append((own, permutation_test(rank_chunks(values, latents), scaled, draws, two_sided=False)))
    if not found:
        return pd.DataFrame(
            columns=["latent", "column", "value", "auc", "null95", "p", "p_corrected", "null"]
        )
    tables = []
    for own, tested in found:
        pairs = labels.pairs.iloc[np.tile(own, len(latents))].reset_index(drop=True)
        table = pairs.assign(auc=0.5 + tested.statistic.ravel(), null95=0.5 + tested.null95.ravel())
        table = table.assign(
            p=tested.p.ravel(), p_corrected=corrected(tested.z, tested.highest, n_families=len(found)).ravel()
        )
        table.insert(0, "latent", np.repeat(latents, len(own)))
        tables.append(table.assign(null=table.column.map(labels.nulls)))
    return pd.concat(tables, ignore_index=True)


def factor_evidence(
    values: sparse.csc_matrix | sparse.csr_matrix,
    latents: np.ndarray,
    factors: pd.DataFrame,
    groups: np.ndarray,
    classes: np.ndarray | None,
    *,
    in_time: bool = False,
    n_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Return how each latent goes with each factor beyond the label and the group.

    Parameters
    ----------
    values : sparse [rows, latents]
        Rows are clips or, `in_time`, moments.
    latents : int [tested]
    factors : DataFrame [rows, factors]
        NaN leaves a row out, for that factor.
    groups : int [rows]
        Ranks are centred in each; of moments the clip.
    classes : int [rows], optional
        Ranks are centred in each of these too.
    in_time : bool
        Factors are dealt out anew by shifts within each clip, which keeps how slowly they change.

    Returns
    -------
    DataFrame
        ``latent, factor, rho, null95, p, p_corrected, null``, a row for each latent and factor.
    """
    found: list[tuple[list[str], Tested, Null]] = []
    missing = factors.isna()
    for number, names in enumerate(_patterns(missing)):
        rows = np.flatnonzero(~missing[names[0]].to_numpy())
        if len(rows) < 2 * FEWEST_CLIPS or not len(latents):
            continue
        own = np.unique(groups[rows], return_inverse=True)[1]
        kinds = [] if classes is None else [np.unique(classes[rows], return_inverse=True)[1]]
        alone = int(own.max()) + 1 == len(rows)
        ranks = rankdata(factors[names].to_numpy()[rows], axis=0)
        split: list[tuple[np.ndarray, Null, list[np.ndarray]]]
        varies = np.ones(len(names), bool) if alone else _varies(ranks, own)
        inside: Null = "shifted in time" if in_time else "clips" if alone else "within groups"
        split = [(varies, inside, kinds if alone else [*kinds, own])]
        if not in_time and not alone:
            split.append((~varies, "whole groups", kinds))
        for chosen, null, centred_by in split:
            columns = centred(ranks[:, chosen], [] if null == "whole groups" else centred_by)
            norms = np.sqrt((columns**2).sum(0))
            kept = norms > 1e-6 * len(rows)
            if not kept.any():
                continue
            labelled = [name for name, one in zip(np.array(names)[chosen], kept) if one]
            draws = draw(null, own, n_draws, seed=seed + 100 + number)
            residuals = rank_chunks(values[rows], latents, by=centred_by, scaled=True)
            tested = permutation_test(residuals, columns[:, kept] / norms[kept], draws, two_sided=True)
            found.append((labelled, tested, null))
    if not found:
        return pd.DataFrame(columns=["latent", "factor", "rho", "null95", "p", "p_corrected", "null"])
    families: dict[Null, np.ndarray] = {}
    for _, tested, null in found:
        families[null] = np.maximum(families.get(null, -np.inf), tested.highest)
    tables = [
        pd.DataFrame(
            {
                "latent": np.repeat(latents, len(labelled)),
                "factor": np.tile(labelled, len(latents)),
                "rho": tested.statistic.ravel(),
                "null95": tested.null95.ravel(),
                "p": tested.p.ravel(),
                "p_corrected": corrected(tested.z, families[null], n_families=len(families)).ravel(),
                "null": null,
            }
        )
        for labelled, tested, null in found
    ]
    return pd.concat(tables, ignore_index=True)


def centred(ranks: np.ndarray, by: list[np.ndarray]) -> np.ndarray:
    """Return `ranks` [rows, columns] less their mean and less what classes and groups [rows] explain of them, added."""
    x = ranks - ranks.mean(0)
    members = [sparse.csr_matrix((np.ones(len(of)), (of, np.arange(len(of))))) for of in by]
    for _ in range(1 if len(by) < 2 else 20):
        before = x
        for member in members:
            means = (member @ x) / np.asarray(member.sum(1))
            x = x - member.T @ means
        if np.abs(x - before).max(initial=0) < 1e-6 * len(x):
            break
    return x


def rank_chunks(
    values: sparse.spmatrix, latents: np.ndarray, *, by: list[np.ndarray] | None = None, scaled: bool = False
) -> Iterator[np.ndarray]:
    """Yield centred ranks [rows, some latents]; `scaled` to norm 1, zeros where nothing varies."""
    columns = values.tocsc()
    size = max(min(CHUNK, _NUMBERS // columns.shape[0]), 1)
    for start in range(0, len(latents), size):
        dense = columns[:, latents[start : start + size]].toarray()
        x = centred(rankdata(dense, axis=0), by or [])
        if scaled:
            norms = np.sqrt((x**2).sum(0))
            x = np.divide(x, norms, out=np.zeros_like(x), where=norms > 1e-6 * len(x))
        yield x


def masks_of(values: pd.Series) -> dict[str, np.ndarray]:
    """Return which clips have each value; ``a;b`` is two, and an empty cell none."""
    held = [{part.strip() for part in cell.split(";")} for cell in values.fillna("").astype(str)]
    names = sorted(set().union(*held) - {""})
    return {name: np.array([name in own for own in held]) for name in names}


def _null_of(values: np.ndarray, groups: np.ndarray) -> Null:
    """Return how a column's labels can be dealt out anew."""
    n_groups = len(np.unique(groups))
    if n_groups == len(groups) or _same(pd.Series(values), pd.Series(groups)):
        return "clips"
    constant = pd.Series(values).groupby(groups).nunique().eq(1)
    return "whole groups" if constant.all() else "within groups"


def _same(values: pd.Series, groups: pd.Series) -> bool:
    """Whether a column only names the groups."""
    pairs = pd.DataFrame({"a": values.to_numpy(), "b": groups.to_numpy()}).drop_duplicates()
    return len(pairs) == pairs.a.nunique() == pairs.b.nunique()


def _patterns(missing: pd.DataFrame) -> list[list[str]]:
    """Return factors that are missing in the same rows, together."""
    found: dict[bytes, list[str]] = {}
    for name in missing:
        found.setdefault(np.packbits(missing[name].to_numpy()).tobytes(), []).append(name)
    return list(found.values())


def _varies(ranks: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return which columns [rows, columns] vary within groups."""
    inside = centred(ranks, [groups])
    total = ranks - ranks.mean(0)
    return (inside**2).sum(0) > 1e-3 * np.maximum((total**2).sum(0), 1e-12)
