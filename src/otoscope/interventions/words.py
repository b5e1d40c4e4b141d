"""What changed between two texts: letters and words, by the fewest edits (Levenshtein 1966)."""

from __future__ import annotations

import re
from collections.abc import Sequence


def distance(a: Sequence, b: Sequence) -> int:
    """Return the fewest insertions, deletions and replacements that make `b` of `a`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def words(text: str) -> list[str]:
    """Return a text's words, lower case, without punctuation but for apostrophes inside."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def word_error_rate(truth: str, heard: str) -> float:
    """Return changed words over the words of `truth`, which count as one where there is none."""
    return distance(words(truth), words(heard)) / max(len(words(truth)), 1)


def letter_error_rate(truth: str, heard: str) -> float:
    """Return changed letters, single spaces between words included, over those of `truth`, at least one."""
    a, b = " ".join(words(truth)), " ".join(words(heard))
    return distance(a, b) / max(len(a), 1)
