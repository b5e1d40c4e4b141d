"""What a sentence says, apart from how it is worded: its numbers, in order."""

from __future__ import annotations

import re


def numbers_in(text: str) -> list[float]:
    """Return the numbers of a text in order: ``−1,024.5 %`` is -1024.5; digits within a name (R2, f0) are none."""
    text = text.replace("−", "-").replace("\u00a0", " ")
    found = re.findall(r"(?<![\w.-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])", text)
    return [float(number.replace(",", "")) for number in found]


def says(text: str, *numbers: float) -> bool:
    """Whether a text has these numbers, one right after another."""
    said, wanted = numbers_in(text), [float(number) for number in numbers]
    return any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))
