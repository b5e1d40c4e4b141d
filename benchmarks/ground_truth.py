"""What do the two protocols say about codes whose worth is known?

Run ``python benchmarks/ground_truth.py``. Factors: the true ones of synthsing. Codes: the factors themselves, the
factors in a random rotation (all there, spread over every dimension), and random numbers (nothing there). "sound"
measures all 1,000 clips, held out by singer, and ranks factors of a held-out R2 of 0.1; "paper" takes 250 clips of five
singers, in-sample, penalty 0.1, and the ten most complete::

              codes protocol  r2_of_all  selected    r2  completeness   dims  disentanglement
        the factors    sound      1.000        22 1.000         1.000  1.000            1.000
        the factors    paper      0.990        10 0.990         1.000  1.000            1.000
    rotated factors    sound      1.000        22 1.000         0.097 16.336            0.094
    rotated factors    paper      0.842        10 0.850         0.369  7.067            0.291
         512 random    sound     -0.010         0   NaN           NaN    NaN              NaN
         512 random    paper      0.229        10 0.216         0.500 22.683            0.756
       2,048 random    sound     -0.010         0   NaN           NaN    NaN              NaN
       2,048 random    paper      0.448        10 0.445         0.504 43.896            0.834
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.datasets import synthsing
from otoscope.disentanglement import measure_disentanglement, measure_in_sample, summarise


def main() -> None:
    """Print a row per code and protocol."""
    plan = synthsing.plan_clips().assign(start_s=0.0, stop_s=lambda clips: clips.duration_s)
    factors = synthsing.ground_truth(plan)[list(synthsing.FACTORS["name"])]
    singers = plan["singer"].to_numpy()
    test = np.isin(singers, np.unique(singers)[::4])
    rng = np.random.default_rng(0)
    z = ((factors - factors.mean()) / factors.std()).to_numpy()
    rotation = np.linalg.qr(rng.standard_normal((z.shape[1], z.shape[1])))[0]
    codes = {
        "the factors": z,
        "rotated factors": z @ rotation,
        "512 random": rng.standard_normal((len(z), 512)),
        "2,048 random": rng.standard_normal((len(z), 2048)),
    }
    rows = []
    for name, x in codes.items():
        sound = measure_disentanglement(x, factors, groups=singers)
        summary = summarise(sound, selections=["r2_floor"])
        rows.append(row(name, "sound", sound.factors.r2_cv.mean(), summary))
        paper = measure_in_sample(x[test], factors[test].reset_index(drop=True))
        summary = summarise(paper, selections=["top10_completeness"], score="r2")
        rows.append(row(name, "paper", paper.factors.r2.mean(), summary))
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def row(name: str, protocol: str, r2_of_all: float, summary: pd.DataFrame) -> dict:
    """Return what is printed: R2 over all factors, then means over the selected ones."""
    found = summary.iloc[0]
    return {
        "codes": name,
        "protocol": protocol,
        "r2_of_all": r2_of_all,
        "selected": int(found.n_factors),
        "r2": found.r2_mean,
        "completeness": found.completeness_mean,
        "dims": found.effective_dims_mean,
        "disentanglement": found.disentanglement,
    }


if __name__ == "__main__":
    main()
