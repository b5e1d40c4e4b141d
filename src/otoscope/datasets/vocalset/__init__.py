"""VocalSet: 20 professional singers, ten techniques studied, 44.1 kHz (Wilkins et al., ISMIR 2018; CC BY 4.0)."""

from otoscope.datasets.vocalset.check import check
from otoscope.datasets.vocalset.folder import audio_root, list_files, load
from otoscope.datasets.vocalset.names import (
    ENDINGS,
    QUIRKS,
    SINGERS,
    TECHNIQUES,
    TEST_SINGERS,
    Quirk,
    expected_count,
    quirk_of,
)

__all__ = [
    "ENDINGS", "QUIRKS", "SINGERS", "TECHNIQUES", "TEST_SINGERS", "Quirk",
    "audio_root", "check", "expected_count", "list_files", "load", "quirk_of",
]  # fmt: skip
