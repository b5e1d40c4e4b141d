"""The result tables of a run: their columns, and the rules that everyone who writes or reads them shares.

A table, a column, a null or a family is added here and nowhere else: writing checks against `TABLES`, reading casts by
it. `SCHEMA` goes up whenever a column is added, renamed or gets another meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otoscope.errors import InputError, ProvenanceError, nearest

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 4
"""Version of the tables below; stands in ``run.json`` and in the record of every stage."""

FEWEST_GROUPS = 4
"""Test groups from which on a t interval over them is shown and claimed by: from there on coverage was measured."""

Kind = Literal["text", "layer", "number", "count", "flag"]


@dataclass(frozen=True)
class Column:
    """A column of a result table.

    Attributes
    ----------
    name : str
    kind : {"text", "layer", "number", "count", "flag"}
        Text stays as it is written (a class may be called 01 or NA); a layer is a whole number or "final"; a number
        may be missing; so may a count, which is whole; a flag is True or False.
    unit : str
        Of a number or count; empty where it has none, as a score.
    """

    name: str
    kind: Kind
    unit: str = ""


def _text(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "text") for name in names)


def _numbers(*names: str, unit: str = "") -> tuple[Column, ...]:
    return tuple(Column(name, "number", unit) for name in names)


def _counts(*names: str, unit: str = "") -> tuple[Column, ...]:
    return tuple(Column(name, "count", unit) for name in names)


@dataclass(frozen=True)
class Table:
    """The columns of a result table, in order.

    Attributes
    ----------
    columns : tuple of Column
    more : {"text", "layer", "number", "count", "flag"}, optional
        What further columns hold, whose names only the data know; None: there are none.
    """

    columns: tuple[Column, ...]
    more: Kind | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def kind(self, name: str) -> Kind | None:
        """Return what a column holds, None if the table has no such column."""
        return next((column.kind for column in self.columns if column.name == name), self.more)


DENSE = "dense"
"""The representation that no autoencoder made: the layer itself."""


@dataclass(frozen=True)
class Null:
    """A representation that what was learnt must beat: its name in tables, its label, and a shorter one."""

    name: str
    label: str
    short: str


_NULLS = (
    Null("untrained", "untrained SAE", "untrained"),
    Null("random", "random projection", "random"),
    Null("frozen_decoder", "SAE with a random decoder", "frozen decoder"),
    Null("frozen_encoder", "SAE with a random encoder", "frozen encoder"),
    Null("permuted", "SAE of permuted activations", "permuted"),
    Null("pca", "PCA", "PCA"),
    Null("ica", "ICA", "ICA"),
    Null("label", "label only, no audio", "label"),
    Null("shuffled", "shuffled factors", "shuffled"),
)
NULLS = tuple(null.name for null in _NULLS)
"""Representations that no training on this data shaped (or, shuffled, that lost the factors), in the order shown."""
NULL_LABELS = {null.name: null.label for null in _NULLS}
SHORT_NULL_LABELS = {null.name: null.short for null in _NULLS}

FAMILIES = ("pitch", "formants", "mfcc", "spectral", "quality", "loudness", "rhythm")
"""The seven families of factors, in the order they are always shown."""

METRICS = {"class": "accuracy", "number": "r2", "multi": "macro_average_precision"}
"""Kind of label -> what a probe of it is scored by, as the column ``metric`` and ``run.json`` say it."""
METRIC_LABELS = {"accuracy": "accuracy", "r2": "R²", "macro_average_precision": "macro average precision"}
"""The metrics as a person reads them."""

HEADLINE_SPARSITY = 0.95
"""Codes of the sparsity nearest to this stand for all, as in the paper's figures."""

BEST_LAYER, CODES = "best_layer_minus_layer_0", "codes_minus_dense"
"""The values of ``comparison`` in comparisons.csv."""

YES, NO, IN_PART = "yes", "no", "in part"
AS_PUBLISHED, NOT_TESTED = "as published, not held out", "not tested"
"""The values of ``holds`` in claims.csv."""

UNTOUCHED, RECONSTRUCTION, COMPONENTS = "untouched", "reconstruction", "components"
MEAN, ZERO = "mean", "zero"
"""The values of ``replaced_by`` in splice.csv: components are as many principal ones as the code has active latents."""
TARGET = "target"
"""In erasure.csv, the value of ``label`` that stands for the label that is erased."""
LATENTS, RANDOM_LATENTS = "latents", "random latents"
LEACE, MEAN_PROJECTION, RANDOM_DIRECTIONS = "LEACE", "mean projection", "random directions"
"""The values of ``method`` in erasure.csv, beside UNTOUCHED."""
RAW_DIRECTION, RANDOM_DIRECTION = "raw direction", "random direction"
"""The values of ``by`` in steering.csv, beside LATENTS and RANDOM_LATENTS."""

