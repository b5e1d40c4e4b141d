"""Reads EleutherAI sparsify's sparse coders: ``cfg.json`` and ``sae.safetensors`` (sparsify 1.x)."""

from __future__ import annotations

from pathlib import Path

from otoscope.errors import ModelError
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.files.foreign import fill, read_json, read_safetensors, take
from otoscope.saes.kinds.topk_gao import GaoTopKConfig

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def read_sparsify(directory: str | Path, *, layer: int | None = None) -> SparseAutoencoder:
    """Read a sparse coder that sparsify saved, as a :class:`~otoscope.saes.kinds.topk_gao.GaoTopK` with equal codes.

    Raises
    ------
    ModelError
        If it is not one, or a transcoder, or uses an activation that we do not have.
    """
    directory = Path(directory)
    options = read_json(directory / CONFIG)
    for option in ("transcode", "skip_connection"):
        if options.get(option):
            raise ModelError(
                f"{directory} holds a transcoder ({option}), which does not reconstruct its input"
            )
    if options.get("activation", "topk") != "topk":
        raise ModelError(f"{directory} uses the activation '{options['activation']}'; only topk can be read")
    tensors = read_safetensors(directory / WEIGHTS)
    weight, bias, decoder, decoder_bias = take(
        tensors, directory / WEIGHTS, "encoder.weight", "encoder.bias", "W_dec", "b_dec"
    )
    return fill(
        GaoTopKConfig(n_latents=weight.shape[0], k=int(options.get("k", 32))),
        {
            "encoder_weight": weight,
            "encoder_bias": bias,
            "decoder_weight": decoder,
            "decoder_bias": decoder_bias,
        },
        layer=layer,
        about={"read_from": "sparsify", "source": options},
    )
