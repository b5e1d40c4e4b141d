"""Load an encoder from a folder that holds a Hugging Face model; nothing in it is ever executed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from torch import nn

from otoscope.compute import pick_device
from otoscope.contents import content
from otoscope.encoders.buffers import audit_buffers
from otoscope.encoders.encoder import Encoder
from otoscope.encoders.families import FAMILIES, Family, WrittenFamily
from otoscope.encoders.folders import model_files
from otoscope.encoders.written import build_written, listed, recognised
from otoscope.errors import ModelError, nearest
from otoscope.files import read_mapping

_LOG = logging.getLogger(__name__)

NOT_USED_IN_EVAL = ("masked_spec_embed",)
"""Weights that only training reads: their absence changes nothing here."""


def load_folder(
    folder: Path,
    *,
    name: str,
    source: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: str = "float32",
    as_family: str | None = None,
    window_s: float | None = None,
) -> Encoder:
    """Load the model in `folder`; see `otoscope.load_encoder` for what can go wrong.

    Parameters
    ----------
    source : mapping, optional
        What provenance says of where the weights are from. Default: the hash of their files.
    """
    if not (folder / "config.json").is_file():
        pickles = sorted({*folder.glob("*.pt"), *folder.glob("*.pth"), *folder.glob("*.ckpt")})
        how = f" (make one of {pickles[0].name} with `otoscope convert`)" if pickles else ""
        raise ModelError(f"{folder} is no model's folder: it holds no config.json{how}")
    raw_config = read_mapping(folder / "config.json", error=ModelError)
    model_type = _model_type(raw_config, as_family, folder)
    family = FAMILIES.get(model_type)
    settings = _preprocessor(folder, raw_config, family)
    if window_s is not None:
        if model_type != "whisper":
            raise ModelError(
                f"window_s is Whisper's, which is given 30 s otherwise; this model is '{model_type}'"
            )
        settings["window_s"] = window_s
    place = pick_device(device)
    kind = family.model_class if isinstance(family, Family) else family.build.__name__
    try:
        if isinstance(family, WrittenFamily):
            config: Any = {**family.defaults, **raw_config}
            model, skipped = build_written(folder, family, config)
        else:
            config = _config(family, raw_config)
    except ModelError:
        raise
    except Exception as error:  # transformers' checks raise what they like
        raise ModelError(
            f"{folder}: config.json cannot be that of a {kind} ({_first_line(error)})"
        ) from error
    if isinstance(family, Family):
        model, skipped = _load_weights(folder, family, config, may_drop=as_family is not None)
    try:
        fitting = family.fit(model, config, settings)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{folder}: its configurations ask for what a {kind} cannot do ({_first_line(error)})"
        ) from error
    if source is None:
        source = {"model": name, "weights_sha256": _files_hash(folder)}
    if as_family is not None:
        source = {**source, "as_family": as_family}
    if window_s is not None:
        source = {**source, "window_s": window_s, "positions": "cut"}
    if isinstance(family, WrittenFamily):
        source = {"licence": family.licence, **source}
    if "NC" in source.get("licence", ""):
        _LOG.warning("%s may not be used commercially: %s", name, source["licence"])
    return Encoder(
        replace(fitting, family=model_type, reentrant=family.reentrant),
        name=name,
        device=place,
        precision=precision,
        source=source,
        skipped_weights=skipped,
    )


def _model_type(config: Mapping[str, Any], as_family: str | None, folder: Path) -> str:
    own = str(config.get("model_type") or recognised(config))
    if own not in FAMILIES:
        served = FAMILIES.names()
        raise ModelError(
            f"{folder}: model type '{own}' is not served{nearest(own, served)} (served: {', '.join(served)}; "
            "any other module can be wrapped with Encoder.from_module)"
        )
    if as_family is None:
        return own
    if (own, as_family) != ("wavlm", "wav2vec2"):
        raise ModelError(
            f"as_family='{as_family}' is the published code's fault with WavLM and exists for 'wavlm' as 'wav2vec2' "
            f"only; this model is '{own}': leave as_family out"
        )
    return as_family


def _config(family: Family, raw_config: Mapping[str, Any]) -> Any:
    config_class = getattr(transformers, family.model_class).config_class
    settings = {key: value for key, value in raw_config.items() if key not in ("auto_map", "model_type")}
    config = config_class.from_dict(settings)
    if "decoder_layers" in settings:
        config.decoder_layers = (
            0  # Whisper: decoder blocks are not even built; their weights count as left aside
        )
    if "decoder_num_hidden_layers" in settings:
        config.decoder_num_hidden_layers = 0
    return config


def _load_weights(
    folder: Path, family: Family, config: Any, *, may_drop: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model and the names of the weights left aside; a weight missing or too many is an error."""
    model_class = getattr(transformers, family.model_class)
    if not list(folder.glob("*.safetensors")) and not list(folder.glob("pytorch_model*.bin")):
        raise ModelError(f"{folder} holds no weights (model.safetensors or pytorch_model.bin)")
    try:
        with _quiet():
            model, report = model_class.from_pretrained(
                folder, config=config, output_loading_info=True, dtype="float32", local_files_only=True
            )
    except Exception as error:  # of safetensors, pickle, or transformers on settings that cannot be
        raise ModelError(
            f"{folder}: the weights cannot be read, or config.json is not that of a {family.model_class} "
            f"({_first_line(error)})"
        ) from error
    inside = lambda key: _inside(key, family, model_class.base_model_prefix)  # noqa: E731
    missing = sorted(
        key for key in report["missing_keys"] if inside(key) and not key.endswith(NOT_USED_IN_EVAL)
    )
    wrong_shape = sorted(str(entry[0]) for entry in report["mismatched_keys"] if inside(str(entry[0])))
    unexpected = sorted(key for key in report["unexpected_keys"] if inside(key))
    if missing or wrong_shape or (unexpected and not may_drop):
        raise ModelError(
            f"{folder}: the weights do not fit {family.model_class}. "
            + listed("missing", missing)
            + listed("of another shape", wrong_shape)
            + listed("without a place in it", unexpected)
            + "The checkpoint is incomplete, or config.json is another model's."
        )
    audit_buffers(model, name=str(folder))
    return model, tuple(sorted(report["unexpected_keys"]))


