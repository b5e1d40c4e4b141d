"""Do names say where latents fire in clips of people that no name was made from?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.latents.evidence import rank_chunks
from otoscope.latents.names import Ground
from otoscope.latents.rules import Rule

FEWEST = 3
"""Rows in which a rule must hold, and in which it must not, to be judged."""
COLUMNS = (
    "latent",
    "name",
    "confidence",
    "auc",
    "random_auc",
    "random_95",
    "n_holding",
    "n_rows",
    "n_groups",
)


def judge_names(ground: Ground, names: pd.DataFrame) -> pd.DataFrame:
    """Check names on rows, of other groups than they were made from.

    A name's AUC is the chance that the latent is stronger in a row where its rule holds than in one where it does not.
    A group in a name is left aside, as that group is not there. Beside it stands what the names of the other latents
    say of this latent: their mean is what a name drawn at random reaches.

    Parameters
    ----------
    ground : Ground
        The rows to be judged on: values, labels and factors, clips or moments; names of the other kind are left out.
    names : DataFrame
        ``latent, name, rule, confidence``, as `name_latents` gives them.

    Returns
    -------
    DataFrame
        ``latent, name, confidence, auc, random_auc, random_95, n_holding, n_rows, n_groups``, a row for each name that
        could be judged: rules that hold in fewer than 3 rows, or fail in fewer, are left out. NaN in random_auc where
        there is no other name.
    """
    texts, rules = [], []
    for text in names.rule:
        rule = Rule.from_json(text)
        usable = bool(rule.conditions) and rule.moments == ground.moments
        rules.append(rule.without_group if usable else Rule())
        texts.append(rules[-1].to_json())
    masks = {}
    for text, rule in dict(zip(texts, rules)).items():
        holds = rule.holds(ground.labels, ground.factors) if rule else np.zeros(len(ground.labels), bool)
        if FEWEST <= holds.sum() <= len(holds) - FEWEST:
            masks[text] = holds
    kept = np.array([text in masks for text in texts], dtype=bool)
    if not kept.any():
        return pd.DataFrame(columns=list(COLUMNS))
    judged = names[kept].reset_index(drop=True)
    known = list(masks)
    own = np.array([known.index(text) for text, keep in zip(texts, kept) if keep])
    holds = np.array([masks[text] for text in known])
    n_with = holds.sum(1)
    scaled = (holds - holds.mean(1, keepdims=True)) / (n_with * (holds.shape[1] - n_with))[:, None]
    ranks = np.concatenate(list(rank_chunks(ground.values, judged.latent.to_numpy())), axis=1)
    every = 0.5 + scaled @ ranks  # [rules, judged latents]
    auc = every[own, np.arange(len(own))]
    mean, high = _of_others(every, own, auc)
    return judged[["latent", "name", "confidence"]].assign(
        auc=auc,
        random_auc=mean,
        random_95=high,
        n_holding=n_with[own],
        n_rows=holds.shape[1],
        n_groups=ground.labels.group.nunique(),
    )


def _of_others(every: np.ndarray, own: np.ndarray, auc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and 95th percentile of what the other latents' names reach."""
    n = len(own)
    if n < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    bearers = np.bincount(own, minlength=len(every)).astype(float)
    mean = (bearers @ every - auc) / (n - 1)
    high = np.empty(n)
    for latent in range(n):
        others = bearers.copy()
        others[own[latent]] -= 1
        order = np.argsort(every[:, latent])
        reached = np.cumsum(others[order]) / (n - 1)
        high[latent] = every[order[np.searchsorted(reached, 0.95 - 1e-9)], latent]
    return mean, high
