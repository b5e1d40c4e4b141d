"""Find an encoder by name: a short name, a folder, or a Hugging Face hub id."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import ModelError, UnknownNameError, nearest
from otoscope.registry import Registry

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder

ENCODERS = Registry("encoder", "otoscope.encoders")
"""Short names. An entry is called as ``entry(device=..., dtype=..., revision=...)`` and returns an `Encoder`."""


WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The files of a hub model that hold its weights: the first kind that is there is taken."""


@dataclass(frozen=True)
class Hub:
    """A model on the Hugging Face hub, under a short name."""

    name: str
    repo_id: str

    def __call__(self, *, device: str, dtype: str, revision: str | None, **options) -> Encoder:
        from otoscope.encoders.huggingface import load_folder

        folder, found = download(self.repo_id, revision)
        source = {"model": self.repo_id, "revision": found}
        return load_folder(folder, name=self.name, source=source, device=device, dtype=dtype, **options)


@dataclass(frozen=True)
class Mini:
    """The built-in model: package data, read by the same code as any folder."""

    name: str = "otoscope-mini"

    def __call__(self, *, device: str, dtype: str, revision: str | None, **options) -> Encoder:
        from otoscope.encoders.huggingface import load_folder

        if revision is not None:
            raise ModelError(f"{self.name} comes with the package and has no revisions; leave `revision` out")
        with resources.as_file(resources.files("otoscope.encoders") / "mini") as folder:
            return load_folder(folder, name=self.name, device=device, dtype=dtype, **options)


ENCODERS.add("otoscope-mini", Mini(), "built in: a small HuBERT trained on synthetic singing, 16 kHz")
for _name, _repo_id, _summary in (
    ("ast", "MIT/ast-finetuned-audioset-10-10-0.4593", "Audio Spectrogram Transformer, AudioSet, 16 kHz"),
    ("hubert-base", "facebook/hubert-base-ls960", "HuBERT base, LibriSpeech 960 h, 16 kHz"),
    ("wavlm-base-plus", "microsoft/wavlm-base-plus", "WavLM base+, 94,000 h of speech, 16 kHz"),
    ("mert-v1-95m", "m-a-p/MERT-v1-95M", "MERT v1 95M, music, 24 kHz"),
):
    ENCODERS.add(_name, Hub(_name, _repo_id), _summary)


def load_encoder(
    name: str | os.PathLike,
    *,
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    as_family: str | None = None,
) -> Encoder:
    """Load a pretrained encoder.

    Parameters
    ----------
    name : str or Path
        A short name (``otoscope list encoders``), a folder that holds a Hugging Face model (config.json,
        weights, preprocessor_config.json), or a hub id such as ``"facebook/hubert-base-ls960"``. Fine-tuned
        checkpoints load too: their heads are left aside and listed in ``encoder.skipped_weights``.
    device : str
        "auto", "cpu", "cuda", ...
    dtype : str
        What the model computes in: "float32", the numbers of transformers to 1e-5; "bfloat16" or "float16"; "int8",
        the fastest on a CPU and the least exact, whose large matrix products take whole numbers; or "auto", the
        fastest that was measured to keep the numbers close on this kind of processor (never int8).
    revision : str, optional
        Branch, tag or commit of a hub model.
    as_family : str, optional
        Only for the paper's protocol: ``"wav2vec2"`` loads WavLM's weights into the wav2vec 2.0 class, as the
        published code does, which drops WavLM's gated relative position bias.

    Raises
    ------
    UnknownNameError
        If `name` is no short name, no folder and no hub id.
    ModelError
        If the model cannot be had (no network and nothing cached), is of a family that is not served, or its
        weights do not fit.

    Examples
    --------
    >>> encoder = load_encoder("otoscope-mini", device="cpu")
    >>> encoder.sample_rate
    16000
    """
    text = os.fspath(name)
    options: dict[str, Any] = {"device": device, "dtype": dtype}
    if as_family is not None:
        options["as_family"] = as_family
    if text in ENCODERS:
        return ENCODERS.get(text)(revision=revision, **options)
    path = Path(text).expanduser()
    if path.is_dir():
        from otoscope.encoders.huggingface import load_folder

        if revision is not None:
            raise ModelError(f"{path} is a folder and has no revisions; leave `revision` out")
        return load_folder(path, name=path.resolve().name, **options)
    if path.exists() or path.is_absolute() or text.startswith((".", "~")) or text.count("/") != 1:
        if "/" not in text and os.sep not in text:
            raise UnknownNameError(
                f"unknown encoder '{text}'{nearest(text, ENCODERS.names())} (known: {', '.join(ENCODERS.names())}; "
                "or give a folder, or a hub id such as facebook/hubert-base-ls960)"
            )
        raise ModelError(f"{text} is no folder; a model's folder holds config.json and its weights")
    short = {entry.repo_id: entry.name for entry in _hub_entries()}
    return Hub(short.get(text, text.replace("/", "--")), text)(revision=revision, **options)


def download(repo_id: str, revision: str | None) -> tuple[Path, str]:
    """Return the folder of a hub model, fetched if it is not cached, and its commit.

    Raises
    ------
    ModelError
        If it can be neither fetched nor found in the cache; the message says what to put where.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        # Of the hub's calls this one is tried once only: without a network the cache is reached at once.
        info = HfApi().model_info(repo_id, revision=revision, timeout=10)
        files = [file.rfilename for file in info.siblings or []]
        kind = next((kind for kind in WEIGHTS if fnmatch.filter(files, kind)), WEIGHTS[0])
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=["*.json", kind]))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"the hub has no model '{repo_id}'{at}{nearest(repo_id, [e.repo_id for e in _hub_entries()])} "
            "(a private or gated one needs `hf auth login`)"
        ) from error
    except Exception as offline:  # the hub's HTTP library, whose errors these may be, changes
        found = cached(repo_id, revision)
        if found is None:
            reason = next(iter(str(offline).splitlines()), "")
            raise ModelError(
                f"cannot reach the hub for '{repo_id}', and it is not in the cache ({constants.HF_HUB_CACHE}). "
                f"On a machine with network run `hf download {repo_id} --local-dir FOLDER`, copy FOLDER here, and "
                f"give its path as the encoder ({type(offline).__name__}: {reason})"
            ) from offline
        folder = found
    return folder, folder.name


def cached(repo_id: str, revision: str | None) -> Path | None:
    """Return the folder of a hub model that was fetched before, None if it was not, or not all of it."""
    from huggingface_hub import snapshot_download

    for kind in WEIGHTS:
        try:
            # Asked for by the patterns it was fetched by: without them the hub's library calls a folder incomplete.
            found = snapshot_download(
                repo_id, revision=revision, local_files_only=True, allow_patterns=["*.json", kind]
            )
        except Exception:  # the hub's errors for that change between versions
            continue
        if list(Path(found).glob(kind)):
            return Path(found)
    return None


def _hub_entries() -> list[Hub]:
    entries = (ENCODERS._own[name].target for name in ENCODERS._own)
    return [entry for entry in entries if isinstance(entry, Hub)]