_LAYER = (*_text("encoder"), Column("layer", "layer"))
_REPRESENTATION = (
    *_LAYER,
    *_text("representation"),
    *_numbers("sparsity", unit="fraction"),
    *_counts("seed"),
)
_SAE = (
    *_LAYER,
    *_text("sae"),
    *_numbers("sparsity", unit="fraction"),
    *_counts("k", unit="latents"),
    *_counts("seed"),
)
_PROBE = (
    *_numbers("score", "score_low", "score_high"),
    *_counts("n_test", unit="rows"),
    *_counts("n_groups", unit="groups"),
    Column("trusted", "flag"),
    *_numbers("balanced_accuracy", "valid_score", "strength"),
    *_counts("epoch"),
    *_text("metric"),
)
_CLIP_CODE = (*_text("clip_code"), Column("main", "flag"))
"""How a clip's code was made from its frames, and whether that is how all other tables have it."""
_SUMMARY = (
    *_text("selection"),
    *_numbers("r2_mean", "r2_std", "completeness_mean", "completeness_std"),
    *_numbers("effective_dims_mean", unit="dimensions"),
    *_numbers("r2_cv_mean", "r2_in_sample_mean", "r2_label_mean", "r2_beyond_mean"),
    *_numbers("effective_dims_matched_mean", unit="dimensions"),
    *_numbers("completeness_published_mean", "disentanglement"),
    *_counts("n_factors", unit="factors"),
)

_FACTOR = (
    *_REPRESENTATION,
    *_text("factor", "family"),
    *_numbers("r2", "r2_cv", "completeness"),
    *_numbers("effective_dims", unit="dimensions"),
    *_counts("n_nonzero", unit="dimensions"),
    *_text("importance"),
    *_numbers("alpha"),
    *_counts("n_rows", unit="rows"),
    *_counts("n_free", unit="directions"),
    *_numbers("r2_cv_matched"),
    *_numbers("effective_dims_matched", unit="dimensions"),
    *_counts("n_nonzero_matched", unit="dimensions"),
    *_numbers("alpha_matched"),
    *_numbers("weak_edge", "strong_edge", unit="fraction"),
    *_numbers("r2_label", "r2_beyond"),
    Column("label_owned", "flag"),
    *_numbers("r2_counted"),
    *_counts("base", "n_alive", unit="dimensions"),
    *_numbers("completeness_published"),
    Column("ranked", "flag"),
)

