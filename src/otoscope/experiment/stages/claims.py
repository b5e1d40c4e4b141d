"""Do the paper's takeaways hold on this run?"""

from __future__ import annotations

import pandas as pd

from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import kind_of_label

READS = ("layer_probing", "reconstruction", "comparisons", "disentanglement", "factor_entropy", "health")


def claims(run: RunDirectory, clips: pd.DataFrame) -> None:
    """Write claims.csv."""
    from otoscope.claims import claims as test_claims

    settings = run.spec.disentanglement
    needs = ["layer_probing", "reconstruction", "sae_probing", "disentanglement", "health"]
    with run.stage("claims", after=needs) as stage:
        if not stage.needed:
            return
        tables = {name: run.table(name) for name in READS if run.has_table(name)}
        found = test_claims(
            tables,
            protocol=run.spec.protocol,
            fit=settings.fit,
            entropy=settings.entropy,
            top=settings.top,
            chance=chance(run, clips),
            seed=run.spec.seed,
        )
        run.write_table("claims", found)


def chance(run: RunDirectory, clips: pd.DataFrame) -> float | None:
    """Return how often the commonest class of the test clips is right, None for other labels."""
    if kind_of_label(run, clips) != "class":
        return None
    return float(clips[run.spec.dataset.label][clips.split == "test"].value_counts(normalize=True).max())
