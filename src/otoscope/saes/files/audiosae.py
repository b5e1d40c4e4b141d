"""Reads AudioSAE's files (hub ids ``Egorgij21/Audio-SAE-...``): ``layer_N/ae.pt``, and ``config.json`` there or above.

A state dict of a BatchTopK autoencoder; N counts from 1 and stands for what leaves the N-th block: our layer N.
"""

from __future__ import annotations

import re
from pathlib import Path

from otoscope.errors import ModelError
from otoscope.files import read_mapping
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.config import SAEConfig
from otoscope.saes.files.foreign import fill, read_pickle_of_tensors, take
from otoscope.saes.kinds.batch_topk import BatchTopKConfig
from otoscope.saes.kinds.topk_gao import GaoTopKConfig

CONFIG, WEIGHTS = "config.json", "ae.pt"


def read_audiosae(directory: str | Path) -> SparseAutoencoder:
    """Read one layer's autoencoder, through PyTorch's weights-only loader.

    With a threshold in the file, codes are ``ReLU(W (x - b_dec) + b)`` where they exceed it; without one,
    the k largest.

    Parameters
    ----------
    directory
        A ``layer_N`` folder; its name gives the layer.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not tensors only, or disagrees with its ``config.json``.
    """
    directory = Path(directory)
    path = directory / WEIGHTS
    state = read_pickle_of_tensors(path)
    weight, bias, decoder, decoder_bias = take(
        state, path, "encoder.weight", "encoder.bias", "decoder.weight", "b_dec"
    )
    options: dict = next(
        (
            read_mapping(p, error=ModelError)
            for p in (directory / CONFIG, directory.parent / CONFIG)
            if p.is_file()
        ),
        {},
    )
    options = options.get("trainer", options)
    odd = sorted(set(state) - {"encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "k", "threshold"})
    if odd:
        raise ModelError(
            f"{path} holds {', '.join(odd)}, which AudioSAE's files do not; nothing says what it is"
        )
    for option in ("architecture", "activation", "model_type", "kind"):
        if str(options.get(option, "batchtopk")).lower().replace("_", "").replace("-", "") not in (
            "batchtopk",
            "batchtopksae",
        ):
            raise ModelError(
                f"{path}: its {CONFIG} says {option} = '{options[option]}'; AudioSAE's are BatchTopK"
            )
    found = {"activation_dim": weight.shape[1], "dict_size": weight.shape[0]}
    for name, value in found.items():
        if name in options and int(options[name]) != value:
            raise ModelError(f"{path} has {name} = {value}, its {CONFIG} says {options[name]}")
    k = int(state["k"] if "k" in state else options.get("k", 0))
    if k < 1:
        raise ModelError(f"neither {path} nor its {CONFIG} says k")
    if int(options.get("k", k)) != k:
        raise ModelError(f"{path} has k = {k}, its {CONFIG} says {options['k']}")
    tensors = {
        "encoder_weight": weight,
        "encoder_bias": bias,
        "decoder_weight": decoder.T.contiguous(),
        "decoder_bias": decoder_bias,
    }
    config: SAEConfig = GaoTopKConfig(n_latents=weight.shape[0], k=k)
    if float(state.get("threshold", 0.0)) < 0:
        raise ModelError(f"{path} has the threshold {float(state['threshold']):g}: it was never set")
    if "threshold" in state:
        config = BatchTopKConfig(n_latents=weight.shape[0], k=k)
        tensors["threshold"] = state["threshold"].reshape(())
    number = re.search(r"layer_(\d+)$", directory.name)
    layer = int(number.group(1)) if number else None
    return fill(config, tensors, layer=layer, about={"read_from": "AudioSAE", "source": options})