def _inside(key: str, family: Family, prefix: str) -> bool:
    """Whether a weight is the encoder's own: under one of its parts, with or without the prefix of a head's model."""
    for before in (f"{prefix}.", "model.", "mert_model."):
        key = key.removeprefix(before)
    return key.split(".")[0] in family.parts


def _preprocessor(folder: Path, config: Mapping[str, Any], family: Family | WrittenFamily) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if (folder / "preprocessor_config.json").exists():
        settings = read_mapping(folder / "preprocessor_config.json", error=ModelError)
    elif (folder / "processor_config.json").exists():
        settings = read_mapping(folder / "processor_config.json", error=ModelError).get(
            "feature_extractor", {}
        )
    if isinstance(family, WrittenFamily):
        for rate in (settings.get("sampling_rate"), config.get("sampling_rate")):
            if rate not in (None, family.sample_rate):
                raise ModelError(
                    f"{folder} says {rate!r} Hz, but {family.build.__name__} listens at {family.sample_rate} Hz: "
                    "the folder is another model's"
                )
        return {**settings, "sampling_rate": family.sample_rate}
    if "sampling_rate" not in settings:
        raise ModelError(
            f"{folder} does not say at which rate the model listens: preprocessor_config.json is missing or lacks "
            "sampling_rate. Copy it from the pretrained model, or save the feature extractor beside the weights"
        )
    rate = settings["sampling_rate"]
    if not isinstance(rate, int) or not 1000 <= rate <= 192_000:
        raise ModelError(
            f"{folder}: a sampling rate of {rate!r} Hz cannot be served; it must be 1,000 to 192,000"
        )
    return settings


def _files_hash(folder: Path) -> str:
    """Return the SHA-256 of the weight files and the configurations, names included."""
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(content(path).sha256))
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    if isinstance(error, IndexError | KeyError | TypeError | AttributeError):  # words for programmers
        return "a setting is missing, or not of the kind that it should be"
    return next(iter(str(error).splitlines()), "")[:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing its bars and its table of keys: what matters is checked and said by us."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
