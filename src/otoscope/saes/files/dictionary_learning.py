"""Reads dictionary_learning's files: ``ae.pt``, and beside it the ``config.json`` that says of which class it is.

Classes whose files have the same tensors differ in their codes (TopK and BatchTopK), so that the class decides, and
what contradicts it is refused. AudioSAE's files (`otoscope.saes.files.audiosae`) have the same name and no class.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from otoscope.errors import ModelError
from otoscope.files import read_mapping
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.config import SAEConfig
from otoscope.saes.files.audiosae import read_audiosae
from otoscope.saes.files.foreign import check_options, fill, read_pickle_of_tensors, take
from otoscope.saes.kinds.batch_topk import BatchTopKConfig
from otoscope.saes.kinds.gated import GatedConfig
from otoscope.saes.kinds.jumprelu import JumpReLUConfig
from otoscope.saes.kinds.matryoshka import MatryoshkaConfig
from otoscope.saes.kinds.relu import ReLUConfig
from otoscope.saes.kinds.topk_gao import GaoTopKConfig

CONFIG, WEIGHTS = "config.json", "ae.pt"
TRAINED = {
    "StandardTrainer": "AutoEncoder",
    "StandardTrainerAprilUpdate": "AutoEncoder",
    "PAnnealTrainer": "AutoEncoder",
    "GatedSAETrainer": "GatedAutoEncoder",
    "GatedAnnealTrainer": "GatedAutoEncoder",
    "JumpReluTrainer": "JumpReluAutoEncoder",
    "TopKTrainer": "AutoEncoderTopK",
    "BatchTopKTrainer": "BatchTopKSAE",
    "MatryoshkaBatchTopKTrainer": "MatryoshkaBatchTopKSAE",
}
"""Trainers, and the class that each trains."""
OPTIONS = {
    "trainer_class", "dict_class", "activation_dim", "dict_size", "k", "lr", "steps", "seed", "device", "layer",
    "lm_name", "wandb_name", "submodule_name", "warmup_steps", "decay_start", "auxk_alpha", "top_k_aux",
    "threshold_beta", "threshold_start_step", "group_fractions", "group_weights", "group_sizes", "l1_penalty",
    "sparsity_penalty", "sparsity_function", "sparsity_warmup_steps", "sparsity_queue_length", "n_sparsity_updates",
    "p_start", "p_end", "anneal_start", "anneal_end", "resample_steps", "bandwidth", "target_l0",
}  # fmt: skip
"""What trainers write, and what says nothing more about the codes than the class does."""

Read = tuple[SAEConfig, dict[str, Tensor]]


def read_dictionary(directory: str | Path) -> SparseAutoencoder:
    """Read a dictionary of any class that dictionary_learning trains, through PyTorch's weights-only loader.

    Its ``AutoEncoder`` is read as that library does: decoder norms are folded into the codes. The layer is not taken
    over, since what its number counts is up to who trained it.

    Parameters
    ----------
    directory
        The folder of ``ae.pt``.

    Raises
    ------
    ModelError
        If nothing says which class it is; it is one that reconstructs no activations of one layer; or tensors and
        ``config.json`` contradict each other.
    """
    directory = Path(directory)
    path = directory / WEIGHTS
    config = next((p for p in (directory / CONFIG, directory.parent / CONFIG) if p.is_file()), None)
    state = read_pickle_of_tensors(path)
    if config is None:
        raise ModelError(f"no {CONFIG} beside {path} says of which class it is; copy it there")
    options = read_mapping(config, error=ModelError)
    options = options.get("trainer", options)
    if not {"dict_class", "trainer_class"} & set(options):
        return read_audiosae(directory)
    name = _class_of(options, config)
    names, read = READERS[name]
    check_options(options, OPTIONS, config)
    odd = sorted(set(state) - set(names))
    if odd:
        raise ModelError(
            f"{path} holds {', '.join(odd)}, which a dictionary of class {name} ({config}) has not"
        )
    take(state, path, *(key for key in names if key != "threshold" or name != "AutoEncoderTopK"))
    sae_config, tensors = read(state, options, path)
    n_latents, n_inputs = tensors["encoder_weight"].shape
    for option, value in {"activation_dim": n_inputs, "dict_size": n_latents}.items():
        if option in options and int(options[option]) != value:
            raise ModelError(f"{path} has {option} = {value}, its {CONFIG} says {options[option]}")
    about = {"read_from": f"dictionary_learning ({name})", "source": options}
    return fill(
        sae_config, {key: value.contiguous() for key, value in tensors.items()}, layer=None, about=about
    )


def _class_of(options: dict[str, Any], config: Path) -> str:
    trainer = options.get("trainer_class")
    name = options.get("dict_class", TRAINED.get(str(trainer)))
    if name not in READERS:
        raise ModelError(
            f"{config} says that it is of class '{name}' (trained by {trainer}); those read are {', '.join(READERS)}"
        )
    if trainer in TRAINED and TRAINED[trainer] != name and name != "AutoEncoderNew":
        raise ModelError(f"{config} contradicts itself: {trainer} trains {TRAINED[trainer]}, not {name}")
    return name


def _k(state: dict[str, Any], options: dict[str, Any], path: Path) -> int:
    k = int(state["k"])
    if "k" in options and int(options["k"]) != k:
        raise ModelError(f"{path} has k = {k}, its {CONFIG} says {options['k']}")
    return k


def _threshold(state: dict[str, Any], path: Path) -> Tensor:
    threshold = torch.as_tensor(state["threshold"]).reshape(())
    if threshold < 0:
        raise ModelError(
            f"{path} has the threshold {float(threshold):g}: it was never set, so that no row has a code of its "
            "own; train "
            "beyond threshold_start_step, or read a later checkpoint"
        )
    return threshold


def _linear(state: dict[str, Any], decoder_bias: str) -> dict[str, Tensor]:
    return {
        "encoder_weight": state["encoder.weight"],
        "encoder_bias": state["encoder.bias"],
        "decoder_weight": state["decoder.weight"].T,
        "decoder_bias": state[decoder_bias],
    }


def _matrices(state: dict[str, Any]) -> dict[str, Tensor]:
    return {
        "encoder_weight": state["W_enc"].T,
        "encoder_bias": state["b_enc"],
        "decoder_weight": state["W_dec"],
        "decoder_bias": state["b_dec"],
    }


def _read_standard(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    tensors = _linear(state, "bias")
    norms = tensors["decoder_weight"].norm(dim=1)
    weight = tensors["encoder_weight"] * norms[:, None]
    shift = weight.double() @ tensors["decoder_bias"].double()  # ours reads x itself, theirs x - bias
    tensors |= {
        "encoder_weight": weight,
        "encoder_bias": ((tensors["encoder_bias"] * norms).double() - shift).to(weight.dtype),
        "decoder_weight": tensors["decoder_weight"] / norms[:, None],
    }
    return ReLUConfig(n_latents=len(norms)), tensors


def _read_april(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    return ReLUConfig(n_latents=len(state["encoder.bias"])), _linear(state, "decoder.bias")


def _read_gated(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    tensors = _linear({**state, "encoder.bias": state["gate_bias"]}, "decoder_bias")
    more = {"magnitude_scale": state["r_mag"], "magnitude_bias": state["mag_bias"]}
    return GatedConfig(n_latents=len(state["gate_bias"])), tensors | more


def _read_jumprelu(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    threshold = state["threshold"].clamp_min(0).log()
    return JumpReLUConfig(n_latents=len(threshold)), _matrices(state) | {"log_threshold": threshold}


def _read_topk(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    config = GaoTopKConfig(n_latents=len(state["encoder.bias"]), k=_k(state, options, path))
    return config, _linear(state, "b_dec")


def _read_batch_topk(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    config = BatchTopKConfig(n_latents=len(state["encoder.bias"]), k=_k(state, options, path))
    return config, _linear(state, "b_dec") | {"threshold": _threshold(state, path)}


def _read_matryoshka(state: dict[str, Any], options: dict[str, Any], path: Path) -> Read:
    sizes = [int(size) for size in state["group_sizes"]]
    n_latents = len(state["b_enc"])
    if sum(sizes) != n_latents or list(options.get("group_sizes") or sizes) != sizes:
        raise ModelError(
            f"{path} has groups of {sizes} latents and {n_latents} in all; its {CONFIG} says otherwise"
        )
    ends = torch.tensor(sizes).cumsum(0).tolist()
    config = MatryoshkaConfig(
        n_latents=n_latents, k=_k(state, options, path), prefixes=tuple(end / n_latents for end in ends)
    )
    return config, _matrices(state) | {"threshold": _threshold(state, path)}


_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
READERS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any], dict[str, Any], Path], Read]]] = {
    "AutoEncoder": ((*_LINEAR, "bias"), _read_standard),
    "AutoEncoderNew": ((*_LINEAR, "decoder.bias"), _read_april),
    "GatedAutoEncoder": (
        ("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"),
        _read_gated,
    ),
    "JumpReluAutoEncoder": ((*_MATRICES, "threshold"), _read_jumprelu),
    "AutoEncoderTopK": ((*_LINEAR, "b_dec", "k", "threshold"), _read_topk),
    "BatchTopKSAE": ((*_LINEAR, "b_dec", "k", "threshold"), _read_batch_topk),
    "MatryoshkaBatchTopKSAE": ((*_MATRICES, "k", "threshold", "group_sizes"), _read_matryoshka),
}
"""Class -> its tensors, and who reads them."""
