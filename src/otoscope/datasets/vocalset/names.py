"""What VocalSet's folders and files are called, and where they break their own rule.

Files are ``<singer>/<context>/<technique>/<name>.wav``; the last ``_`` part of a name is the vowel. Singer and
technique are read from the folders: names are sometimes wrong, and are not unique across singers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

SINGERS = tuple([f"female{i}" for i in range(1, 10)] + [f"male{i}" for i in range(1, 12)])

TEST_SINGERS = ("female2", "female8", "male3", "male5", "male10")
"""The publisher's split (``test_singers_technique.txt``): these test, the other 15 train."""

TECHNIQUES = (
    "belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry",
)  # fmt: skip
"""The ten techniques studied; class ids are in this (alphabetical) order."""

OTHER_TECHNIQUES = ("fast_forte", "fast_piano", "forte", "messa", "pp", "slow_forte", "slow_piano")
"""Loudness and speed: in the data set, not studied."""

CONTEXTS = ("arpeggios", "excerpts", "long_tones", "scales")

ENDINGS = ("e", "o", "i", "a", "u", "c", "f", "spoken")
"""A file is kept if the last ``_`` part of its name is one of these (Mariotte et al. 2025, their code): it leaves the
sung excerpts and the uncut takes out."""


@dataclass(frozen=True)
class Quirk:
    """One way in which published files break the rule, and what is done about it.

    Attributes
    ----------
    paths : tuple of str
        Patterns of paths below the folder of singers.
    what, why : str
        What is odd; what it would do if nothing were done.
    repair : "drop", "keep", or a technique
        In ``quirks="sound"``: leave the file out, do nothing (singer and technique come from the folders), or give it
        this technique.
    paper : str
        What becomes of the file in the published code, and so in ``quirks="paper"``.
    """

    paths: tuple[str, ...]
    what: str
    why: str
    repair: Literal["drop", "keep", "vibrato"]
    paper: str


QUIRKS = (
    Quirk(
        (
            "female2/arpeggios/vibrado/slow_vibrato_arps.wav",
            "female2/arpeggios/lip_trill/lip_trill_arps.wav",
            "female2/arpeggios/fast_piano/fast_piano_arps_f.wav",
            "female2/scales/vocal_fry/scales_vocal_fry.wav",
            "female3/scales/fast_piano/scales_fast_piano_f.wav",
            "female7/scales/slow_piano/f7_scales_c_slow_piano.wav",
            "female9/arpeggios/fast_forte/arps_fast_piano_c.wav",
            "male3/arpeggios/fast_piano/arps_c_fast_piano.wav",
            "male3/scales/lip_trill/scales_lip_trill.wav",
        ),
        "uncut take",
        "all vowels in one file, which are there one by one as well",
        "drop",
        "left out by the ending of its name, or its technique is not studied",
    ),
    Quirk(
        ("*/*(1).wav",),
        "duplicate, with (1) in its name",
        "the same take would count twice",
        "drop",
        "left out by the ending of its name",
    ),
    Quirk(
        ("*/vibrado/*.wav",),
        "folder 'vibrado', misspelt",
        "female2's arpeggios with vibrato would be lost",
        "vibrato",
        "lost: the renaming overwrites the whole row, path and vowel included",
    ),
    Quirk(
        ("female4/*/straight/arpeggios_*.wav", "female4/*/straight/scales_*.wav", "male8/*/straight/row_*.wav",
         "male10/*/vibrato/caro_*.wav", "male10/*/vibrato/dona_*.wav", "male10/*/vibrato/row_*.wav",
         "male10/*/fast_piano/scales_*.wav"),
        "no singer in the name",
        "names of two singers would be the same",
        "keep",
        "kept: it reads folders too",
    ),
    Quirk(
        ("male8/excerpts/vibrato/m9_*.wav",),
        "the wrong singer in the name",
        "male8's song would count as male9's",
        "keep",
        "kept: it reads folders too",
    ),
    Quirk(
        ("female7/*/trillo/f7_ *.wav", "male4/*/spoken/m4_ *.wav", "male8/scales/slow_forte/*_sow_forte_*.wav",
         "male1/scales/straight/m1_straight_tone_*.wav"),
        "misspelt name (a blank, a letter or the order)",
        "what reads labels from names would miss it",
        "keep",
        "kept: it reads folders too",
    ),
)  # fmt: skip
"""Resource forks (``__MACOSX``, ``._*``) are no recordings and are never listed. The first match counts."""


def quirk_of(path: str) -> Quirk | None:
    """Return what is odd about a file, by its path below the folder of singers, or None."""
    for quirk in QUIRKS:
        if any(fnmatchcase(path, pattern) for pattern in quirk.paths):
            return quirk
    return None


def ending(path: str) -> str:
    """Return the last ``_`` part of a file's name, up to the first dot: its vowel, as a rule."""
    return path.rpartition("/")[2].split(".")[0].rpartition("_")[2]


def sex(singer: str) -> str:
    """Return "female" or "male"."""
    return singer.rstrip("0123456789")


def expected_count(singer: str, technique: str) -> int:
    """Return how many files of a singer and technique the published set has, after repair and filter.

    Counted from published lists of the 15 training singers; for the test singers from the published totals (441
    files in the ten technique folders, 400 after the paper's filter), which leave no other way.
    """
    return _ODD_COUNTS.get((singer, technique), _COUNTS[technique])


_COUNTS = {
    "belt": 10, "breathy": 10, "inhaled": 5, "lip_trill": 10, "spoken": 1,
    "straight": 15, "trill": 5, "trillo": 5, "vibrato": 10, "vocal_fry": 10,
}  # fmt: skip
_ODD_COUNTS = {("female4", "trill"): 0, ("female6", "belt"): 15, ("male1", "vocal_fry"): 7}
