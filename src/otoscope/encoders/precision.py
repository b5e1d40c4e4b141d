"""What an encoder computes in, and what "auto" means for a family on a kind of processor.

`MEASURED` is made from `benchmarks/extraction.py` (parts "precision" and "published"); its tables, with machine,
versions and how far the numbers move, are in ``benchmarks/extraction.md``.
"""

from __future__ import annotations

from functools import cache

import torch

from otoscope.errors import InputError

PRECISIONS = ("float32", "bfloat16", "float16")

_SPEECH = ("hubert", "mert_model", "wav2vec2", "wavlm")

MEASURED: dict[tuple[str, str], str] = {
    **{(family, "avx512_bf16"): "bfloat16" for family in (*_SPEECH, "audio-spectrogram-transformer")},
    (
        "wavlm",
        "amx_bf16",
    ): "float32",  # not measured; plain autocast was seen to be 4x slower than float32 there
}
"""(family, feature of the processor) -> the fastest. What is not here computes in float32."""


def compute_precision(asked: str, family: str, device: torch.device) -> str:
    """Return the precision that `asked` means for a family on a device; "auto" looks it up in `MEASURED`.

    Raises
    ------
    InputError
        If `asked` is neither "auto" nor one of `PRECISIONS`.
    """
    if asked == "auto":
        found = (MEASURED.get((family, feature)) for feature in processor_features(device))
        return next((precision for precision in found if precision is not None), "float32")
    if asked not in PRECISIONS:
        raise InputError(f"precision must be auto, {', '.join(PRECISIONS)}; got '{asked}'")
    return asked


def processor_features(device: torch.device) -> list[str]:
    """Return what a device is good at, the best first: "cuda_bf16", "amx_bf16", "avx512_bf16"."""
    if device.type == "cuda":
        return ["cuda_bf16"] if torch.cuda.get_device_capability(device) >= (8, 0) else []
    return _cpu_features() if device.type == "cpu" else []


@cache
def _cpu_features() -> list[str]:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return [feature for feature in ("amx_bf16", "avx512_bf16") if capabilities.get(feature)]
