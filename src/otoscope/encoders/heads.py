"""The rest of a checkpoint: the head or decoder that `load_encoder` left aside, set on the encoder's own module."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import transformers

from otoscope import hub
from otoscope.encoders.encoder import Encoder
from otoscope.encoders.short_names import SETTINGS, WEIGHTS
from otoscope.errors import ModelError

Task = Literal["classes", "ctc", "words", "sound"]

_CLASSES = {
    "classes": "AutoModelForAudioClassification",
    "ctc": "AutoModelForCTC",
    "words": "WhisperForConditionalGeneration",
    "sound": "EncodecModel",
}
_WEIGHTS = {
    "classes": ("classifier.",),
    "ctc": ("lm_head.",),
    "words": ("decoder.", "model.decoder."),
    "sound": ("decoder.",),
}
_TEXT = ("*.json", "*.txt")  # of a tokenizer


def load_whole(encoder: Encoder, task: Task) -> Any:
    """Load the whole model of a checkpoint around an encoder: edits of the encoder's layers then reach its answer.

    Parameters
    ----------
    encoder : Encoder
        Loaded from a folder or the hub, in float32.
    task : {"classes", "ctc", "words", "sound"}
        A head of classes, a head of letters, Whisper's decoder, EnCodec's decoder.

    Returns
    -------
    nn.Module
        In eval mode, on the encoder's device; its encoder is `encoder.module`, the same object.

    Raises
    ------
    ModelError
        If the checkpoint has no such head, or it cannot be loaded.
    """
    # A codec is loaded as one model, so that nothing of it was skipped.
    if task != "sound" and not any(name.startswith(_WEIGHTS[task]) for name in encoder.skipped_weights):
        heads = sorted({name.split(".")[0] for name in encoder.skipped_weights})
        raise ModelError(
            f"{encoder.name} has no weights for '{task}' ({' or '.join(_WEIGHTS[task])}*): beside its encoder it has "
            f"{', '.join(heads) or 'nothing'}. Take a checkpoint that was fine-tuned for it, or another readout"
        )
    if task == "words" and "window_s" in encoder.source:
        raise ModelError(
            f"{encoder.name} was loaded with a window of {encoder.source['window_s']:g} s, and its decoder knows 30 s "
            "only: load it without window_s"
        )
    if encoder.precision != "float32":
        raise ModelError(
            f"a whole model runs in float32; {encoder.name} is in {encoder.precision}: load it so"
        )
    folder = checkpoint_folder(encoder)
    model_class: Any = getattr(transformers, _CLASSES[task])
    try:
        model, report = model_class.from_pretrained(
            folder, dtype="float32", local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: no model for '{task}' can be loaded ({error})") from error
    missing = [key for key in report["missing_keys"] if key.startswith(_WEIGHTS[task])]
    if missing:
        raise ModelError(f"{folder}: weights for '{task}' are missing: {', '.join(sorted(missing)[:4])}")
    place = next((n for n, m in model.named_modules() if type(m) is type(encoder.module)), None)
    if place is None:
        raise ModelError(f"{type(model).__name__} holds no {type(encoder.module).__name__} to stand on")
    model.set_submodule(place, encoder.module)
    return model.requires_grad_(False).eval().to(encoder.device)


def checkpoint_folder(encoder: Encoder, *, text: bool = False) -> Path:
    """Return the folder of an encoder's files; those of the hub are fetched, with `text` a tokenizer's too."""
    if encoder.folder is not None:
        return encoder.folder
    if "revision" not in encoder.source:
        raise ModelError(
            f"{encoder.name} is from no folder and no hub, so there is nothing beside its encoder"
        )
    patterns = _TEXT if text else SETTINGS
    return hub.fetch(encoder.source["model"], patterns, one_of=WEIGHTS, revision=encoder.source["revision"])
