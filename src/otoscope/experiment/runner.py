"""Run an experiment: every stage in order, each only if its inputs changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from otoscope import files
from otoscope.encoders.load import check_encoder
from otoscope.errors import InputError
from otoscope.experiment.needs import needs
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import Spec, load_spec
from otoscope.experiment.stages import (
    before_after,
    claims,
    data,
    disentanglement,
    health,
    interventions,
    latents,
    moments,
    nulls,
    probing,
    saes,
    summary,
)


def run(
    recipe_or_spec: str | Path | Spec,
    *,
    out: str | Path | None = None,
    settings: list[str] | None = None,
    reuse: Sequence[str | Path] = (),
    fresh: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> RunDirectory:
    """Run a recipe or spec from clips to result tables.

    A run that was killed goes on where it was; a stage whose inputs and settings have not changed is kept.

    Parameters
    ----------
    recipe_or_spec : str, Path or Spec
        A recipe's name, a YAML file, or a resolved spec.
    out : str or Path, optional
        The run's directory. Default: ``runs/<name>``.
    settings : list of str, optional
        Changes to the spec, such as ``["saes.epochs=10"]``; not for a resolved `Spec`.
    reuse : sequence of path
        Other runs' directories: a stage that one of them made from the same inputs is taken over, not made again.
    fresh : bool
        Make all stages anew, whatever lies there.
    say : callable
        Takes a line on what was done.

    Returns
    -------
    RunDirectory
        With ``.root`` and ``.table("layer_probing")``; ``otoscope.write_report(run)`` makes figures and a page.

    Raises
    ------
    OtoscopeError
        If the spec, the data or the directory cannot be used; nothing that was made before is lost.
    """
    spec = (
        recipe_or_spec if isinstance(recipe_or_spec, Spec) else load_spec(recipe_or_spec, settings=settings)
    )
    root = Path(out) if out is not None else Path("runs") / spec.name
    directory = RunDirectory(root, spec, say, lenders=[_lender(path) for path in reuse], fresh=fresh)
    with files.locked(root):
        _run(directory)
    return directory


def _run(directory: RunDirectory) -> None:
    spec, say = directory.spec, directory.say
    directory.open()
    clips = data.clips(directory)
    if not directory.lenders and not (directory.root / "stages" / "layer_probing.json").exists():
        for line in needs(spec, clips, out=directory.root).lines():
            say(line)
        for encoder in spec.encoders:  # before the factors: a model that is not there shows now
            check_encoder(encoder.name, revision=encoder.revision)
    interventions.check(directory, clips)
    factors = data.factors(directory, clips)  # before the hours of extraction: a missing package shows now
    data.check_fit(directory, clips, factors)
    views = data.activations(directory, clips)
    best, studied = probing.layer_probing(directory, clips, views)
    views = data.frames(directory, clips, views, studied)
    health.preflight(directory, views, studied)
    trained = saes.saes(directory, views, studied)
    health.health(directory, views, trained)
    null_saes = nulls.trained_nulls(directory, views, trained)
    health.stability(directory, views, trained, null_saes)
    latents.latents(directory, clips, views, trained, factors)  # one can listen while the rest is measured
    probing.sae_probing(directory, clips, views, trained, null_saes, best)
    disentanglement.disentanglement(directory, views, trained, null_saes, factors)
    moments.frame_disentanglement(directory, clips, views, trained, null_saes)
    interventions.interventions(directory, clips, views, trained)
    before_after.before_after(directory, clips, views, trained)
    claims.claims(directory, clips)
    told = summary.summary(directory, clips, views, best, studied)
    directory.write_spec()
    directory.write_text("run.json", json.dumps(told, indent=2) + "\n")
    left_out = told["summary"]["n_left_out"]
    if left_out:
        say(f"left out {left_out} recordings that could not be read; run.json and the report name them")
    for line in directory.older_versions():
        say(line)


def _lender(path: str | Path) -> Path:
    if not (Path(path) / "stages").is_dir():
        raise InputError(
            f"'{path}' is no run to take anything over from; give the --out folder of 'otoscope run'"
        )
    return Path(path)
