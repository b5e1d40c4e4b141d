"""Letters and words: against the recursive definition of the edit distance."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoscope.interventions.words import distance, letter_error_rate, word_error_rate, words


@given(st.text("ab c", max_size=7), st.text("ab c", max_size=7))
@settings(max_examples=100, deadline=None)
def test_the_distance_is_that_of_its_definition(a, b):
    @cache
    def by_definition(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            by_definition(i - 1, j) + 1,
            by_definition(i, j - 1) + 1,
            by_definition(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        )

    assert distance(a, b) == by_definition(len(a), len(b)) == distance(b, a)


@pytest.mark.parametrize(
    ("truth", "heard", "words_wrong", "letters_wrong"),
    [
        ("the cat sat", "The cat sat.", 0, 0),
        ("the cat sat", "the bat", 2 / 3, 5 / 11),
        ("don't", "don’t", 0, 0),
        ("", "you", 1, 3),
        ("one two", "", 1, 1),
    ],
)
def test_error_rates_by_hand(truth, heard, words_wrong, letters_wrong):
    assert word_error_rate(truth, heard) == pytest.approx(words_wrong)
    assert letter_error_rate(truth, heard) == pytest.approx(letters_wrong)


def test_words_are_lower_case_without_marks():
    assert words("Mrs. Linde's re-entry, 12 times_over!") == [
        "mrs",
        "linde's",
        "re",
        "entry",
        "12",
        "times",
        "over",
    ]
