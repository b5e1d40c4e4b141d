"""The model card of a saved autoencoder: what it is, what it was trained on, its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def model_card(sae: Any, *, splice: pd.DataFrame | None = None) -> str:
    """Return a card in Markdown, with the header that the Hugging Face Hub reads.

    Parameters
    ----------
    sae : SparseAutoencoder
    splice : DataFrame, optional
        Its rows of splice.csv: what the model does where its layer is replaced by the reconstruction.
    """
    lines = [
        "---",
        "library_name: otoscope",
        "tags: [sparse-autoencoder, interpretability, audio]",
        "---",
        f"# {sae.name}",
        "",
        f"A sparse autoencoder of kind `{sae.config.kind}`: {sae.n_inputs} inputs, {sae.n_latents} latents"
        + (f", layer {sae.layer}." if sae.layer is not None else "."),
        "",
        "```python",
        "import otoscope",
        'sae = otoscope.SparseAutoencoder.from_pretrained("<this repository or its directory>")',
        "codes = sae.encode(activations)  # [rows, inputs] -> [rows, latents]",
        "```",
        "",
        *_table("Options", sae.config.to_dict()),
    ]
    for title, key in (("Trained on", "activations"), ("Training", "training"), ("Source", "source")):
        if isinstance(sae.about.get(key), dict):
            lines += _table(title, sae.about[key])
    numbers = sae.about.get("metrics") or _best_epoch(sae)
    if numbers:
        lines += _table("Numbers, on validation rows", numbers)
    if splice is not None:
        lines += _splice(splice)
    return "\n".join(lines)


def _splice(table: pd.DataFrame) -> list[str]:
    rows = [
        f"| {row.measure} | {row.value:.4g} | {row.low:.4g} to {row.high:.4g} | {row.recovered:.3g} |"
        for row in table.itertuples()
    ]
    first = table.iloc[0]
    return [
        "## Splice test",
        "",
        f"The layer replaced by its reconstruction on {first.n_clips} clips of {first.n_groups} groups; the model "
        f"was asked for: {first.readout}. Recovered: 1 as untouched, 0 as with the layer set to zero.",
        "",
        "| measure | mean over clips | 95 % interval | recovered |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _best_epoch(sae: Any) -> dict[str, Any]:
    if sae.history is None:
        return {}
    best = sae.history[sae.history["best"]].iloc[0].drop(labels="best")
    return {name: value for name, value in best.items() if value == value}  # NaN is not equal to itself


def _table(title: str, values: dict[str, Any]) -> list[str]:
    rows = [f"| {name} | {_text(value)} |" for name, value in values.items() if value is not None]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""]


def _text(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
