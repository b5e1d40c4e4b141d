from .folder import audio_root, list_files, load
from .names import ENDINGS, QUIRKS, SINGERS, TECHNIQUES, TEST_SINGERS, Quirk, expected_count, quirk_of

__all__ = [
    "ENDINGS",
    "QUIRKS",
    "Quirk",
    "SINGERS",
    "TECHNIQUES",
    "TEST_SINGERS",
    "audio_root",
    "expected_count",
    "list_files",
    "load",
    "quirk_of",
]
