"""Reads and writes SAELens' files: ``cfg.json`` and ``sae_weights.safetensors`` (SAELens 6).

Their weights are [d_in, d_sae] for the encoder and [d_sae, d_in] for the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from otoscope.errors import InputError, ModelError
from otoscope.files import read_mapping, whole_file, write_json
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.config import SAEConfig
from otoscope.saes.files.foreign import check_options, fill, take
from otoscope.saes.files.tensors import read_tensors
from otoscope.saes.kinds.gated import GatedConfig
from otoscope.saes.kinds.jumprelu import JumpReLUConfig
from otoscope.saes.kinds.relu import ReLUConfig
from otoscope.saes.kinds.topk import TopKConfig
from otoscope.saes.kinds.topk_gao import GaoTopKConfig

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SCALER = "activation_scaler.json"
"""In checkpoints of a training: the factor that is not folded in yet."""
SCALED = ("expected_average_only_in", True)
OPTIONS = {
    "architecture", "d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations",
    "reshape_activations", "metadata", "k", "rescale_acts_by_decoder_norm",
}  # fmt: skip
VERSION = "6.0.0"
"""The SAELens version whose form of ``cfg.json`` is written."""


def read_saelens(directory: str | Path, *, layer: int | None = None) -> SparseAutoencoder:
    """Read a standard, TopK, JumpReLU or gated autoencoder that SAELens saved, with equal codes.

    Raises
    ------
    ModelError
        If it is not one, or normalises its input in a way that weights cannot take up.
    """
    directory = Path(directory)
    options = read_mapping(directory / CONFIG, error=ModelError)
    architecture = options.get("architecture", "standard")
    if options.get("activation_fn_str", options.get("activation_fn")) == "topk":  # before version 6
        architecture, options["k"] = "topk", options.get("activation_fn_kwargs", {}).get("k")
    if architecture not in READERS:
        raise ModelError(
            f"{directory} holds a SAELens '{architecture}' autoencoder; those read are {', '.join(READERS)}"
        )
    for option, plain in (
        ("normalize_activations", {"none", *SCALED, None, False}),
        ("reshape_activations", {"none", None}),
        ("activation_fn", {"relu", "topk", None}),
        ("activation_fn_str", {"relu", "topk", None}),
        ("finetuning_scaling_factor", {False, None}),
    ):
        if options.get(option) not in plain:
            raise ModelError(
                f"{directory}: {option} = '{options[option]}' cannot be expressed in weights alone"
            )
    if "reshape_activations" not in options and "hook_z" in str(
        options.get("hook_name", options.get("hook_point"))
    ):
        raise ModelError(f"{directory} reads a hook_z, whose heads its writer flattens; it cannot be read")
    if "metadata" in options:  # since version 6, what is not about the codes stands there
        check_options(options, OPTIONS, directory / CONFIG)
    weights = _scaled(read_tensors(directory / WEIGHTS), options, directory)
    config, tensors = READERS[architecture](weights, options, directory / WEIGHTS)
    about = {"read_from": "SAELens", "source": options}
    return fill(config, {name: t.contiguous() for name, t in tensors.items()}, layer=layer, about=about)


def _scaled(tensors: dict[str, Tensor], options: dict, directory: Path) -> dict[str, Tensor]:
    """Fold the factor that inputs were multiplied by in training into the weights, as SAELens does when it ends.

    Raises
    ------
    ModelError
        If inputs were scaled, and the factor is not known; or the files contradict each other.
    """
    path = directory / SCALER
    factor = read_mapping(path, error=ModelError).get("scaling_factor") if path.is_file() else None
    if options.get("normalize_activations") not in SCALED:
        if factor not in (None, 1.0):
            raise ModelError(
                f"{path} scales inputs by {factor}, and {CONFIG} says that they are not; keep the right one"
            )
        return tensors
    if factor is None:
        raise ModelError(
            f"{directory}: normalize_activations = '{options['normalize_activations']}' means that it was trained "
            "on inputs "
            f"scaled to a mean norm, and {SCALER}, which holds the factor, is not there: fold it in with SAELens "
            "(fold_activation_norm_scaling_factor) and save again, or read the final checkpoint"
        )
    take(tensors, directory / WEIGHTS, "W_enc", "W_dec", "b_dec")
    scaled = {"W_enc": tensors["W_enc"] * factor, "W_dec": tensors["W_dec"] / factor}
    return tensors | scaled | {"b_dec": tensors["b_dec"] / factor}


def write_saelens(sae: SparseAutoencoder, directory: str | Path) -> Path:
    """Write `sae` so that SAELens' ``SAE.load_from_disk`` reads it, with equal codes for single rows.

    BatchTopK kinds become JumpReLU with one threshold for all latents, as SAELens itself stores them.

    Raises
    ------
    InputError
        If SAELens has no architecture with the same codes.
    """
    from safetensors.torch import save_file

    directory = Path(directory)
    architecture, tensors, more = _written(sae)
    options = {
        "architecture": architecture,
        "d_in": sae.n_inputs,
        "d_sae": sae.n_latents,
        "dtype": str(tensors["W_enc"].dtype).removeprefix("torch."),
        "device": "cpu",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": VERSION, "sae_lens_training_version": None, "layer": sae.layer},
        **more,
    }
    directory.mkdir(parents=True, exist_ok=True)
    with whole_file(directory / WEIGHTS) as draft:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, draft)
    write_json(directory / CONFIG, options)
    return directory


Read = tuple[SAEConfig, dict[str, Tensor]]


def _read_topk(tensors: dict[str, Tensor], options: dict, path: Path) -> Read:
    weight, bias, decoder, decoder_bias = take(tensors, path, "W_enc", "b_enc", "W_dec", "b_dec")
    weight = weight.T
    if options.get("rescale_acts_by_decoder_norm"):  # the codes are in units of the decoder's norms
        norms = decoder.norm(dim=-1)
        weight, bias, decoder = weight * norms[:, None], bias * norms, decoder / norms[:, None]
    state = _affine(weight, bias, decoder, decoder_bias)
    n_latents, k = weight.shape[0], int(options["k"])
    if options.get("apply_b_dec_to_input", True):
        return GaoTopKConfig(n_latents=n_latents, k=k), state
    return TopKConfig(n_latents=n_latents, k=k, decoder_bias=True), state


def _read_standard(tensors: dict[str, Tensor], options: dict, path: Path) -> Read:
    return ReLUConfig(n_latents=tensors["W_dec"].shape[0]), _plain(tensors, options, path)


def _read_jumprelu(tensors: dict[str, Tensor], options: dict, path: Path) -> Read:
    (threshold,) = take(tensors, path, "threshold")
    state = _plain(tensors, options, path)
    return JumpReLUConfig(n_latents=len(threshold)), {**state, "log_threshold": threshold.clamp_min(0).log()}


def _read_gated(tensors: dict[str, Tensor], options: dict, path: Path) -> Read:
    weight, decoder, decoder_bias, gate_bias, magnitude_bias, scale = take(
        tensors, path, "W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag"
    )
    if not options.get("apply_b_dec_to_input", True):  # ours subtracts the bias: make up for it
        shift = decoder_bias @ weight
        gate_bias, magnitude_bias = gate_bias + shift, magnitude_bias + scale.exp() * shift
    state = _affine(weight.T, gate_bias, decoder, decoder_bias)
    config = GatedConfig(n_latents=decoder.shape[0])
    return config, {**state, "magnitude_scale": scale, "magnitude_bias": magnitude_bias}


READERS: dict[str, Callable[[dict[str, Tensor], dict, Path], Read]] = {
    "standard": _read_standard,
    "topk": _read_topk,
    "jumprelu": _read_jumprelu,
    "gated": _read_gated,
}


def _plain(tensors: dict[str, Tensor], options: dict, path: Path) -> dict[str, Tensor]:
    """Return an encoder that reads x itself, though theirs may read ``x - b_dec``."""
    weight, bias, decoder, decoder_bias = take(tensors, path, "W_enc", "b_enc", "W_dec", "b_dec")
    if options.get("apply_b_dec_to_input", True):
        bias = (bias.double() - decoder_bias.double() @ weight.double()).to(bias.dtype)
    return _affine(weight.T, bias, decoder, decoder_bias)


def _affine(weight: Tensor, bias: Tensor, decoder: Tensor, decoder_bias: Tensor) -> dict[str, Tensor]:
    return {
        "encoder_weight": weight,
        "encoder_bias": bias,
        "decoder_weight": decoder,
        "decoder_bias": decoder_bias,
    }


def _written(sae: SparseAutoencoder) -> tuple[str, dict[str, Tensor], dict]:
    kind = sae.config.kind
    state = sae.state_dict()
    decoder = state.get("decoder_weight", getattr(sae, "decoder_weight", None))  # computed for archetypal
    if decoder is None or "encoder_weight" not in state:
        raise InputError(f"SAELens has no architecture like kind '{kind}'")
    tensors = {
        "W_enc": state["encoder_weight"].T,
        "b_enc": state["encoder_bias"],
        "W_dec": decoder,
        "b_dec": state.get("decoder_bias", torch.zeros_like(decoder[0])),
    }
    more: dict = {"apply_b_dec_to_input": getattr(sae, "subtracts_bias", False)}
    if kind in ("topk", "topk-gao", "archetypal"):
        return "topk", tensors, {**more, "k": sae.config.active, "rescale_acts_by_decoder_norm": False}
    if kind == "relu":
        return "standard", tensors, more
    if kind == "jumprelu":
        return "jumprelu", {**tensors, "threshold": state["log_threshold"].exp()}, more
    if kind in ("batch-topk", "matryoshka"):
        threshold = state["threshold"].expand(sae.n_latents)
        return "jumprelu", {**tensors, "threshold": threshold}, more
    if kind == "gated":
        tensors["b_gate"] = tensors.pop("b_enc")
        tensors["b_mag"], tensors["r_mag"] = state["magnitude_bias"], state["magnitude_scale"]
        return "gated", tensors, more
    raise InputError(f"SAELens has no architecture like kind '{kind}'")
