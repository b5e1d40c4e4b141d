"""The model card of a saved autoencoder: what it is, what it was trained on, its numbers."""

from __future__ import annotations

from typing import Any


def model_card(sae: Any) -> str:
    """Return a card in Markdown, with the header that the Hugging Face Hub reads."""
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
    return "\n".join(lines)


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
