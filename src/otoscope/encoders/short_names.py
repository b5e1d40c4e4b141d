"""The models that have a short name, with their licences, and how each is reached."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope import hub
from otoscope.errors import ModelError
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
        known = [entry.repo_id for entry in hub_entries()]
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
        "eat-base",
        "worstchan/EAT-base_epoch30_pretrain",
        "EAT base, AudioSet, 16 kHz",
        "code MIT, weights MIT",
    ),
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
        "weights CC BY-NC 4.0",
    ),
    (
        "mert-v2-fullsong",
        "m-a-p/MERT-v2-FullSong",
        "MERT v2, whole songs, 24 kHz",
        "weights CC BY-NC 4.0",
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


def hub_entries() -> list[Hub]:
    """Return the models of the hub among them."""
    entries = (ENCODERS._own[name].target for name in ENCODERS._own)
    return [entry for entry in entries if isinstance(entry, Hub)]
