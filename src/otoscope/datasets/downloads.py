"""Fetch a published data set and unpack it: ``otoscope download``.

Only sets whose address does not move and whose checksum is published are fetched; of the others it is said where they
are to be had.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from otoscope.datasets.transfer import resuming
from otoscope.datasets.unpack import unpack
from otoscope.errors import InputError
from otoscope.registry import Registry


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes
    ----------
    page : str
        Its own page, for people.
    licence, citation : str
        What its users owe its makers.
    url : str
        Of one archive (.zip, .tar.gz); empty where no lasting address with a checksum is published.
    checksum : str
        "md5:..." or "sha256:...", as published.
    size_bytes, unpacked_bytes : int
        Of the archive, and about, once unpacked.
    """

    page: str
    licence: str
    citation: str
    url: str = ""
    checksum: str = ""
    size_bytes: int = 0
    unpacked_bytes: int = 0

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return self.url.split("?")[0].rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder it is unpacked into: the archive's name without its suffix."""
        return self.archive.removesuffix(".zip").removesuffix(".tgz").removesuffix(".tar.gz")


SOURCES = Registry("download", "otoscope.downloads")
SOURCES.add(
    "vocalset",
    Source(
        page="https://zenodo.org/records/1203819",
        licence="CC BY 4.0",
        citation="Wilkins, Seetharaman, Wahl, Pardo: VocalSet: A Singing Voice Dataset. ISMIR 2018. "
        "doi:10.5281/zenodo.1203819",
        url="https://zenodo.org/records/1203819/files/VocalSet11.zip",
        checksum="md5:0c09396242f946e7111ad7d8fc649b81",
        size_bytes=2_077_243_579,
        unpacked_bytes=3_500_000_000,
    ),
)
SOURCES.add(
    "speech-commands",
    Source(
        page="https://arxiv.org/abs/1804.03209",
        licence="CC BY 4.0",
        citation="Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition. arXiv:1804.03209, 2018",
        url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        checksum="sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        size_bytes=2_428_923_189,
        unpacked_bytes=3_600_000_000,
    ),
)
SOURCES.add(
    "esc50",
    Source(
        page="https://github.com/karolpiczak/ESC-50",
        licence="CC BY-NC 3.0 (ESC-10 subset: CC BY 3.0)",
        citation="Piczak: ESC: Dataset for Environmental Sound Classification. ACM Multimedia 2015",
    ),
)
SOURCES.add(
    "gtzan",
    Source(
        page="https://huggingface.co/datasets/marsyas/gtzan (its first home, marsyas.info, is gone)",
        licence="none stated; for research",
        citation="Tzanetakis, Cook: Musical Genre Classification of Audio Signals. IEEE TSAP 10(5), 2002",
    ),
)
SOURCES.add(
    "fsdd",
    Source(
        page="https://github.com/Jakobovski/free-spoken-digit-dataset",
        licence="CC BY-SA 4.0",
        citation="Jackson and contributors: Free Spoken Digit Dataset. doi:10.5281/zenodo.1342401",
    ),
)
SOURCES.add(
    "nsynth",
    Source(
        page="https://magenta.tensorflow.org/datasets/nsynth (take the json/wav archives)",
        licence="CC BY 4.0",
        citation="Engel et al.: Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders. ICML 2017",
    ),
)


def download(
    name: str, folder: str | Path, *, keep_archive: bool = False, show_progress: bool = True
) -> Path:
    """Fetch a data set and unpack it into a folder of its own.

    What is there is not fetched again: an unpacked folder, an archive with the right checksum, or the first part of
    one. The unpacked folder appears whole or not at all.

    Parameters
    ----------
    name : str
        A data set with a source.
    folder : path
        Where its own folder shall stand; made if need be. It serves as the ``root`` of ``load_clips``.
    keep_archive : bool
        Keep the archive once it is unpacked.
    show_progress : bool
        False draws no bars.

    Returns
    -------
    Path
        The unpacked folder.

    Raises
    ------
    InputError
        If the set has no address, the disk is too full, the server cannot be reached, what came is not what was
        published, or the archive is not safe to unpack.
    """
    source: Source = SOURCES.get(name)
    if not source.url:
        raise InputError(
            f"'{name}' is not fetched from here: no lasting address with a checksum is published. Get it at "
            f"{source.page}, unpack it, and give its folder as root (licence: {source.licence})"
        )
    folder = Path(folder)
    target = folder / source.folder
    if target.is_dir():
        return target
    archive = folder / source.archive
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(source, archive)
        _fetch(source, archive, show_progress)
        unpack(archive, target, limit_bytes=3 * source.unpacked_bytes, show_progress=show_progress)
        if not keep_archive:
            archive.unlink()
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror or error}") from error
    return target


def _fetch(source: Source, archive: Path, show_progress: bool) -> None:
    """Let pooch check, move and name the file; our downloader goes on where a broken one stopped."""
    import pooch

    pooch.get_logger().setLevel("ERROR")  # it would say what the bar says
    part = archive.with_name(archive.name + ".part")
    try:
        pooch.retrieve(
            source.url,
            known_hash=source.checksum,
            fname=archive.name,
            path=archive.parent,
            downloader=resuming(part, size_bytes=source.size_bytes, show_progress=show_progress),
        )
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"what came from {source.url} is not the published file (its checksum is not {source.checksum}) and was "
            "thrown away; try again, and if that fails too, fetch it by hand"
        ) from error


def _check_space(source: Source, archive: Path) -> None:
    part = archive.with_name(archive.name + ".part")
    here = sum(file.stat().st_size for file in (archive, part) if file.is_file())
    needed = max(source.size_bytes - here, 0) + source.unpacked_bytes
    free = shutil.disk_usage(archive.parent).free
    if free < needed:
        raise InputError(
            f"'{archive.parent}' has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed "
            f"({source.size_bytes / 1e9:.1f} for the archive, {source.unpacked_bytes / 1e9:.1f} to unpack it)"
        )
