"""Everything about each latent of a dictionary, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.compute import progress as progress_bar
from otoscope.errors import InputError
from otoscope.latents.activity import Activity, Codes, codes_of_store, measure_activity, sampled_rows
from otoscope.latents.curves import measure_courses, moments_of
from otoscope.latents.evidence import FEWEST_CLIPS, GROUP, label_columns
from otoscope.latents.examples import choose_examples, courses_wanted
from otoscope.latents.neighbours import neighbours, recurrence
from otoscope.latents.rules import NO_MEANING
from otoscope.latents.study import Study, study_latents

if TYPE_CHECKING:
    from otoscope.factors import Factors
    from otoscope.saes import SparseAutoencoder


@dataclass(frozen=True)
class Description:
    """What is known of each latent of one dictionary.

    Attributes
    ----------
    about : dict
        Plain data: what was described, from what, and how it was tested.
    latents, examples, labels, factors, neighbours, clips, activity, curves, judged : DataFrame
        See `docs/latents.md` for the columns.
    """

    about: dict[str, Any]
    latents: pd.DataFrame
    examples: pd.DataFrame
    labels: pd.DataFrame
    factors: pd.DataFrame
    neighbours: pd.DataFrame
    clips: pd.DataFrame
    activity: pd.DataFrame
    curves: pd.DataFrame
    judged: pd.DataFrame


def describe_latents(
    sae: SparseAutoencoder,
    activations: Any,
    clips: pd.DataFrame,
    *,
    layer: int | str | None = None,
    factors: Factors | None = None,
    moments: Factors | None = None,
    label: str | None = None,
    others: Sequence[SparseAutoencoder] = (),
    n_draws: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> Description:
    """Say of each latent of a dictionary when it fires, what it goes with, and what it may be called.

    Rows are read a block at a time, and again where their active codes take more than 256 MB; what else is kept grows
    with the clips, not with the frames. Where there are test clips beside others, names are made without them and then
    judged on them.

    Parameters
    ----------
    sae : SparseAutoencoder
    activations : Activations
        A store: its ``rows``, ``layers``, ``widths`` and ``batches`` are used.
    clips : DataFrame
        The clips table that the store was made from, with its labels.
    layer : int or str, optional
        Default: the one the dictionary was trained on.
    factors : Factors, optional
        Of clips. Label columns of numbers are factors too.
    moments : Factors, optional
        Of the rows themselves, where they are frames (`moment_factors`); those of `sampled_rows` are enough.
    label : str, optional
        Column of classes; what goes with a factor must do so among clips of one class.
    others : sequence of SparseAutoencoder
        The same trained with other seeds, to see which latents recur.
    n_draws : int
        Of each permutation test: no p is below 1 / (n_draws + 1).
    seed : int
        Of those draws, and of the sample of rows.
    progress : bool
        Show a bar where stderr is a terminal.

    Returns
    -------
    Description

    Raises
    ------
    InputError
        If rows are of clips that the table lacks, `label` is no column, or the layer does not fit.
    """
    from otoscope.saes.matching import unit_atoms

    layer = sae.layer if layer is None else layer
    if layer is None:
        raise InputError("the autoencoder does not know its layer: name one")
    has_atoms = getattr(sae, "decoder_weight", None) is not None
    scale = sae.about.get("training", {}).get("scale")
    found = describe_codes(
        codes_of_store(sae, activations, layer),
        activations.rows,
        clips,
        factors=factors,
        moments=moments,
        label=label,
        atoms=unit_atoms(sae, slice(None), scale) if has_atoms else None,
        other_atoms=[unit_atoms(other, slice(None), scale) for other in others] if has_atoms else [],
        n_draws=n_draws,
        seed=seed,
        progress=progress,
    )
    of_sae = {
        "kind": sae.config.kind,
        "name": sae.config.name,
        "n_latents": sae.n_latents,
        "k": sae.config.active,
        "sparsity": sae.config.sparsity_target,
        "seed": sae.seed,
    }
    where = {"encoder": activations.provenance.get("encoder"), "layer": layer, "sae": of_sae}
    bands_hz = activations.provenance.get("bands_hz", {}).get(str(layer))
    if bands_hz and "band" in activations.rows:
        where["bands_hz"] = bands_hz
    found.about.update({**where, **found.about})
    return found


def describe_codes(
    codes: Codes,
    rows: pd.DataFrame,
    clips: pd.DataFrame,
    *,
    factors: Factors | None = None,
    moments: Factors | None = None,
    label: str | None = None,
    atoms: np.ndarray | None = None,
    other_atoms: Sequence[np.ndarray] = (),
    n_draws: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> Description:
    """Describe latents by their codes alone; see `describe_latents`.

    Parameters
    ----------
    codes : Codes
        From `codes_of_store` or `codes_of_array`.
    rows : DataFrame [rows]
        ``clip_id``, and of frames ``time_s``.
    atoms : float [latents, inputs], optional
        Where latents point, at norm 1.
    other_atoms : sequence of float [latents, inputs]
        The same of other seeds.
    clips, factors, moments, label, n_draws, seed, progress
        As in `describe_latents`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from otoscope.latents import codes_of_array
    >>> clips = pd.DataFrame({"clip_id": [f"c{i}" for i in range(60)], "path": "x.wav", "start_s": 0.0, "stop_s": 1.0})
    >>> clips = clips.assign(split="train", group=[f"singer{i // 10}" for i in range(60)], vowel=list("ae" * 30))
    >>> codes = np.random.default_rng(0).random((60, 3))
    >>> codes[:, 1] *= clips.vowel == "a"
    >>> describe_codes(codes_of_array(codes), clips[["clip_id"]], clips, progress=False).latents.name.tolist()
    ['no clear meaning', 'vowel a', 'no clear meaning']
    """
    clips, clip_of = _clips_of(rows, clips, codes, label)
    start_s = clips.start_s.to_numpy()
    when = moments_of(rows, clip_of, start_s)
    time_s = None if when is None else rows.time_s.to_numpy(float) - start_s[clip_of]
    with progress_bar("latents", 2 * codes.n_rows, unit="rows", show=progress) as bar:
        sample_rows = sampled_rows(rows, seed=seed)
        activity = measure_activity(codes, clip_of, sample_rows=sample_rows, on_rows=bar.advance)
        bar.note("naming")
        study = study_latents(activity, clips, clip_of, rows, factors, moments, label, n_draws, seed)
        similar = np.stack(
            [pd.factorize(clips[name].astype(str))[0] for name in [GROUP, *label_columns(clips)]], axis=1
        )
        band = rows.band.to_numpy() if "band" in rows else None
        examples = choose_examples(activity, study.expected, similar, time_s=time_s, band=band)
        bar.note("")
        wanted = courses_wanted(examples, activity, when)
        histograms, curves = measure_courses(codes, activity, clip_of, wanted, when, on_rows=bar.advance)
    ids = clips.clip_id.to_numpy()
    table = _latents(activity, histograms, study, atoms, other_atoms)
    return Description(
        about={
            "rows": "clips" if when is None else "frames",
            "frame_step_s": None if when is None else when.step_s,
            "n_rows": codes.n_rows,
            "n_clips": len(clips),
            "n_latents": codes.n_latents,
            "n_alive": int((activity.frequency > 0).sum()),
            **study.about,
        },
        latents=table,
        examples=_by_id(examples, ids),
        labels=study.labels,
        factors=study.factors,
        neighbours=neighbours(atoms, activity.sample, activity.frequency > 0),
        clips=clips,
        activity=pd.DataFrame(
            {
                "clip_id": pd.Categorical.from_codes(activity.clip, ids),
                "latent": activity.latent,
                "max": activity.max,
                "mean": activity.mean,
                "share": activity.share,
            }
        ),
        curves=_by_id(curves, ids),
        judged=study.judged,
    )


def _clips_of(
    rows: pd.DataFrame, clips: pd.DataFrame, codes: Codes, label: str | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the clips that have rows, and which of them each row is of."""
    if len(rows) != codes.n_rows:
        raise InputError(f"there are {codes.n_rows} codes, but a table of {len(rows)} rows")
    if not len(rows):
        raise InputError("there are no rows to describe latents by")
    if label is not None and label not in clips:
        raise InputError(f"label '{label}' is no column of the clips table ({', '.join(clips.columns)})")
    codes_of_id, ids = pd.factorize(rows.clip_id.astype(str))
    table = clips.assign(clip_id=clips.clip_id.astype(str)).set_index("clip_id", drop=False)
    unknown = [name for name in ids if name not in table.index]
    if unknown:
        raise InputError(
            f"{len(unknown)} clips of the store are not in the clips table, such as '{unknown[0]}': give the clips "
            "that the store was made from"
        )
    return table.loc[ids].reset_index(drop=True), codes_of_id


