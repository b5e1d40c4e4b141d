"""LEACE beside PyPI's `concept-erasure` (0.2.4): the same rows in, how far apart are the edited rows?

Run ``python benchmarks/leace.py`` where both are installed (``pip install --no-deps concept-erasure``); seconds.
"""

from __future__ import annotations

import sys
from importlib import metadata

import numpy as np
import torch
from concept_erasure import LeaceFitter

from otoscope.interventions.erasure import leace, one_hot


def main() -> None:
    """Print the largest difference, relative to the largest change, for a few shapes."""
    print(f"concept-erasure {metadata.version('concept-erasure')}, Python {sys.version.split()[0]}")
    for rows, width, classes in ((600, 12, 4), (1200, 384, 10), (3000, 64, 2), (900, 128, 30)):
        rng = np.random.default_rng(rows)
        labels = rng.integers(0, classes, rows)
        x = rng.standard_normal((rows, width)) @ rng.standard_normal((width, width)) + 5
        x += rng.standard_normal((classes, width))[labels] * 3
        ours = leace(x, labels)(x)
        fitter = LeaceFitter(width, classes, dtype=torch.float64, shrinkage=False)
        fitter.update(torch.from_numpy(x), torch.from_numpy(one_hot(labels)))
        theirs = fitter.eraser(torch.from_numpy(x)).numpy()
        cross = [
            np.abs((y - y.mean(0)).T @ (one_hot(labels) - one_hot(labels).mean(0))).max() / rows
            for y in (x, ours, theirs)
        ]
        change = [((y - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum() for y in (ours, theirs)]
        print(
            f"{rows} x {width}, {classes} classes: largest difference {np.abs(ours - theirs).max():.1e} of a largest "
            f"change of {np.abs(ours - x).max():.3g}; covariance left {cross[1] / cross[0]:.0e} (theirs "
            f"{cross[2] / cross[0]:.0e}); change {change[0]:.6f} (theirs {change[1]:.6f})"
        )


if __name__ == "__main__":
    main()
