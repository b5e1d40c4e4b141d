"""Find an encoder by name: a short name, a folder, or a Hugging Face hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope import hub
from otoscope.encoders.folders import model_files
from otoscope.errors import ModelError, ProvenanceError, UnknownNameError, nearest
from otoscope.registry import Registry

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder

ENCODERS = Registry("encoder", "otoscope.encoders")
"""Short names. An entry is called as ``entry(device=..., precision=..., revision=...)`` and returns an `Encoder`."""


SETTINGS = ("*.json",)
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The files of a hub model that hold its weights: the first kind that is there is taken."""


@dataclass(frozen=True)
class Hub:
    """A model on the Hugging Face hub, under a short name."""

    name: str
    repo_id: str
    licence: str = ""

    def fetch(self, revision: str | None) -> Path:
        """Return the folder of its files, fetched if they are not cached."""
        known = [entry.repo_id for entry in _hub_entries()]
        return hub.fetch(self.repo_id, SETTINGS, one_of=WEIGHTS, revision=revision, known=known)

    def __call__(self, *, device: str, precision: str, revision: str | None, **options) -> Encoder:
        from otoscope.encoders.huggingface import load_folder

        folder = self.fetch(revision)
        source = {"model": self.repo_id, "revision": folder.name}
        if self.licence:
            source["licence"] = self.licence
        return load_folder(
            folder, name=self.name, source=source, device=device, precision=precision, **options
        )


@dataclass(frozen=True)
class ByHand:
    """A model that is published as a pickle, which is converted before it is loaded."""

    name: str
    steps: str

    def __call__(self, **options) -> Encoder:
        raise ModelError(
            f"'{self.name}' is published as a pickle, which is not read without being asked to: {self.steps}, "
            "and give that folder"
        )


@dataclass(frozen=True)
class Mini:
    """The built-in model: package data, read by the same code as any folder."""

    name: str = "otoscope-mini"

    def __call__(self, *, device: str, precision: str, revision: str | None, **options) -> Encoder:
        from otoscope.encoders.huggingface import load_folder

        if revision is not None:
            raise ModelError(f"{self.name} comes with the package and has no revisions; leave `revision` out")
        with resources.as_file(resources.files("otoscope.encoders") / "mini") as folder:
            return load_folder(folder, name=self.name, device=device, precision=precision, **options)


ENCODERS.add("otoscope-mini", Mini(), "built in: a small HuBERT trained on synthetic singing, 16 kHz")
for _name, _repo_id, _summary, _licence in (
    (
        "ast",
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "Audio Spectrogram Transformer, AudioSet, 16 kHz",
        "weights BSD 3-Clause",
    ),
    (
        "hubert-base",
        "facebook/hubert-base-ls960",
        "HuBERT base, LibriSpeech 960 h, 16 kHz",
        "weights Apache 2.0",
    ),
    (
        "wavlm-base-plus",
        "microsoft/wavlm-base-plus",
        "WavLM base+, 94,000 h of speech, 16 kHz",
        "weights CC BY-SA 3.0",
    ),
    (
        "audiomae",
        "gaunernst/vit_base_patch16_1024_128.audiomae_as2m",
        "AudioMAE base, AudioSet, 16 kHz",
        "code Apache 2.0, weights CC BY 4.0",
    ),
    ("clap", "laion/clap-htsat-unfused", "CLAP's audio tower, sound and text, 48 kHz", "weights Apache 2.0"),
    (
        "dasheng-base",
        "mispeech/dasheng-base",
        "Dasheng base, 272,000 h of sound, 16 kHz",
        "code and weights Apache 2.0",
    ),
    ("mert-v1-95m", "m-a-p/MERT-v1-95M", "MERT v1 95M, music, 24 kHz", "weights CC BY-NC 4.0"),
    ("muq", "OpenMuQ/MuQ-large-msd-iter", "MuQ large, music, 24 kHz", "code MIT, weights CC BY-NC 4.0"),
    (
        "mert-v2-30s",
        "m-a-p/MERT-v2-30s",
        "MERT v2, music of some 30 s, 24 kHz",
        "code and weights CC BY-NC 4.0",
    ),
    (
        "mert-v2-fullsong",
        "m-a-p/MERT-v2-FullSong",
        "MERT v2, whole songs, 24 kHz",
        "code and weights CC BY-NC 4.0",
    ),
):
    ENCODERS.add(_name, Hub(_name, _repo_id, _licence), f"{_summary}; {_licence}")
for _name, _steps, _summary in (
    (
        "musicfm",
        "run `hf download minzwon/MusicFM --local-dir FOLDER`, then "
        "`otoscope convert FOLDER/pretrained_msd.pt --stats FOLDER/msd_stats.json --out musicfm`",
        "MusicFM, music, 24 kHz, to be converted; code MIT, weights MIT",
    ),
    (
        "beats",
        "get BEATs_iter3_plus_AS2M.pt from https://github.com/microsoft/unilm/tree/master/beats, then run "
        "`otoscope convert BEATs_iter3_plus_AS2M.pt --out beats`",
        "BEATs, AudioSet, 16 kHz, to be converted; code MIT, weights MIT",
    ),
    (
        "passt",
        "get passt-s-f128-p16-s10-ap.476-swa.pt from https://github.com/kkoutini/PaSST/releases, then run "
        "`otoscope convert passt-s-f128-p16-s10-ap.476-swa.pt --out passt`",
        "PaSST, AudioSet, 32 kHz, to be converted; code Apache 2.0, weights Apache 2.0",
    ),
):
    ENCODERS.add(_name, ByHand(_name, _steps), _summary)