TABLES: dict[str, Table] = {
    "layer_probing": Table((*_LAYER, *_counts("seed"), *_PROBE)),
    "layer_guide": Table(
        (
            *_text("encoder", "input", "layer"),
            *_PROBE,
            Column("best", "flag"),
            *_numbers("weight", "attention", unit="fraction"),
            *_numbers("gain", "gain_low", "gain_high", "gain_p"),
        )
    ),
    "predictions": Table(
        (*_LAYER, *_counts("seed"), *_text("clip_id"), *_counts("crop"), *_text("truth", "predicted"))
    ),
    "confusion": Table((*_LAYER, *_text("truth", "predicted"), *_counts("count", unit="rows"))),
    "reconstruction": Table(
        (
            *_SAE,
            *_numbers("mse", "fvu"),
            *_numbers("l0", unit="latents"),
            *_numbers("dead_fraction", unit="fraction"),
        )
    ),
    "null_reconstruction": Table(
        (
            *_LAYER,
            *_text("representation"),
            *_numbers("sparsity", unit="fraction"),
            *_counts("k", unit="latents"),
            *_counts("seed"),
            *_numbers("mse", "fvu"),
            *_numbers("l0", unit="latents"),
            *_numbers("dead_fraction", unit="fraction"),
        )
    ),
    "preflight": Table(
        (
            *_LAYER,
            *_counts("n_rows", unit="rows"),
            *_counts("width", unit="dimensions"),
            *_numbers("mean_over_spread"),
            *_counts("outliers", unit="dimensions"),
            *_numbers("outlier_share", unit="fraction"),
            *_counts("largest_dimension"),
            *_numbers("largest_severity"),
            *_numbers("effective_rank", unit="dimensions"),
            *_counts("limited", unit="dimensions"),
            *_counts("duplicates", unit="rows"),
            *_text("advice"),
        )
    ),
    "health": Table(
        (
            *_SAE,
            *_counts("n_latents", "alive", "dead", unit="latents"),
            *_counts("alive_rows", unit="rows"),
            *_counts("dead_held_out", unit="latents"),
            *_counts("held_out_rows", unit="rows"),
            *_counts("dense", unit="latents"),
            *_numbers("dense_activity", unit="fraction"),
            *_numbers("l0", unit="latents"),
            *_numbers("fvu"),
            *_counts("pca_k", unit="components"),
            *_numbers("pca_fvu"),
            *_numbers("best_epoch", "epochs", "tail_slope"),
            Column("converged", "flag"),
            *_text("state", "verdict"),
        )
    ),
    "stability": Table(
        (
            *_LAYER,
            *_text("sae"),
            *_numbers("sparsity", unit="fraction"),
            *_counts("k", unit="latents"),
            *_text("representation"),
            *_counts("seed", "other_seed"),
            *_counts("n_matched", unit="latents"),
            *_numbers("pw_mcc", "matched_cosine", "recurring_0.7", "recurring_0.9"),
        )
    ),
    "latent_stability": Table(
        (
            *_SAE,
            *_counts("latent"),
            *_numbers("matched_cosine"),
        )
    ),
    "sae_probing": Table((*_SAE, *_PROBE, *_CLIP_CODE)),
    "null_probing": Table(
        (
            *_LAYER,
            *_text("representation"),
            *_numbers("sparsity", unit="fraction"),
            *_counts("k", unit="latents"),
            *_counts("seed"),
            *_PROBE,
            *_CLIP_CODE,
        )
    ),
    "comparisons": Table(
        (
            *_LAYER,
            *_text("sae"),
            *_numbers("sparsity", unit="fraction"),
            *_counts("seed"),
            *_text("comparison", "side", "against"),
            *_numbers("difference", "difference_low", "difference_high"),
            *_counts("n_test", unit="rows"),
            *_counts("n_groups", unit="groups"),
            *_numbers("difference_se", "difference_df", "difference_p"),
            Column("trusted", "flag"),
        )
    ),
    "sparse_probing": Table(
        (
            *_REPRESENTATION,
            *_text("class"),
            *_counts("k", unit="latents"),
            *_numbers("average_precision", "low", "high", "chance"),
            *_text("latents"),
            *_numbers("valid_average_precision"),
            *_counts("n_test", unit="rows"),
            *_counts("n_groups", unit="groups"),
            Column("trusted", "flag"),
        )
    ),
    "disentanglement": Table(_FACTOR),
    "frame_disentanglement": Table(_FACTOR),
    "disentanglement_summary": Table((*_REPRESENTATION, *_SUMMARY)),
    "forest_summary": Table((*_REPRESENTATION, *_SUMMARY)),
    "latent_disentanglement": Table(
        (*_REPRESENTATION, *_counts("latent"), *_numbers("importance", "disentanglement"))
    ),
    "factor_families": Table((*_REPRESENTATION, *_counts(*FAMILIES, unit="factors")), more="count"),
    "infomec": Table(
        (
            *_REPRESENTATION,
            *_numbers("modularity", "compactness", "explicitness"),
            *_counts("n_factors", unit="factors"),
        )
    ),
    "gap_scores": Table((*_REPRESENTATION, *_text("factor"), *_numbers("mig", "sap"))),
    "factor_entropy": Table(
        (
            *_text("factor", "family"),
            *_numbers("entropy_knn_bits", "entropy_hist_bits", unit="bits"),
            *_counts("n_rows", "n_tied", unit="rows"),
            *_numbers("largest_tie", unit="fraction"),
            Column("mixed", "flag"),
        )
    ),
    "factors_info": Table(_text("name", "unit", "family")),
    "factor_problems": Table(
        (*_text("clip_id"), *_numbers("start_s", "stop_s", unit="s"), *_text("problem"))
    ),
    "splice": Table(
        (
            *_SAE,
            *_text("replaced_by", "readout", "measure"),
            *_numbers("value", "low", "high", "recovered"),
            *_counts("n_clips", unit="clips"),
            *_counts("n_groups", unit="groups"),
        )
    ),
    "erasure": Table(
        (
            *_SAE,
            *_text("target", "method"),
            *_counts("n", unit="latents or directions"),
            *_numbers("share", unit="fraction"),
            *_text("label", "held_out"),
            *_numbers("score", "low", "high", "chance"),
            *_numbers("change", unit="fraction"),
        )
    ),
    "erasure_summary": Table(
        (
            *_SAE,
            *_text("target", "method"),
            *_counts("n", unit="latents or directions"),
            *_numbers("share", unit="fraction"),
            *_numbers("target_lost", "kept_lost", "selectivity"),
            Column("at_chance", "flag"),
        )
    ),
    "steering": Table(
        (
            *_SAE,
            *_text("by"),
            *_numbers("dose"),
            *_text("readout", "measure"),
            *_numbers("value", "low", "high"),
            *_counts("n_clips", unit="clips"),
            *_counts("n_groups", unit="groups"),
        )
    ),
    "before_after": Table(
        (
            *_SAE,
            *_counts("latent"),
            *_text("switched", "clip_id", "readout", "before", "after", "measure"),
            *_numbers("change", "change_random"),
            *_text("sound"),
        )
    ),
    "before_after_shares": Table(
        (
            *_SAE,
            *_counts("latent"),
            *_text("switched", "clip_id", "output"),
            *_numbers("before", "after", unit="probability"),
        )
    ),
    "claims": Table(_text("claim", "protocol", "statement", "measured", "holds", "rule", "scope")),
    "published_comparison": Table(
        (
            *_text("quantity"),
            *_LAYER,
            *_numbers("sparsity", unit="fraction"),
            *_numbers("published", "ours", "difference"),
            *_text("source"),
        )
    ),
    "switches": Table(
        (
            *_counts("number"),
            *_text("role", "switch", "published", "sound", "encoder", "metric"),
            *_numbers("best_layer_score", "r2_top10", "completeness_gain"),
            *_numbers("d_best_layer_score", "d_r2_top10", "d_completeness_gain"),
            *_text("note"),
        )
    ),
}
"""Each result table, by its file name without ``.csv``. ``switches`` is of an ablation, all others lie in a run."""


