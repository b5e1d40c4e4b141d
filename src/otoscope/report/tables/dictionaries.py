"""Tables about the dictionaries themselves: their rows, their health, whether they come out alike."""

from __future__ import annotations

from otoscope import wording
from otoscope.report.numbers.dictionaries import recurring
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run, metric_of, row_word
from otoscope.report.tables.cells import (
    ENCODER,
    LAYER,
    LONG,
    OF,
    SPARSITY,
    Column,
    Table,
    laid_out,
    where,
    whole,
)
from otoscope.results import NULL_LABELS, NULLS, layer_order


def dictionary_tables(run: Run) -> list[Table]:
    """Return health, clips' codes, stability and preflight; those whose results are missing are left out."""
    tables = [_health(run), _clip_codes(run), _stability(run), _preflight(run)]
    return [table for table in tables if table is not None]


def _health(run: Run) -> Table | None:
    table = run.table("health")
    if table is None:
        return None
    order = table.assign(layer=table["layer"].map(layer_order))
    table = table.loc[order.sort_values(["encoder", "layer", "sparsity", "seed"], kind="stable").index]
    columns: list[Column] = [
        *where(table["encoder"].nunique() > 1, ENCODER),
        LAYER,
        SPARSITY,
        *where(table["seed"].nunique() > 1, ("seed", lambda r: str(r.seed))),
        ("verdict", lambda r: r.verdict),
        ("alive, on training rows", lambda r: f"{r.alive:,.0f} of {r.n_latents:,.0f}"),
        ("silent on held-out rows", lambda r: f"{r.dead_held_out:,.0f}"),
        ("on in over half", lambda r: f"{r.dense:,.0f}"),
        ("FVU", lambda r: wording.percent(r.fvu)),
        ("FVU of PCA, as many components", lambda r: f"{wording.percent(r.pca_fvu)} ({r.pca_k:,.0f})"),
        ("best epoch", lambda r: _epochs(r.best_epoch, r.epochs)),
    ]
    trained, held_out = int(table["alive_rows"].max()), int(table["held_out_rows"].max())
    note = (
        f"Alive: active in at least one of {wording.count(trained, 'training row')}; silent: active in none of "
        f"{wording.count(held_out, 'held-out row')}, which alone does not make a latent dead. On in over half of the "
        f"training rows: such a latent says nearly the same about every {row_word(run)}. What is said of codes of a "
        "collapsed dictionary is not a statement about sparse codes. Healthy: neither collapsed nor worn; it says "
        "nothing of what latents hold. Where the validation error still fell by 1 % or more over the last tenth of "
        "training, the verdict says so; the best epoch may be the last one all the same."
    )
    return laid_out(
        "Health of the dictionaries",
        columns,
        rows_of(table),
        note=note,
        marked=lambda r: r.state != "healthy",
        folded=len(table) > 2 * LONG,
        wraps=True,
    )


def _preflight(run: Run) -> Table | None:
    table = run.table("preflight")
    if table is None:
        return None
    columns: list[Column] = [
        *where(table["encoder"].nunique() > 1, ENCODER),
        LAYER,
        ("rows", lambda r: f"{r.n_rows:,.0f}"),
        ("mean over spread", lambda r: wording.number(r.mean_over_spread, 1)),
        ("outlier dimensions (share of energy)", lambda r: _outliers(r.outliers, r.outlier_share)),
        ("effective rank", lambda r: f"{wording.number(r.effective_rank, 0)} of {r.width:,.0f}"),
        ("rows that repeat", lambda r: f"{r.duplicates:,.0f}"),
        ("advice", lambda r: r.advice or "none needed"),
    ]
    note = (
        "Of the training rows, before anything was trained. A mean far beyond the spread, or a few dimensions that "
        "hold most of the energy, draw latents to what all rows share, unless rows are centred and scaled."
    )
    return laid_out(
        "Preflight: the rows that dictionaries see", columns, rows_of(table), note=note, wraps=True
    )


def _clip_codes(run: Run) -> Table | None:
    table = run.table("clip_codes")
    if table is None:
        return None
    metric = metric_of(run)
    named = table["sae"].fillna(table["representation"].map(NULL_LABELS))
    by = ["encoder", "layer", "sparsity", "sae", "clip_code"]
    means = table.assign(sae=named).groupby(by, sort=False, dropna=False)["score"].mean()
    scores = means.unstack("clip_code", sort=False).reset_index()
    scores = scores.sort_values(
        ["encoder", "layer"],
        key=lambda own: own.map(layer_order) if own.name == "layer" else own,
        kind="stable",
    )
    ways = [name for name in ("mean", "max", "share") if name in scores]
    main = str(table["clip_code"][table["main"]].iloc[0])
    columns: list[Column] = [
        *where(scores["encoder"].nunique() > 1, ENCODER),
        LAYER,
        SPARSITY,
        ("of", lambda r: str(r.sae)),
        *((name, lambda r, name=name: wording.score(getattr(r, name), metric)) for name in ways),
    ]
    note = (
        "Dictionaries learnt from frames. A clip's code is the mean of its frames' codes, their largest, or the share "
        f"of frames in which a latent is on; all else is of the {main}. Probes on test clips, means over seeds."
    )
    return laid_out(
        "A clip's code from its frames",
        columns,
        rows_of(scores),
        note=note,
        marked=lambda r: r.sae in set(table["sae"].dropna()),
        folded=len(scores) > 2 * LONG,
    )


def _stability(run: Run) -> Table | None:
    found = recurring(run)
    if found is None:
        return None
    columns: list[Column] = [
        *where(found["encoder"].nunique() > 1, ENCODER),
        LAYER,
        SPARSITY,
        OF,
        ("pairs of seeds", lambda r: str(r.pairs)),
        ("latents matched", lambda r: whole(r.n_matched)),
        ("recur, cosine > 0.7", lambda r: wording.percent(r.recurring_0_7, 0)),
        ("recur, cosine > 0.9", lambda r: wording.percent(r.recurring_0_9, 0)),
        ("mean cosine", lambda r: wording.number(r.matched_cosine)),
        ("PW-MCC", lambda r: wording.number(r.pw_mcc)),
    ]
    note = (
        "The same training from other seeds: each latent is matched with one of the other dictionary, by the cosine of "
        "their atoms. A latent that recurs is there in the data, not in the seed; what untrained dictionaries and "
        "those of permuted activations reach is chance. PW-MCC: mean cosine over the matched pairs of living latents."
    )
    return laid_out(
        "Do the same latents come back with another seed?",
        columns,
        rows_of(found),
        note=note,
        marked=lambda r: r.representation not in NULLS,
        folded=len(found) > LONG,
    )


def _outliers(n: float, share: float) -> str:
    return f"{n:,.0f} ({wording.percent(share, 0)})" if n else "none"


def _epochs(best: float, epochs: float) -> str:
    return "n/a" if best != best or epochs != epochs else f"{best:.0f} of {epochs:.0f}"
