"""A run, read back from its directory; and by which rules its numbers were made, as far as a page must say it.

The rules are read from the settings themselves, since any rule can be switched alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from otoscope.errors import InputError
from otoscope.files import read_mapping
from otoscope.report.intervals import only_meaningful
from otoscope.results import (
    NULLS,
    TABLES,
    check_schema,
    entropy_column,
    main_codes,
    r2_column,
    read_table,
)

if TYPE_CHECKING:
    from otoscope.experiment import RunDirectory


@dataclass(frozen=True)
class Run:
    """What one run left on disk.

    Attributes
    ----------
    path : Path
        Its directory.
    spec : dict
        The resolved spec, with versions.
    layers : dict
        Encoder -> ``best``, the layer it is judged by, and ``studied``, those that were split into latents.
    summary, stages, notes
        Of ``run.json``: counts of clips and groups, metric and chance; what each stage took; remarks.
    tables : dict of str to DataFrame
        The result tables that are there and not empty. Layers are ints, or "final". Of autoencoders, `tables` holds
        the trained ones alone. Intervals over too few groups to say anything are missing.
    nulls : dict of str to DataFrame
        What the same tables say of their nulls, where they have any.
    """

    path: Path
    spec: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    nulls: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self.spec.get("name") or self.path.resolve().name)

    @property
    def over_groups(self) -> bool:
        """Whether intervals are for clips of new groups, a t over the test's."""
        return (self.spec.get("probing") or {}).get("interval", "groups") == "groups"

    @property
    def protocol(self) -> str:
        """The rules its numbers were made by."""
        return str(self.spec.get("protocol") or "unknown")

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a result table, or None if the run has none."""
        return self.tables.get(name)


def read_run(run: str | Path | RunDirectory) -> Run:
    """Read a run, of what `otoscope.run` returned or of its directory; any of its tables may be missing.

    Raises
    ------
    InputError
        If it is no run directory, holds no result table, or a table lacks a column or holds text for a number.
    ProvenanceError
        If its tables are of another schema.
    """
    path = Path(run) if isinstance(run, str | Path) else run.root
    if not (path / "results").is_dir():
        raise InputError(
            f"'{path}' is no run: it has no folder 'results'; give the --out folder of 'otoscope run'"
        )
    spec = _mapping(path / "spec.yaml")
    record = _mapping(path / "run.json")
    check_schema(record, path)
    _check_unchanged(path)
    files = [path / "results" / f"{name}.csv" for name in TABLES if name != "published_comparison"]
    tables = {file.stem: read_table(file) for file in files if file.is_file()}
    every = [tables[name] for name in ("sae_probing", "null_probing") if name in tables]
    tables |= {name: main_codes(tables[name]) for name in ("sae_probing", "null_probing") if name in tables}
    if every and (every[0]["clip_code"] != "").any():
        tables["clip_codes"] = pd.concat(every, ignore_index=True)  # all ways to make one from frames
    if (spec.get("probing") or {}).get("interval", "groups") == "groups":
        bounded = (record.get("summary") or {}).get("metric", "accuracy") != "r2"
        tables = {name: only_meaningful(table, bounded=bounded) for name, table in tables.items()}
    parts = {name: _trained_and_nulls(name, table) for name, table in tables.items()}
    found = {name: trained for name, (trained, _) in parts.items() if len(trained)}
    if not found:
        raise InputError(f"'{path}/results' holds no result table yet; run 'otoscope run' on it first")
    return Run(
        path=path,
        spec=spec,
        layers=record.get("layers") or {},
        summary=record.get("summary") or {},
        stages=record.get("stages") or [],
        notes=record.get("notes") or [],
        tables=found,
        nulls={name: nulls for name, (_, nulls) in parts.items() if len(nulls)},
    )


def sections(run: Run) -> list[dict[str, Any]]:
    """Return the spec's sections of dictionaries: a spec of one holds it as it is, of several a list."""
    saes = run.spec.get("saes") or []
    return saes if isinstance(saes, list) else [saes]


