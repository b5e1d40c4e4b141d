"""From recordings to tables: clips, activations, factors."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.clips import check_label, clips_hash
from otoscope.datasets import DATASETS, GROUND_TRUTHS, load_clips
from otoscope.errors import SpecError, nearest
from otoscope.experiment.run_directory import RunDirectory, digest

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.activations import Activations
    from otoscope.factors import Factors


def clips(run: RunDirectory) -> pd.DataFrame:
    """Load the data set's clips, check the label, and write clips.parquet.

    Always done, since files may have changed. "recordings" stands for what is heard (stretches, file sizes, times of
    change), "clips" for that and all labels and splits.
    """
    spec = run.spec.dataset
    loader = inspect.signature(DATASETS.get(spec.name)).parameters
    unknown = [name for name in spec.options if name not in loader]
    if unknown:
        raise SpecError(
            f"data set '{spec.name}' has no option '{unknown[0]}'{nearest(unknown[0], loader)} "
            f"(options: {', '.join(loader)})"
        )
    if spec.group is not None and "group" not in loader:
        raise SpecError(f"data set '{spec.name}' has groups of its own; leave dataset.group out")
    ours = {"label": spec.label, "group": spec.group, "split_seed": run.spec.seed}
    ours |= {"skip_unreadable": spec.skip_unreadable}
    options = {name: value for name, value in ours.items() if name in loader} | spec.options
    table = load_clips(spec.name, root=spec.root, **options)
    check_label(table, spec.label)
    run.write_frame("clips", table)
    stats = [Path(path).stat() for path in table.path.unique()]
    run.fingerprints["recordings"] = digest([clips_hash(table), [(s.st_size, s.st_mtime_ns) for s in stats]])
    run.fingerprints["clips"] = digest([table.to_csv(index=False), run.fingerprints["recordings"]])
    return table


def activations(run: RunDirectory, table: pd.DataFrame) -> dict[str, Activations]:
    """Extract all layers of every encoder; return encoder name -> store."""
    from otoscope.activations import Activations

    settings = [run.spec.extraction.model_dump(), run.spec.dataset.skip_unreadable]
    stores = {}
    for encoder_spec in run.spec.encoders:
        wanted = {"name": encoder_spec.name, "revision": encoder_spec.revision}
        with run.stage(
            f"activations-{_slug(encoder_spec.name)}", [wanted, settings], after=["recordings"]
        ) as stage:
            if stage.needed:
                stage.outputs = _extract(run, table, wanted)
        stores[stage.outputs["encoder"]] = Activations.open(run.root / stage.outputs["store"])
    if len(stores) < len(run.spec.encoders):
        raise SpecError("two encoders of the spec have one name; their results could not be told apart")
    return stores


def _extract(run: RunDirectory, table: pd.DataFrame, wanted: dict[str, Any]) -> dict[str, Any]:
    from otoscope.activations import extract
    from otoscope.encoders import load_encoder

    settings = run.spec.extraction
    encoder = load_encoder(
        wanted["name"], revision=wanted["revision"], device=settings.device, dtype=settings.precision
    )
    made_from = digest([encoder.provenance(), settings.model_dump(), run.fingerprints["recordings"]])
    path = run.root / "activations" / f"{encoder.name}-{made_from[:8]}"
    store = extract(
        table,
        encoder,
        out=path,
        layers="all",
        crop=settings.crop,
        pool=settings.pool,
        dtype=settings.dtype,
        skip_unreadable=run.spec.dataset.skip_unreadable,
    )
    return {"encoder": encoder.name, "store": path.relative_to(run.root).as_posix(), "rows": len(store.rows)}


def factors(run: RunDirectory, table: pd.DataFrame) -> Factors:
    """Compute or read the factors; write factors.parquet and results/factors_info.csv."""
    from otoscope.factors import Factors, compute_factors

    name = run.spec.factors.name
    dataset = run.spec.dataset.name
    if name == "auto":
        name = "ground_truth" if dataset in GROUND_TRUTHS else "descriptors"
    with run.stage("factors", [name, _file_state(name)], after=["recordings"]) as stage:
        if stage.needed:
            if name == "ground_truth":
                found = Factors(*GROUND_TRUTHS.get(dataset)(table))
            elif Path(name).suffix in (".csv", ".parquet"):
                found = compute_factors("csv", table, path=name)
            else:
                found = compute_factors(name, table)
            run.write_frame("factors", found.table)
            run.write_table("factors_info", found.info)
    return Factors(run.frame("factors"), run.table("factors_info"))


def _file_state(name: str) -> list | None:
    path = Path(name)
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None


def _slug(name: str) -> str:
    return Path(name).name if Path(name).is_dir() else name.replace("/", "--")
