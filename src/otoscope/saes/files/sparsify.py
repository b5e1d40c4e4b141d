"""Reads EleutherAI sparsify's sparse coders: ``cfg.json`` and ``sae.safetensors`` (sparsify 1.x)."""

from __future__ import annotations

import re
from pathlib import Path

from otoscope.errors import ModelError
from otoscope.files import read_mapping
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.files.foreign import check_options, fill, take
from otoscope.saes.files.tensors import read_tensors
from otoscope.saes.kinds.topk_gao import GaoTopKConfig

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
OPTIONS = {
    "activation", "expansion_factor", "normalize_decoder", "num_latents", "k", "multi_topk", "skip_connection",
    "transcode", "d_in",
}  # fmt: skip


def read_sparsify(directory: str | Path, *, layer: int | None = None) -> SparseAutoencoder:
    """Read a sparse coder that sparsify saved, as a :class:`~otoscope.saes.kinds.topk_gao.GaoTopK` with equal codes.

    The folder of a hook on a whole block, such as ``encoder.layers.5``, gives the layer: what leaves block 5, counted
    from 0, is our layer 6.

    Raises
    ------
    ModelError
        If it is not one, or a transcoder, or uses an activation that we do not have.
    """
    directory = Path(directory)
    options = read_mapping(directory / CONFIG, error=ModelError)
    for option in ("transcode", "skip_connection"):
        if options.get(option):
            raise ModelError(
                f"{directory} holds a transcoder ({option}), which does not reconstruct its input"
            )
    if options.get("activation", "topk") != "topk":
        raise ModelError(f"{directory} uses the activation '{options['activation']}'; only topk can be read")
    check_options(options, OPTIONS, directory / CONFIG)
    tensors = read_tensors(directory / WEIGHTS)
    weight, bias, decoder, decoder_bias = take(
        tensors, directory / WEIGHTS, "encoder.weight", "encoder.bias", "W_dec", "b_dec"
    )
    found = {"d_in": weight.shape[1], "num_latents": weight.shape[0]}
    for name, value in found.items():
        if options.get(name) and int(options[name]) != value:
            raise ModelError(f"{directory / WEIGHTS} has {name} = {value}, its {CONFIG} says {options[name]}")
    number = re.search(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d+)$", directory.name)
    if layer is None and number:
        layer = int(number.group(1)) + 1
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
