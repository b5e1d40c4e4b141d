"""What is known of one data set: an object in its own module, found by name through `otoscope.datasets.DATASETS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes
    ----------
    licence, citation : str
        What its users owe its makers.
    page : str
        Its own page, for people.
    url : str
        Of one archive (.zip, .tar.gz); empty where no lasting address with a checksum is published.
    checksum : str
        "md5:..." or "sha256:...", as published.
    size_bytes, unpacked_bytes : int
        Of the archive, and about, once unpacked.
    """

    licence: str
    citation: str
    page: str
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


@dataclass(frozen=True)
class Published:
    """How large the published set is, where that is certain.

    Attributes
    ----------
    label : str
        The column its classes stand in.
    n_clips, n_classes, per_class : int, optional
        Clips in all, classes, and clips of each class.
    """

    label: str
    n_clips: int | None = None
    n_classes: int | None = None
    per_class: int | None = None


@dataclass
class Findings:
    """What a check found.

    Attributes
    ----------
    dataset : str
        The data set's name.
    root : Path
        Where it lies.
    n_clips : int
        How many clips it gives.
    problems : list of str
        What should be mended: missing, corrupt, unexpected.
    notes : list of str
        What is odd but provided for.
    counts : DataFrame or None
        Clips by label and split, or what tells more.
    """

    dataset: str
    root: Path
    n_clips: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: pd.DataFrame | None = None


@dataclass(frozen=True)
class DataSet:
    """All that is known of one data set.

    Attributes
    ----------
    load : callable
        ``load(root, **options)``: its clips table. A data set that needs no folder has a default for ``root``.
    source : Source, optional
        Licence, citation, page, and the archive that ``otoscope download`` fetches.
    published : Published, optional
        Counts that ``otoscope validate`` compares with.
    check : callable, optional
        ``check(root, decode=...)``: a check of its own, in place of loading it and listening to its files.
    true_factors : callable, optional
        ``clips -> (table, info)``: the factors that made each clip, and their unit and family.
    true_moments : callable, optional
        ``clips, rows -> (table, info)``: the same at the moment of each row, of frames.
    """

    load: Callable[..., pd.DataFrame]
    source: Source | None = None
    published: Published | None = None
    check: Callable[..., Findings] | None = None
    true_factors: Callable[[pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]] | None = None
    true_moments: Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]] | None = None

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """What `load` takes, by name."""
        return inspect.signature(self.load).parameters