def check_table(name: str, table: pd.DataFrame) -> None:
    """Raise InputError unless `table` has the columns of `TABLES`, in order, and holds what they say."""
    known = table_of(name)
    names = [str(column) for column in table.columns]
    n = len(known.columns)
    if tuple(names[:n]) != known.names or (names[n:] and known.more is None):
        raise InputError(
            f"table '{name}' must have the columns {', '.join(known.names)}; got {', '.join(names)} "
            "(otoscope.results says what each table holds)"
        )
    for column in names:
        if not _holds(table[column], known.kind(column)):
            raise InputError(
                f"table '{name}': column '{column}' must hold {_WORDS[known.kind(column)]}; "
                f"got {table[column].dtype} such as {table[column].iloc[0]!r}"
            )


def table_of(name: str) -> Table:
    """Return a table's columns; raise InputError if there is no such table."""
    if name not in TABLES:
        raise InputError(f"there is no result table '{name}'{nearest(name, TABLES)} ({', '.join(TABLES)})")
    return TABLES[name]


def to_csv(name: str, table: pd.DataFrame) -> str:
    """Check a result table and return it as the text of its file."""
    check_table(name, table)
    numbers = {column.name: float for column in table_of(name).columns if column.kind == "number"}
    return table.astype(numbers).to_csv(index=False, float_format="%.10g")


def read_table(path: str | Path, name: str | None = None) -> pd.DataFrame:
    """Read a result table, each column as what it holds.

    Parameters
    ----------
    path : str or Path
        A .csv file.
    name : str, optional
        Which table it is; default: as the file is called.

    Returns
    -------
    DataFrame
        Text as written, missing or not; layers as int or "final"; numbers as float; counts as int, or as float where
        one is missing; flags as bool.

    Raises
    ------
    InputError
        If it is no table, lacks a column or holds text for a number.
    """
    import pandas as pd

    path = Path(path)
    known = table_of(name or path.stem)
    try:
        # names such as "NA" or "none" are text, so pandas must not guess what is missing
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path} is no table, or cannot be read") from error
    missing = [column for column in known.names if column not in table]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(table)}. If an older version of "
            "Otoscope made it, run 'otoscope run' on its folder again, which makes the tables anew"
        )
    for column in table:
        try:
            table[column] = _cast(table[column], known.kind(str(column)) or "text")
        except ValueError as error:
            raise InputError(
                f"{path}: column '{column}' must hold {_WORDS[known.kind(str(column))]}; got {error}"
            ) from error
    return table


