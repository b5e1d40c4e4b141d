"""What a run's described latents come to: how many were named, and how many names hold for groups that made none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from otoscope.files import read_mapping
from otoscope.latents import NO_MEANING, Rule
from otoscope.multiple_testing import holm
from otoscope.report.run import Run
from otoscope.results import layer_order
from otoscope.tables import read_parquet

LEVEL = 0.05


@dataclass(frozen=True)
class Described:
    """The latents of one dictionary.

    Attributes
    ----------
    encoder, layer, sparsity
    name : str
        Its folder below the run's ``latents``, by which the explorer knows it.
    n_alive, n_tested, n_named, n_one_group : int
        Latents that fire at all; those that fire in clips enough to be described; those with a name; of these, those
        named as one group's, which no other can judge.
    judged : DataFrame
        ``latent, name, auc, random_auc, n_hits, n_false, n_holding, n_rows, n_groups, moments, p, holds``: names that
        could be judged on groups that they were not made from. `p`: of firing no oftener where the name holds, by
        Fisher's exact test, rows being taken for independent, corrected by Holm over these names. The best first.
    """

    encoder: str
    layer: int | str
    sparsity: float
    name: str
    n_alive: int
    n_tested: int
    n_named: int
    n_one_group: int
    judged: pd.DataFrame

    @property
    def n_hold(self) -> int:
        """How many names hold."""
        return int(self.judged["holds"].sum())


def described(run: Run) -> list[Described]:
    """Return what the run's latents tables hold, a dictionary each; those of an older form are left out."""
    top = run.path / "latents"
    found = [_read(mark.parent, top) for mark in sorted(top.rglob("about.json"))] if top.is_dir() else []
    kept = [each for each in found if each is not None]
    return sorted(kept, key=lambda each: (each.encoder, layer_order(each.layer), each.sparsity, each.name))


def address(run: Run, dictionary: str, latent: int | None = None) -> str:
    """Return the address of a dictionary or a latent in the run's explorer, from its page; empty without one."""
    if not (run.path / "explorer" / "index.html").is_file():
        return ""
    page = f"explorer/index.html#/{'/'.join(quote(part, safe='') for part in dictionary.split('/'))}"
    return page if latent is None else f"{page}/latent/{latent}"


def _read(folder: Path, top: Path) -> Described | None:
    paths = [folder / f"{name}.parquet" for name in ("latents", "judged")]
    if not all(path.is_file() for path in paths):
        return None
    latents, judged = map(read_parquet, paths)
    if not {"n_hits", "n_false"} <= set(judged):
        return None
    about = read_mapping(folder / "about.json")
    named = latents[latents["name"].ne("") & latents["name"].ne(NO_MEANING) & latents["alive"]]
    rules = {row.latent: Rule.from_json(row.rule) for row in named.itertuples() if row.rule}
    return Described(
        encoder=str(about.get("encoder", "")),
        layer=about.get("layer", ""),
        sparsity=float((about.get("sae") or {}).get("sparsity") or "nan"),
        name=folder.relative_to(top).as_posix(),
        n_alive=int(latents["alive"].sum()),
        n_tested=int(about.get("n_tested", 0)),
        n_named=len(named),
        n_one_group=sum(bool(rule.group) for rule in rules.values()),
        judged=_tested(judged, rules),
    )


def _tested(judged: pd.DataFrame, rules: dict[int, Rule]) -> pd.DataFrame:
    """Return judged names with what Fisher's exact test says of their counts, the best first."""
    from scipy.stats import fisher_exact

    p = []
    for row in judged.itertuples():
        silent = row.n_holding - row.n_hits
        elsewhere = row.n_rows - row.n_holding - row.n_false
        table = [[row.n_hits, silent], [row.n_false, elsewhere]]
        p.append(float(fisher_exact(np.array(table, dtype=int), alternative="greater").pvalue))
    corrected = holm(np.array(p)) if p else np.zeros(0)
    moments = [rules[row.latent].moments if row.latent in rules else False for row in judged.itertuples()]
    judged = judged.assign(p=corrected, holds=np.asarray(corrected) < LEVEL, moments=moments)
    return judged.sort_values(["holds", "auc"], ascending=False, kind="stable", ignore_index=True)
