"""Who a probe is scored on: its score in each test group by name, and what scores every group in its turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run, metric_of
from otoscope.results import FEWEST_GROUPS
from otoscope.tables import read_parquet

NAMED = 6
"""Groups at most that are named, each with its score."""
LEVEL = 0.05


@dataclass(frozen=True)
class GroupScore:
    """How a probe does in one test group.

    Attributes
    ----------
    name : str
        The group.
    n_clips : int
    score : float
        Accuracy; a mean over seeds.
    p : float
        One-sided p of an exact binomial test against always saying this group's own commonest class; of seeds, the
        largest. Clips count as independent. NaN without a chance level.
    """

    name: str
    n_clips: int
    score: float
    p: float

    @property
    def above_chance(self) -> bool:
        """Whether the score is beyond chance."""
        return self.p < LEVEL


def group_scores(run: Run, encoder: str, layer: int | str) -> list[GroupScore]:
    """Return the accuracy of a layer's probe in each test group; empty where it is not known or no accuracy."""
    table, groups = run.table("predictions"), _groups(run.path)
    if table is None or groups is None or metric_of(run) != "accuracy":
        return []
    here = table[(table["encoder"] == encoder) & (table["layer"] == layer)]
    here = here.assign(group=here["clip_id"].astype(str).map(groups["group"]))
    here = here.assign(right=here["truth"].astype(str) == here["predicted"].astype(str))
    found = []
    for name, own in here.dropna(subset=["group"]).groupby("group"):
        p = max((_p(run, rows) for _, rows in own.groupby("seed")), default=float("nan"))
        found.append(GroupScore(str(name), own["clip_id"].nunique(), float(own["right"].mean()), p))
    return found


def scores_by_group(run: Run) -> pd.DataFrame | None:
    """Return ``encoder, layer, group, n_clips, score`` of the layers' probes; None where groups are many or unknown."""
    table = run.table("layer_probing")
    if table is None:
        return None
    rows = [
        {
            "encoder": row.encoder,
            "layer": row.layer,
            "group": own.name,
            "n_clips": own.n_clips,
            "score": own.score,
        }
        for row in rows_of(table[["encoder", "layer"]].drop_duplicates())
        for own in group_scores(run, row.encoder, row.layer)
    ]
    found = pd.DataFrame(rows)
    return found if len(found) and found["group"].nunique() <= NAMED else None


def few_groups(run: Run) -> int | None:
    """Return how many test groups the probes have, where they are too few for an interval; else None."""
    table = run.table("layer_probing")
    if table is None or not run.over_groups:
        return None
    n = int(table["n_groups"].min())
    return n if 0 < n < FEWEST_GROUPS else None


def group_noun(run: Run) -> str:
    """Return what a group is called: the column that it is from, such as "speaker"."""
    return str((run.spec.get("dataset") or {}).get("group") or "group")


def sides(run: Run) -> dict[str, dict[str, int]]:
    """Return split -> group -> how many clips; empty where the run has no table of clips, or each is a group."""
    clips = _groups(run.path)
    if clips is None or clips["group"].nunique() == len(clips):
        return {}
    return {
        str(split): {str(name): int(n) for name, n in own["group"].value_counts(sort=False).items()}
        for split, own in clips.groupby("split", sort=False)
    }


def folds_command(run: Run) -> str:
    """Return the command that scores every group in its turn; empty where the run keeps no store of its own."""
    label, group = run.summary.get("label"), (run.spec.get("dataset") or {}).get("group")
    stores = sorted(path for path in (run.path / "activations").glob("*") if path.is_dir())
    if not stores or not label or not (run.path / "clips.parquet").is_file():
        return ""
    words = ["otoscope probe", _quoted(stores[0]), "--clips", _quoted(run.path / "clips.parquet")]
    words += ["--label", _quoted(label)]
    words += ["--group", _quoted(group)] if group else []
    return " ".join([*words, "--folds"])


def _p(run: Run, rows: pd.DataFrame) -> float:
    """Return the p of one seed's rows of one group."""
    from scipy.stats import binomtest

    chance = run.summary.get("chance")
    if chance is None:
        return float("nan")
    commonest = float(rows["truth"].value_counts(normalize=True).max())
    level = min(max(float(chance), commonest), 1.0)
    return float(binomtest(int(rows["right"].sum()), len(rows), level, alternative="greater").pvalue)


def _groups(folder: Path) -> pd.DataFrame | None:
    """Return ``split, group`` of a run's clips, indexed by their ids."""
    path = folder / "clips.parquet"
    if not path.is_file():
        return None
    clips = read_parquet(path)
    if not {"clip_id", "split", "group"} <= set(clips):
        return None
    return clips.assign(clip_id=clips["clip_id"].astype(str)).drop_duplicates("clip_id").set_index("clip_id")


def _quoted(word: object) -> str:
    import shlex

    return shlex.quote(str(word))