def check_schema(record: Mapping[str, Any], where: str | Path) -> None:
    """Raise ProvenanceError if ``run.json`` says that other versions made the tables of the run `where`.

    Parameters
    ----------
    record : mapping
        What ``run.json`` holds; empty while the run is not finished, which is not refused.
    where : str or Path
        The run's directory.
    """
    found = record.get("schema", 1) if record else SCHEMA
    if found == SCHEMA:
        return
    if isinstance(found, int) and found > SCHEMA:
        raise ProvenanceError(
            f"the tables of '{where}' are of schema {found}, and this version of Otoscope reads {SCHEMA}: "
            "read it with the newer version that made it"
        )
    raise ProvenanceError(
        f"the tables of '{where}' are of schema {found}, and this version of Otoscope reads {SCHEMA}: run 'otoscope "
        f"run' again with the same spec and --out {where}; activations and autoencoders are kept, tables made anew"
    )


def r2_column(fit: str) -> str:
    """Return the R2 that counts: of held-out groups, beyond the label where a factor is the label's; or in-sample."""
    return {"held_out": "r2_counted", "in_sample": "r2"}[fit]


def entropy_column(estimate: str) -> str:
    """Return the column of factor_entropy.csv that holds an estimate ("knn", "histogram")."""
    return {"knn": "entropy_knn_bits", "histogram": "entropy_hist_bits"}[estimate]


def pick_column(pick_layer: str) -> str:
    """Return the column of layer_probing.csv that the best layer is picked by ("valid", or as published "test")."""
    return {"valid": "valid_score", "test": "score"}[pick_layer]


def trained_codes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose representation is the code of a trained autoencoder, whatever its kind is called."""
    return table[~table["representation"].isin((DENSE, *NULLS))]


def main_codes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of codes as all tables have them, where some are of other ways to make a clip's code."""
    return table[table["main"]].reset_index(drop=True) if "main" in table else table


def nearest_sparsity(sparsities: Iterable[float | None], wanted: float = HEADLINE_SPARSITY) -> float | None:
    """Return the sparsity nearest to `wanted`, the first of two equals; None if there is none."""
    known = [float(sparsity) for sparsity in sparsities if sparsity is not None and not math.isnan(sparsity)]
    return min(known, key=lambda sparsity: abs(sparsity - wanted), default=None)


def at_nearest_sparsity(table: pd.DataFrame, wanted: float = HEADLINE_SPARSITY) -> pd.DataFrame:
    """Return the rows of the sparsity nearest to `wanted`; none where no row has a sparsity."""
    return table[table["sparsity"] == nearest_sparsity(table["sparsity"].unique(), wanted)]


def layer_order(layer: Any) -> float:
    """Return the depth to sort a layer by; "final" comes last."""
    return float(layer) if str(layer).isdecimal() else math.inf


_WORDS = {
    "text": "text",
    "layer": "layers (whole numbers or 'final')",
    "number": "numbers",
    "count": "whole numbers",
    "flag": "True or False",
    None: "text",
}


def _holds(column: pd.Series, kind: Kind | None) -> bool:
    """Whether a column about to be written holds what it should; text may be anything that can be written as such."""
    import pandas as pd

    if kind == "text" or not len(column):
        return True
    if kind == "layer":
        return all(layer == "final" or str(layer).isdecimal() for layer in column)
    if kind == "flag":
        return all(value is True or value is False for value in column.tolist())
    known = column.dropna().infer_objects()
    if known.empty:
        return True
    if not pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known):
        return False
    return kind == "number" or bool((known == known.round()).all())


def _cast(column: pd.Series, kind: Kind) -> pd.Series:
    """Return a column of text as what it holds; ValueError, with the first cell that is not that, if it does not."""
    import pandas as pd

    if kind == "layer":
        strange = [text for text in column if text != "final" and not text.isdecimal()]
        if strange:
            raise ValueError(repr(strange[0]))
        return column.map(lambda text: text if text == "final" else int(text)).astype(object)
    if kind == "flag":
        known = {"True": True, "False": False}
        strange = [text for text in column if text not in known]
        if strange:
            raise ValueError(repr(strange[0]))
        return column.map(known).astype(bool)
    if kind == "text":
        return column
    numbers = pd.to_numeric(column.where(column != "", "nan"), errors="coerce").astype(float)
    unread = column[numbers.isna()]
    strange = [text for text in unread if text.lower() not in ("", "nan")]
    if strange:
        raise ValueError(repr(strange[0]))
    if kind != "count" or len(unread):
        return numbers
    odd = numbers[(numbers != numbers.round()) | (numbers.abs() > 2**53)]
    if len(odd):
        raise ValueError(f"{odd.iloc[0]:g}")
    return numbers.astype("int64")