def _latents(
    activity: Activity,
    histograms: np.ndarray,
    study: Study,
    atoms: np.ndarray | None,
    other_atoms: Sequence[np.ndarray],
) -> pd.DataFrame:
    """Return the table of one row a latent."""
    numbers = np.arange(activity.n_latents)
    alive = activity.frequency > 0
    table = pd.DataFrame(
        {
            "latent": numbers,
            "alive": alive,
            "frequency": activity.frequency,
            "mean_active": activity.mean_active,
            "max": activity.peak,
            "n_clips": np.diff(activity.starts),
            "histogram": list(histograms),
        }
    )
    names = study.names.set_index("latent").reindex(numbers)
    where = " that names are made from" if study.about["judged_on"] else ""
    few = np.where(
        alive, f"fires in fewer than {FEWEST_CLIPS} of the clips{where}: too few to tell", "never fires"
    )
    names["evidence"] = names.evidence.where(names.evidence.notna(), pd.Series(few, index=numbers))
    names["name"] = names.name.fillna(NO_MEANING)
    names = names.fillna({"rule": "", "caveat": "", "confidence": 0.0})
    table = table.join(names[["name", "rule", "confidence", "name_auc", "evidence", "caveat"]])
    judged = study.judged.set_index("latent")
    table = table.join(judged[["auc", "random_auc"]].add_prefix("held_out_"))
    for part, prefix, kept in (
        (study.best_label, "label_", ["column", "value", "auc", "p_corrected"]),
        (study.best_group, "group_", ["value", "auc", "p_corrected"]),
        (study.best_factor, "factor_", ["factor", "unit", "rho", "p_corrected"]),
    ):
        own = part.set_index("latent")[kept].add_prefix(prefix)
        table = table.join(
            own.rename(columns={"factor_factor": "factor", f"{prefix}p_corrected": f"{prefix}p"})
        )
    table["recurrence"] = recurrence(atoms, other_atoms) if atoms is not None else np.nan
    table["caveat"] = [
        "; ".join(filter(None, [row.caveat, *_more_caveats(row)])) for row in table.itertuples()
    ]
    return table


def _more_caveats(row: Any) -> list[str]:
    found = []
    if row.frequency > 0.5:
        found.append(f"active in {100 * row.frequency:.0f} % of rows")
    if row.rule:
        if np.isfinite(row.recurrence) and row.recurrence < 0.5:
            found.append("no other seed has a latent like it")
        if np.isfinite(row.held_out_auc) and row.held_out_auc < row.name_auc - 0.15:
            found.append(f"weaker on held-out groups: AUC {row.held_out_auc:.2f}")
    return found


def _by_id(table: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Return `table` with the clips' ids in place of their numbers."""
    places = table["clip"].to_numpy(dtype=int)
    named = table.assign(clip=pd.Categorical.from_codes(places, ids) if len(ids) else places)
    return named.rename(columns={"clip": "clip_id"}).reset_index(drop=True)
