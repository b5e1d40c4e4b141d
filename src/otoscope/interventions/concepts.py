"""Taking a label out of a layer, by latents or in closed form, and what other labels lose by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch

from otoscope.errors import InputError
from otoscope.interventions.edits import matched_latents
from otoscope.interventions.erasure import leace, mean_projection, one_hot, random_projection
from otoscope.probing import probe
from otoscope.results import (
    LATENTS,
    LEACE,
    MEAN_PROJECTION,
    RANDOM_DIRECTIONS,
    RANDOM_LATENTS,
    TARGET,
    UNTOUCHED,
)

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Of the living latents, how many are erased."""


@dataclass(frozen=True)
class Concept:
    """A label, and which rows a probe of it learns from and is scored on.

    Attributes
    ----------
    labels : sequence [rows]
        Classes.
    split : sequence [rows] of str
        train, test, or anything else for rows that are left out.
    groups : sequence [rows]
        What keeps rows apart: singer, speaker, recording.
    held_out : {"groups", "clips"}
        What the tested rows are of: groups that no probe has heard or, where a label is its group's own (the speaker),
        other clips of the same groups.
    """

    labels: Sequence | np.ndarray
    split: Sequence[str] | np.ndarray
    groups: Sequence | np.ndarray
    held_out: Literal["groups", "clips"] = "groups"

    @classmethod
    def of(cls, rows: pd.DataFrame, label: str) -> Concept:
        """Return the concept of a column of ``clip_id, split, group, <label>``.

        It is judged on the test side of `split` or, where the training side lacks one of the classes there, on every
        fourth clip of each class.
        """
        labels, split = rows[label].astype(str).to_numpy(), rows.split.to_numpy().copy()
        train, test = (set(labels[split == side]) for side in ("train", "test"))
        if test and test <= train:
            return cls(labels, split, rows.group.to_numpy())
        clips = rows.drop_duplicates("clip_id")
        turn = clips.groupby(clips[label].astype(str), sort=False).cumcount().to_numpy() % 4
        tested = set(clips.clip_id[turn == 3])
        split = np.where(rows.clip_id.isin(tested), "test", "train")
        return cls(labels, split, rows.clip_id.to_numpy(), "clips")

    def score(self, x: np.ndarray) -> dict[str, float]:
        """Return a fresh probe's accuracy on ``x [rows, width]``, its interval, and the commonest class's."""
        used = np.isin(np.asarray(self.split), ["train", "test"])
        labels = pd.Series(np.asarray(self.labels)[used])
        split = np.asarray(self.split)[used]
        found = probe(x[used], labels, split=split, groups=np.asarray(self.groups)[used], kind="class")
        common = labels[split == "train"].mode()[0]
        chance = float((labels[split == "test"] == common).mean())
        return {"score": found.score, "low": found.score_low, "high": found.score_high, "chance": chance}

    @property
    def train(self) -> np.ndarray:
        """Which rows train, [rows] of bool."""
        return np.asarray(self.split) == "train"


