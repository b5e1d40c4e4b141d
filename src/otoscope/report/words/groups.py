"""What a test on few groups allows to say: each group by its name, instead of an interval that says nothing."""

from __future__ import annotations

import math

from otoscope import wording
from otoscope.report.numbers.groups import (
    NAMED,
    GroupScore,
    few_groups,
    folds_command,
    group_noun,
    group_scores,
)
from otoscope.report.run import Run


def too_few(run: Run) -> str:
    """Return ``2 test groups (speaker) are too few``, or of how many there are."""
    n = few_groups(run) or 0
    return f"{_groups(run, n)} {'is' if n == 1 else 'are'} too few"


def named_groups(run: Run, encoder: str, layer: int | str) -> str:
    """Name the test groups of a layer's probe with their scores; of few, say in how many it is above chance."""
    scores = group_scores(run, encoder, layer)
    text = f" By group: {each_group(scores)}." if 1 < len(scores) <= NAMED else ""
    return text + _above(run, scores) if few_groups(run) else text


def what_would_tell(run: Run) -> tuple[str, str]:
    """Return a last sentence on a test of too few groups, and the command that scores every group; empty otherwise."""
    if not few_groups(run):
        return "", ""
    command = folds_command(run)
    text = f" {wording.sentence_case(too_few(run))} for an interval, or for a claim about new ones"
    return (f"{text}. To score every {group_noun(run)} in its turn:" if command else f"{text}."), command


def each_group(scores: list[GroupScore]) -> str:
    """Return ``lucas 62 % of 60 clips and theo 52 % of 60``."""
    said = [
        f"{own.name} {wording.percent(own.score)} of {wording.count(own.n_clips, 'clip')}" for own in scores
    ]
    return wording.listing(said)


def gain_by_group(run: Run, encoder: str, layer: int | str) -> str:
    """Return, in brackets, what a layer adds to layer 0 in each test group; nothing where they are not known."""
    before = {own.name: own.score for own in group_scores(run, encoder, 0)}
    after = [own for own in group_scores(run, encoder, layer) if own.name in before]
    if not 0 < len(after) <= NAMED:
        return ""
    said = [f"{own.name} {wording.difference(own.score - before[own.name], 'accuracy')}" for own in after]
    return f" ({', '.join(said)})"


def short_groups(run: Run, encoder: str, layer: int | str) -> str:
    """Return ``lucas 62 %, theo 52 %; too few for an interval``, for a tile."""
    scores = group_scores(run, encoder, layer)
    if not 0 < len(scores) <= NAMED:
        return f"{too_few(run)} for an interval"
    said = ", ".join(f"{own.name} {wording.percent(own.score, 0)}" for own in scores)
    return f"{said}; {too_few(run)} for an interval"


def _above(run: Run, scores: list[GroupScore]) -> str:
    """Say in how many groups a probe is above chance, each tested alone."""
    if not scores or any(math.isnan(own.p) for own in scores):
        return ""
    above = [own.name for own in scores if own.above_chance]
    how = "exact binomial test in each, one-sided, its clips taken for independent"
    if len(above) == len(scores):
        n = len(scores)
        whom = f"the one test {group_noun(run)}" if n == 1 else f"each of the {n} test {_plural(run)}"
        largest = max(own.p for own in scores)
        p = "p\u00a0<\u00a00.001" if largest < 0.001 else f"p\u00a0≤\u00a0{wording.number(largest, 3)}"
        return f" That is above chance for {whom} ({how}: {p})."
    if above:
        return (
            f" That is above chance for {wording.listing(above)}, and not shown to be for the others ({how})."
        )
    return f" That is not shown to be above chance for any of them ({how})."


def _groups(run: Run, n: int) -> str:
    return wording.count(n, f"test {group_noun(run)}", f"test {_plural(run)}")


def _plural(run: Run) -> str:
    noun = group_noun(run)
    return noun if noun.endswith("s") else f"{noun}s"
