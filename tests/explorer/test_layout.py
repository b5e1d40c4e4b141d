"""The map: latents that fire in the same clips lie close."""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.explorer.layout import who_fires_together


def test_latents_that_fire_alike_lie_close_and_twice_at_the_same_place():
    rng = np.random.default_rng(0)
    part = np.repeat([0, 1], 15)  # of each of 30 latents; the halves fire in different halves of the clips
    rows = [
        (f"c{clip}", latent, 1 + 0.1 * rng.random())
        for latent in range(30)
        for clip in range(20)
        if (clip < 10) == (part[latent] == 0)
    ]
    activity = pd.DataFrame(rows, columns=["clip_id", "latent", "max"])
    x, y = who_fires_together(activity, pd.Series(range(30)))
    places = np.stack([x, y], axis=1)
    distance = np.linalg.norm(places[:, None] - places, axis=2)
    same = part[:, None] == part
    assert distance[same].mean() < 0.5 * distance[~same].mean()
    assert np.abs(places).max() <= 1
    again = who_fires_together(activity, pd.Series(range(30)))
    np.testing.assert_array_equal(again, (x, y))


def test_few_latents_have_no_map():
    activity = pd.DataFrame({"clip_id": ["a"] * 3, "latent": range(3), "max": 1.0})
    x, y = who_fires_together(activity, pd.Series(range(3)))
    assert len(x) == len(y) == 0
