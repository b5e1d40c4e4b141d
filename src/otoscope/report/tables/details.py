"""What a reader looks up rather than reads: other scores of the same codes, few latents, what was not measured."""

from __future__ import annotations

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.details import BY, SHARE, free_shares, latents_needed, problem_counts
from otoscope.report.numbers.headlines import main_selection
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run, r2_kind
from otoscope.report.tables.cells import ENCODER, LAYER, OF, Column, Table, laid_out, whole
from otoscope.results import DENSE, NULLS, layer_order


def more_tables(run: Run) -> list[Table]:
    """Return the tables that are folded from the start; those whose results are missing are left out."""
    tables = [_few_latents(run), _of_frames(run), _other_scores(run), _not_unique(run), _problems(run)]
    return [table for table in tables if table is not None]


def _few_latents(run: Run) -> Table | None:
    needed = latents_needed(run)
    if needed is None:
        return None
    wide = needed.set_index([*BY, "class"])["k_needed"].unstack("class", sort=False)
    classes = list(wide.columns)
    rows = rows_of(wide.reset_index()[BY].assign(ks=wide.to_dict("records")))
    columns: list[Column] = [
        ENCODER,
        LAYER,
        OF,
        ("median", lambda r: whole(pd.Series(r.ks).median())),
        *(
            (str(name), lambda r, name=name: f"{r.ks[name]:.0f}" if r.ks[name] == r.ks[name] else "n/a")
            for name in classes
        ),
    ]
    note = (
        f"The least number of latents (or dense dimensions), of those tried, whose average precision reaches "
        f"{wording.sparsity(SHARE)} of that of the whole code, on validation clips; latents are ranked on training "
        "clips, so the test clips have no say. Classes that the validation clips cannot tell of are left out. "
        "A few means that single latents stand for the class; the width means that nothing less is enough."
    )
    return laid_out("How few latents does a class need?", columns, rows, note=note, folded=True)


def _of_frames(run: Run) -> Table | None:
    table = run.table("frame_disentanglement")
    if table is None:
        return None
    scores = (
        table.groupby([*BY, "factor"], dropna=False, sort=False)["r2_cv"].mean().unstack("factor", sort=False)
    )
    scores = scores.loc[sorted(scores.index, key=_order)]
    lines = rows_of(scores.reset_index()[BY].assign(values=scores.to_dict("records")))
    columns: list[Column] = [
        ENCODER,
        LAYER,
        OF,
        *((str(name), lambda r, name=name: wording.number(r.values[name])) for name in scores.columns),
    ]
    note = (
        "R² of unheard groups at the moment of a frame, from the layer's frame or its code, on "
        f"{table['n_rows'].max():,.0f} frames; a clip's frames are never on both sides. Pitch "
        "counts where there is one. Means over seeds."
    )
    return laid_out("Level, pitch and spectrum of single frames", columns, lines, note=note, folded=True)


def _other_scores(run: Run) -> Table | None:
    """Lasso, forest, and gap scores of the same representations, beside each other."""
    parts = []
    summary, forest, gaps, shared = (
        run.table(name) for name in ("disentanglement_summary", "forest_summary", "gap_scores", "infomec")
    )
    if summary is not None:
        rows = summary[summary["selection"] == summary["selection"].iloc[0]]
        parts.append(_means(rows, {"disentanglement": "disentanglement (Lasso)"}))
    if forest is not None:
        rows = forest[forest["selection"] == main_selection(forest)]
        named = {"r2_mean": f"{r2_kind(run)} R² (forest)", "completeness_mean": "completeness (forest)"}
        parts.append(_means(rows, named | {"disentanglement": "disentanglement (forest)"}))
    if gaps is not None:
        parts.append(_means(gaps, {"mig": "MIG", "sap": "SAP"}))
    if shared is not None:
        named = {"modularity": "InfoM", "compactness": "InfoC", "explicitness": "InfoE"}
        parts.append(_means(shared, named))
    if not sum(len(part.columns) for part in parts):
        return None
    both = pd.concat(parts, axis=1)
    both = both.loc[sorted(both.index, key=_order)]
    lines = rows_of(both.reset_index()[BY].assign(values=both.to_dict("records")))
    columns: list[Column] = [
        ENCODER,
        LAYER,
        OF,
        *((name, lambda r, name=name: wording.number(r.values[name])) for name in both.columns),
    ]
    note = (
        "Disentanglement: 1 if each latent serves one factor. Forest: importance by random forests instead of the "
        "Lasso; a forest gives every latent a little, so its completeness runs lower: compare forests with forests. "
        "MIG and SAP: the gap between the two latents that tell most of a factor, by mutual information and by R², "
        "means over factors. InfoM, InfoC, InfoE (modularity, compactness and explicitness; Hsu et al. 2023): how much "
        "of a latent's information is on one factor, of a factor's in one latent, and how well a linear model reads "
        "the factors of unheard groups; of codes at one sparsity. Means over seeds; n/a: not measured."
    )
    return laid_out("Other scores of the same codes", columns, lines, note=note, folded=True)


def _not_unique(run: Run) -> Table | None:
    shares = free_shares(run)
    if shares is None or not (shares["share"] > 0).any():
        return None
    columns: list[Column] = [
        ENCODER,
        LAYER,
        OF,
        ("factors without a unique solution", lambda r: wording.percent(r.share, 0)),
    ]
    note = (
        "Share of factors whose Lasso solution is not the only one: where columns of a code are collinear, as of "
        "latents that fire for a single clip, other weights fit as well, with another completeness. Codes of high "
        "sparsity suffer most."
    )
    return laid_out("Where completeness is not unique", columns, rows_of(shares), note=note, folded=True)


def _problems(run: Run) -> Table | None:
    table = run.table("factor_problems")
    if table is None:
        return None

    def clips(reason: str) -> str:
        names = list(dict.fromkeys(table.loc[table["problem"] == reason, "clip_id"]))
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    columns: list[Column] = [
        ("why", lambda row: row[0]),
        ("clips", lambda row: str(row[1])),
        ("which", lambda row: clips(row[0])),
    ]
    note = "What could not be measured is missing (never 0), and left out of the factors it concerns."
    title = f"Clips with factors that could not be measured: {table['clip_id'].nunique():,}"
    return laid_out(title, columns, problem_counts(run), note=note, folded=True, wraps=True)


def _means(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    there = {name: title for name, title in names.items() if table[name].notna().any()}
    return table.groupby(BY, dropna=False, sort=False)[list(there)].mean().rename(columns=there)


def _order(key: tuple) -> tuple:
    encoder, layer, representation, sparsity = key
    kind = (DENSE, "", *NULLS)
    rank = kind.index(representation) if representation in kind else 1
    return str(encoder), layer_order(layer), rank, -1.0 if sparsity != sparsity else sparsity