def clip_means(
    sae: SparseAutoencoder, rows: pd.DataFrame, x: np.ndarray, *, chunk: int = 8192
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return rows, states and codes; of frames their means over each crop, which erasing latents edits alike.

    Parameters
    ----------
    rows : DataFrame
        With ``clip_id, crop``; a column ``time_s`` says that rows are frames.
    x : np.ndarray [rows, width]
    """
    from otoscope.saes import codes_of

    if "time_s" not in rows:
        return rows.reset_index(drop=True), x, codes_of(sae, x)
    crop = rows.groupby(["clip_id", "crop"], sort=False).ngroup().to_numpy()
    first = rows.drop(columns="time_s").drop_duplicates(["clip_id", "crop"]).reset_index(drop=True)
    sizes = np.bincount(crop)[:, None]
    means, codes = np.zeros((len(first), x.shape[1])), np.zeros((len(first), sae.n_latents))
    for start in range(0, len(x), chunk):
        own = slice(start, start + chunk)
        np.add.at(means, crop[own], x[own])
        np.add.at(codes, crop[own], codes_of(sae, x[own]))
    return first, (means / sizes).astype(np.float32), (codes / sizes).astype(np.float32)


def rank_latents(codes: np.ndarray, labels: Sequence | np.ndarray) -> np.ndarray:
    """Return the latents in order of how much of their variance lies between classes; silent ones come last.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
        Of training rows.
    labels : sequence [rows]
    """
    z = np.asarray(codes, dtype=np.float64)
    one = one_hot(labels)
    counts = one.sum(0)
    between = (((one.T @ z) / counts[:, None] - z.mean(0)) ** 2 * counts[:, None]).sum(0)
    total = ((z - z.mean(0)) ** 2).sum(0)
    share = np.divide(between, total, out=np.full(z.shape[1], -1.0), where=total > 0)
    return np.argsort(-share, kind="stable")


def erase_latents(
    x: np.ndarray,
    codes: np.ndarray,
    sae: SparseAutoencoder,
    latents: np.ndarray,
    *,
    to: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return rows with latents set to `to` and the autoencoder's error kept: ``x + decode(new) - decode(old)``.

    Rows may be means over a clip's frames, with the means of the frames' codes: decoding is affine, so this is the
    mean of the edited frames.
    """
    old = torch.from_numpy(np.ascontiguousarray(codes)).to(next(sae.parameters()))
    new = old.clone()
    new[:, torch.as_tensor(np.asarray(latents, dtype=np.int64))] = torch.as_tensor(to).to(new)
    with torch.no_grad():
        step = (sae.decode(new) - sae.decode(old)).double().cpu().numpy()
    return np.asarray(x, dtype=np.float64) + step


def erasure_curve(
    x: np.ndarray,
    codes: np.ndarray,
    sae: SparseAutoencoder,
    *,
    target: Concept,
    keep: Mapping[str, Concept],
    order: np.ndarray,
    counts: Sequence[int],
    to: np.ndarray | None = None,
    on_row: Callable[[dict], None] | None = None,
) -> pd.DataFrame:
    """Erase latents in an order, more and more of them, and probe anew for what is left of each label.

    Parameters
    ----------
    x : np.ndarray [rows, width]
        States, or means of them over clips.
    codes : np.ndarray [rows, latents]
        Of the same rows.
    sae : SparseAutoencoder
    target : Concept
        The label to take out.
    keep : mapping of name -> Concept
        Labels to leave.
    order : np.ndarray
        Latents, ranked on rows that no probe is scored on.
    counts : sequence of int
        How many to erase.
    to : np.ndarray [latents], optional
        What a latent is set to, such as its training mean; default: zero.
    on_row : callable, optional
        Called with each row once it is measured.

    Returns
    -------
    DataFrame
        ``n_latents, share, label, score, low, high, chance, change``: a row for each count and label ("target", and
        those to keep). `share` is of the latents in `order`; `change` the squared change of the rows over their
        variance.
    """
    rows = []
    spread = float(((x - x.mean(0)) ** 2).sum())
    for n in counts:
        chosen = order[:n]
        edited = erase_latents(x, codes, sae, chosen, to=0.0 if to is None else to[chosen])
        change = float(((edited - x) ** 2).sum()) / spread
        for name, concept in {TARGET: target, **keep}.items():
            about = {"n_latents": n, "share": n / len(order), "label": name}
            rows.append({**about, **concept.score(edited), "change": change})
            if on_row:
                on_row(rows[-1])
    return pd.DataFrame(rows)


def needed_for_chance(curve: pd.DataFrame) -> int | None:
    """Return the fewest latents from which on the target is at chance (`at_chance`); None if none do.

    `curve` is one of `erasure_curve`; what fewest latents leave stands for the untouched score.
    """
    own = curve[curve.label == TARGET].sort_values("n_latents")
    gone = at_chance(own, own.score.iloc[0])
    last_kept = np.flatnonzero(~gone)
    place = 0 if not len(last_kept) else int(last_kept[-1]) + 1
    return int(own.n_latents.iloc[place]) if place < len(own) else None


def at_chance(rows: pd.DataFrame, untouched: float) -> np.ndarray:
    """Return whether each row's score is at chance: nine tenths of the way are gone, and its interval reaches there.

    The interval alone would not do: over two or three groups it reaches chance whatever the score.
    """
    near = rows.score - rows.chance <= 0.1 * np.maximum(untouched - rows.chance, 0)
    return (near & ~(rows.low > rows.chance)).to_numpy()


def erase(
    x: np.ndarray,
    codes: np.ndarray,
    sae: SparseAutoencoder,
    *,
    target: Concept,
    keep: Mapping[str, Concept],
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    on_rows: Callable[[pd.DataFrame], None] | None = None,
    done: Callable[[str, int], bool] = lambda method, n: False,
) -> pd.DataFrame:
    """Erase a label in every way, and probe anew for what is left of it and of others.

    Latents are ranked (`rank_latents`) on the rows that train the target's probe, and set to their mean there; LEACE
    and mean projection are fitted on the same rows.

    Parameters
    ----------
    x, codes, sae, target, keep
        As in `erasure_curve`.
    shares : sequence of float
        Of the latents that are ever active on those rows.
    seed : int
        Of random latents (as many, of equal frequency) and random directions.
    on_rows : callable, optional
        Called with each way's rows once they are measured.
    done : callable, optional
        From a method and its number of latents or directions to whether it is measured already, and left out.

    Returns
    -------
    DataFrame
        ``method, n, share, label, held_out, score, low, high, chance, change``: `n` latents or directions; `share` of
        the living latents, NaN of directions; `label` "target" or one to keep; `change` the squared change of the rows
        over their variance.
    """
    concepts = {TARGET: target, **keep}
    spread = float(((x - x.mean(0)) ** 2).sum())
    parts = []
    for method, n, share, edit in _ways(x, codes, sae, target, shares, seed):
        if done(method, n):
            continue
        edited = edit()
        change = float(((edited - x) ** 2).sum()) / spread
        about = {"method": method, "n": n, "share": share}
        rows = [
            {**about, "label": name, "held_out": concept.held_out, **concept.score(edited), "change": change}
            for name, concept in concepts.items()
        ]
        parts.append(pd.DataFrame(rows))
        if on_rows:
            on_rows(parts[-1])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


Way = tuple[str, int, float, Callable[[], np.ndarray]]
"""Method, how many latents or directions, their share, and what makes the edited rows."""


def _ways(
    x: np.ndarray,
    codes: np.ndarray,
    sae: SparseAutoencoder,
    target: Concept,
    shares: Sequence[float],
    seed: int,
) -> Iterator[Way]:
    own = target.train
    labels = np.asarray(target.labels)[own]
    nan = float("nan")
    n_directions = len(np.unique(labels)) - 1
    yield UNTOUCHED, 0, 0.0, lambda: np.asarray(x, dtype=np.float64)
    yield LEACE, n_directions, nan, lambda: leace(x[own], labels)(x)
    yield MEAN_PROJECTION, n_directions, nan, lambda: mean_projection(x[own], labels)(x)
    yield RANDOM_DIRECTIONS, n_directions, nan, lambda: random_projection(x[own], n_directions, seed=seed)(x)

    mean, density = codes[own].mean(0), (codes[own] != 0).mean(0)
    alive = np.flatnonzero(density > 0)
    if not len(alive):
        raise InputError("no latent is active on the rows that train: is it an autoencoder of another layer?")
    ranked = rank_latents(codes[own], labels)
    ranked = ranked[np.isin(ranked, alive)]
    place = {latent: i for i, latent in enumerate(alive)}
    for n in sorted({max(round(share * len(alive)), 1) for share in shares}):
        chosen = {LATENTS: ranked[:n]}
        if 3 * n <= len(alive):  # beyond, those left over are no random choice
            drawn = matched_latents(density[alive], [place[latent] for latent in ranked[:n]], seed=seed)
            chosen[RANDOM_LATENTS] = alive[drawn]
        for method, latents in chosen.items():
            yield method, n, n / len(alive), partial(erase_latents, x, codes, sae, latents, to=mean[latents])


def erasure_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, of one dictionary's `erase` table, what each method takes of the target and of the labels to keep.

    Returns
    -------
    DataFrame
        ``method, n, share, target_lost, kept_lost, selectivity, at_chance``: a row for each of LEACE, mean projection
        and random directions; for latents at the fewest that bring the target to chance or, if none do, at the number
        where they are most selective; for random latents at the most there were. ``target_lost`` is the share of the
        way from the untouched score to chance, ``kept_lost`` the mean of it over the labels to keep, `selectivity`
        their difference (1: all of the target and nothing else), `at_chance` as in the function of that
        name.
    """
    untouched = table[table.method == UNTOUCHED].set_index("label").score
    whole, table = table, table[table.method != UNTOUCHED].copy()
    before = table.label.map(untouched)
    table["lost"] = (before - table.score) / (before - table.chance).where(before > table.chance)
    rows = []
    for (method, n), own in table.groupby(["method", "n"], sort=False):
        target = own[own.label == TARGET].iloc[0]
        kept = float(own.lost[own.label != TARGET].mean())
        rows.append(
            {
                "method": method,
                "n": n,
                "share": target.share,
                "target_lost": target.lost,
                "kept_lost": kept,
                "selectivity": target.lost - kept,
                "at_chance": bool(at_chance(own[own.label == TARGET], untouched[TARGET])[0]),
            }
        )
    found = pd.DataFrame(rows)
    shown = []
    for method, own in found.groupby("method", sort=False):
        if method == LATENTS:
            curve = whole[whole.method.isin([UNTOUCHED, LATENTS])].rename(columns={"n": "n_latents"})
            needed = needed_for_chance(curve)
            shown.append(own[own.n == needed] if needed is not None else own.nlargest(1, "selectivity"))
        else:
            shown.append(own.nlargest(1, "n"))
    return pd.concat(shown, ignore_index=True)