def load_encoder(
    name: str | os.PathLike,
    *,
    device: str = "auto",
    precision: str = "float32",
    revision: str | None = None,
    as_family: str | None = None,
    window_s: float | None = None,
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
    precision : str
        What the model computes in: "float32", the numbers of transformers to 1e-5; "bfloat16" or "float16"; or
        "auto", the fastest that was measured to keep the numbers close on this kind of processor.
    revision : str, optional
        Branch, tag or commit of a hub model.
    as_family : str, optional
        Only for the paper's protocol: ``"wav2vec2"`` loads WavLM's weights into the wav2vec 2.0 class, as the
        published code does, which drops WavLM's gated relative position bias.
    window_s : float, optional
        Only for Whisper, which otherwise hears 30 s of any clip, padding included: the seconds it is given, and the
        positions cut to them. It is faster by nearly as much as it is shorter, and its states are others.

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
    options: dict[str, Any] = {"device": device, "precision": precision}
    if as_family is not None:
        options["as_family"] = as_family
    if window_s is not None:
        options["window_s"] = window_s
    found = _find(os.fspath(name), revision)
    if not isinstance(found, Path):
        return found(revision=revision, **options)
    from otoscope.encoders.huggingface import load_folder

    encoder = load_folder(found, name=found.resolve().name, **options)
    encoder.folder = found.resolve()
    return encoder


def check_encoder(name: str | os.PathLike, *, revision: str | None = None) -> None:
    """Raise what `load_encoder` would where there is no such model, without loading it; one of the hub is fetched."""
    found = _find(os.fspath(name), revision)
    if isinstance(found, Hub):
        found.fetch(revision)
    elif isinstance(found, ByHand):
        found()
    elif isinstance(found, Path) and not (found / "config.json").is_file():
        raise ModelError(f"{found} is no model's folder: it holds no config.json")


def _find(text: str, revision: str | None) -> Any:
    """Return the folder of a model, or what makes an encoder of the name."""
    if text in ENCODERS:
        return ENCODERS.get(text)
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ModelError(f"{text}: there is no such user") from error
    if os.path.isdir(path):
        if revision is not None:
            raise ModelError(f"{path} is a folder and has no revisions; leave `revision` out")
        return path
    if os.path.exists(path) or path.is_absolute() or text.startswith((".", "~")) or text.count("/") != 1:
        if "/" not in text and os.sep not in text:
            raise UnknownNameError(
                f"unknown encoder '{text}'{nearest(text, ENCODERS.names())} (known: {', '.join(ENCODERS.names())}; "
                "or give a folder, or a hub id such as facebook/hubert-base-ls960)"
            )
        raise ModelError(f"{text} is no folder; a model's folder holds config.json and its weights")
    short = {entry.repo_id: entry.name for entry in _hub_entries()}
    return Hub(short.get(text, text.replace("/", "--")), text)


def load_recorded(provenance: Mapping[str, Any], *, device: str = "auto") -> Encoder:
    """Load the encoder that the provenance of a store or an autoencoder names, in the precision it had there.

    It is found whatever the current folder: by its hub id and revision, its short name, or the folder it lay in.

    Raises
    ------
    UnknownNameError
        If it is not found there.
    ProvenanceError
        If what is found has other weights, or the store's states were edited.
    """
    name, folder = provenance.get("model"), provenance.get("folder")
    if name is None:
        raise UnknownNameError("it is not said which encoder was used")
    if provenance.get("edits"):
        raise ProvenanceError(
            f"its states were edited ({'; '.join(provenance['edits'])}): no encoder gives them"
        )
    if folder is not None and not Path(folder).is_dir():
        raise UnknownNameError(f"'{name}', which was used, is no longer at {folder}")
    if folder is None and provenance.get("family") == "module":
        raise UnknownNameError(f"'{name}', which was used, was a module of the user's own")
    encoder = load_encoder(
        folder or name,
        device=device,
        precision=provenance.get("precision", "float32"),
        revision=provenance.get("revision"),
        as_family=provenance.get("as_family"),
        window_s=provenance.get("window_s"),
    )
    check_weights(encoder, provenance)
    return encoder


def check_weights(encoder: Encoder, provenance: Mapping[str, Any]) -> None:
    """Raise ProvenanceError unless an encoder has the weights that provenance names, as far as it does."""
    now = encoder.provenance()
    for key in ("weights_sha256", "revision", "as_family"):
        if key in provenance and key in now and provenance[key] != now[key]:
            raise ProvenanceError(
                f"other weights of '{provenance.get('model')}' were used ({key} {provenance[key]}, here {now[key]}): "
                "what was learnt of them means nothing on these"
            )
    if provenance.get("window_s") != now.get("window_s"):
        raise ProvenanceError(
            f"'{provenance.get('model')}' was given another window: window_s {provenance.get('window_s')}, here "
            f"{now.get('window_s')}; load it with the same"
        )


def folder_files(name: str | os.PathLike) -> list[Path]:
    """Return the files of a local model that its numbers depend on; none of what has a revision, or is built in."""
    path = Path(name).expanduser()
    return [] if os.fspath(name) in ENCODERS or not os.path.isdir(path) else model_files(path)


def _hub_entries() -> list[Hub]:
    entries = (ENCODERS._own[name].target for name in ENCODERS._own)
    return [entry for entry in entries if isinstance(entry, Hub)]
