"""What is known of VocalSet."""

from __future__ import annotations

from otoscope.datasets.dataset import DataSet, Source
from otoscope.datasets.vocalset.check import check
from otoscope.datasets.vocalset.folder import load

DATASET = DataSet(
    load,
    source=Source(
        page="https://zenodo.org/records/1203819",
        licence="CC BY 4.0",
        citation="Wilkins, Seetharaman, Wahl, Pardo: VocalSet: A Singing Voice Dataset. ISMIR 2018. "
        "doi:10.5281/zenodo.1203819",
        url="https://zenodo.org/records/1203819/files/VocalSet11.zip",
        checksum="md5:0c09396242f946e7111ad7d8fc649b81",
        size_bytes=2_077_243_579,
        unpacked_bytes=3_500_000_000,
    ),
    check=check,
)