def row_word(run: Run) -> str:
    """Return what dictionaries learn from, and their error and sparsity are of: clip, frame or patch."""
    rows = {section.get("rows") for section in sections(run)}  # one run has one
    return "frame" if "frames" in rows else "patch" if "tokens" in rows else "clip"


def metric_of(run: Run) -> str:
    """Return what the probes are scored by."""
    return str(run.summary.get("metric") or "accuracy")


def score_of(run: Run) -> str:
    """Return the column of the R2 that counts."""
    return r2_column(_setting(run, "fit", "in_sample" if run.protocol == "paper" else "held_out"))


def completeness_of(run: Run) -> str:
    """Return the column of the completeness that counts: on one base for all, or, in-sample, as published."""
    return "completeness_published" if in_sample(run) else "completeness"


def in_sample(run: Run) -> bool:
    """Whether R2 is of the very rows that were fitted."""
    return score_of(run) == r2_column("in_sample")


def r2_kind(run: Run) -> str:
    """Return "in-sample" or "held-out": what the R2 of this run's summaries is."""
    return "in-sample" if in_sample(run) else "held-out"


def min_r2(run: Run) -> float:
    """Return the R2 under which the run does not rank a factor; where nothing is held out, all are ranked."""
    return 0.0 if in_sample(run) else float(_setting(run, "min_r2", 0.0))


def n_top(run: Run) -> int:
    """Return how many factors a "top" selection takes."""
    return int(_setting(run, "top", 10))


def unequal_selection(run: Run) -> bool:
    """Whether completeness is, as published, of other factors for codes than for the dense state."""
    return _setting(run, "selection", "same") == "published"


def empty_counts(run: Run) -> bool:
    """Whether a factor that keeps no coefficient has a completeness, as published."""
    return in_sample(run) and _setting(run, "empty_completeness", None) is not None


def entropy_of(run: Run) -> str:
    """Return the column of factor_entropy.csv that completeness is drawn against."""
    return entropy_column(_setting(run, "entropy", "knn"))


def error_measure(run: Run) -> str:
    """Return "mse", as the paper draws it, or "fvu", which can be compared between layers."""
    return "mse" if run.protocol == "paper" else "fvu"


def picked_on_test(run: Run) -> bool:
    """Whether the best layer was picked by the clips that score it."""
    rule = (run.spec.get("probing") or {}).get("pick_layer")
    return rule == "test" if rule else run.protocol != "sound"


_OF_SAES = ("reconstruction", "sae_probing", "comparisons", "health")
"""Tables of autoencoders, in which the nulls that stand beside them may have rows too."""


def _trained_and_nulls(name: str, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a table of autoencoders into rows of trained ones and of nulls; other tables are kept whole."""
    if name not in _OF_SAES or "representation" not in table:
        return table, table.iloc[:0]
    null = table["representation"].isin(NULLS)
    return table[~null].reset_index(drop=True), table[null].reset_index(drop=True)


def _check_unchanged(path: Path) -> None:
    """Raise InputError where a table is not what the run wrote there."""
    from otoscope.contents import hashes
    from otoscope.experiment.records import read_record

    records = [read_record(file) for file in sorted((path / "stages").glob("*.json"))]
    sums = {file: found for record in records if record for file, found in record.sums.items()}
    sums = {file: found for file, found in sums.items() if file.startswith("results/")}
    now = hashes(path / file for file in sums)
    for file, wanted in sums.items():
        held = now.get(str(path / file))
        if held is None or held.sha256 != wanted:
            raise InputError(
                f"{path / file} is {'not what the run wrote' if held else 'lost'}; run 'otoscope run' with the same "
                f"spec and --out {path} again: it is made anew"
            )


def _mapping(path: Path) -> dict[str, Any]:
    return read_mapping(path) if path.is_file() else {}


def _setting(run: Run, key: str, default: Any) -> Any:
    found = (run.spec.get("disentanglement") or {}).get(key)
    return default if found is None else found
