"""Where latents stand on the map: beside those that fire in the same clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FEWEST, MOST = 12, 4096
"""Latents that are alive, between which a map is made: fewer need none, and more take minutes."""


def who_fires_together(activity: pd.DataFrame, latents: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return a place in -1..1 for each latent; empty arrays where there are too few or too many.

    t-SNE of the latents' profiles over clips (the maximum in each, all profiles of unit length): latents that fire
    alike lie close. Distances between far groups mean nothing.

    Parameters
    ----------
    activity : DataFrame
        ``clip_id, latent, max`` where a latent fires.
    latents : Series of int
        Those to place.
    """
    nothing = np.zeros(0)
    n_latents = len(latents)
    clip, clips = activity.clip_id.factorize()
    if not FEWEST <= n_latents <= MOST or len(clips) < FEWEST:
        return nothing, nothing
    from scipy.sparse import csr_array
    from sklearn.decomposition import TruncatedSVD
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    place = {int(latent): at for at, latent in enumerate(latents)}
    row = activity.latent.map(place)
    known = row.notna().to_numpy()
    values = activity["max"].to_numpy(dtype=np.float64)[known]
    profiles = csr_array((values, (row[known].astype(int), clip[known])), shape=(n_latents, len(clips)))
    parts = min(32, n_latents - 1, len(clips) - 1)
    reduced = normalize(TruncatedSVD(parts, random_state=0).fit_transform(normalize(profiles)))
    start = reduced[:, :2] / max(reduced[:, :2].std(), 1e-9) * 1e-4
    perplexity = min(30.0, (n_latents - 1) / 3)
    places = TSNE(perplexity=perplexity, init=start, max_iter=500, random_state=0).fit_transform(reduced)
    places -= (places.max(axis=0) + places.min(axis=0)) / 2
    places /= max(np.abs(places).max(), 1e-9)
    return places[:, 0], places[:, 1]
