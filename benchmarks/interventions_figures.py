"""Draw ``interventions/*.csv`` as a run's report draws them, to ``docs/figures``; seconds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from otoscope.report.figures.interventions import erasure_figure, splice_figure
from otoscope.report.figures.saving import save
from otoscope.results import read_table

TABLES = Path(__file__).parent / "interventions"
FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def main() -> None:
    """Draw what has been measured."""
    if (TABLES / "erasure.csv").exists():
        erasure = pd.read_csv(TABLES / "erasure.csv").assign(encoder="whisper-tiny.en")
        for target, own in erasure.groupby("target"):
            save(erasure_figure(own), FIGURES / f"interventions_erase_{target}.png")
    if (TABLES / "splice.csv").exists():
        splice = read_table(TABLES / "splice.csv")
        of_further_seeds = splice["sae"].astype(str).str.contains("-seed[1-9]", regex=True)
        save(splice_figure(splice[~of_further_seeds], measure="loss"), FIGURES / "interventions_splice.png")


if __name__ == "__main__":
    main()
