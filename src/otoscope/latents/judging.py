"""Do names say where latents fire in clips of people that no name was made from?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.latents.evidence import rank_chunks
from otoscope.latents.ground import Ground
from otoscope.latents.rules import Rule

FEWEST = 3
"""Rows in which a rule must hold, and in which it must not, to be judged."""
COLUMNS = (
    "latent",
    "name",
    "confidence",
    "auc",
    "random_auc",
    "as_good",
    "detection",
    "n_hits",
    "n_false",
    "n_holding",
    "n_rows",
    "n_groups",
)


def judge_names(ground: Ground, names: pd.DataFrame) -> pd.DataFrame:
    """Check names on rows, of other groups than they were made from.

    A name's AUC is the chance that the latent is stronger in a clip where its rule holds than in one where it does
    not. Its detection asks the other way, from firing or not to the rule; of moments, of which a latent fires in few,
    this is the AUC. Names of one group are not judged, as that group is not there. Beside a name stands what those of
    the other latents say of this latent: what one drawn at random reaches, and how many that say something else tell
    as much.

    Parameters
    ----------
    ground : Ground
        The rows to be judged on: values, labels and factors, clips or moments; names of the other kind are left out.
    names : DataFrame
        ``latent, name, rule, confidence``, as `name_latents` gives them.

    Returns
    -------
    DataFrame
        ``latent, name, confidence, auc, random_auc, as_good, detection, n_hits, n_false, n_holding, n_rows, n_groups``,
        a row for each name that could be judged: rules that hold in fewer than 3 rows, or fail in fewer, are left out.
        `random_auc` is the mean over the other latents' names, `as_good` the share of all other rules that reach `auc`;
        NaN where there is none. `n_hits` are rows where the rule holds and the latent fires, `n_false` where it fires
        and the rule does not hold.
    """
    texts, rules = [], []
    for text in names.rule:
        rule = Rule.from_json(text)
        usable = not rule.group and rule.moments == ground.moments
        rules.append(rule if usable else Rule())
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
    latents = judged.latent.to_numpy()
    fires = (ground.values.tocsc()[:, latents] > 0).astype(np.float64)
    n_on = np.asarray(fires.sum(0)).ravel()
    n = holds.shape[1]
    apart = (holds - holds.mean(1, keepdims=True)) @ fires  # [rules, judged latents]
    detects = 0.5 + 0.5 * n * apart / np.maximum(n_on * (n - n_on), 1)
    if ground.moments:
        every = detects
    else:
        every = 0.5 + scaled @ np.concatenate(list(rank_chunks(ground.values, latents)), axis=1)
    auc = every[own, np.arange(len(own))]
    n_others = len(own) - 1
    bearers = np.bincount(own, minlength=len(every))
    mean = (bearers @ every - auc) / n_others if n_others else np.full(1, np.nan)
    n_hits = np.asarray(fires.multiply(holds[own].T).sum(0)).ravel().astype(int)
    as_good = ((every >= auc).sum(0) - 1) / (len(every) - 1) if len(every) > 1 else np.full(len(own), np.nan)
    return judged[["latent", "name", "confidence"]].assign(
        auc=auc,
        random_auc=mean,
        as_good=as_good,
        detection=detects[own, np.arange(len(own))],
        n_hits=n_hits,
        n_false=n_on.astype(int) - n_hits,
        n_holding=n_with[own],
        n_rows=n,
        n_groups=ground.labels.group.nunique(),
    )
