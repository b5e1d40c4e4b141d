"""The table of families and promises in docs/encoders.md, made from the tests themselves, and its examples."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from . import test_clap
from . import test_families as native
from . import test_load as load
from . import test_written as written
from .conftest import FAMILIES
from .written import WRITTEN

DOC = Path(__file__).parents[2] / "docs" / "encoders.md"
PROMISES: dict[str, dict[str, tuple[Callable, ...]]] = {
    "states are the original's": {
        "rows": (
            native.test_layers_are_those_of_transformers,
            written.test_states_are_those_of_the_original_code,
        ),
        "encodec": (load.TestEncodec.test_layers_are_the_stages,),
        "clap": (test_clap.test_layers_are_those_of_transformers,),
    },
    "a click at its second": {
        "rows": (native.test_a_click_is_heard_when_it_sounds, written.test_a_click_is_heard_when_it_sounds),
        "encodec": (load.TestEncodec.test_a_click_is_heard_at_its_time_and_not_before,),
        "clap": (test_clap.test_a_click_is_heard_when_it_sounds,),
    },
    "same in any batch": {
        "rows": (
            native.test_a_clip_does_not_depend_on_its_batch,
            written.test_a_clip_does_not_depend_on_its_batch,
        ),
        "clap": (test_clap.test_a_clip_does_not_depend_on_its_batch,),
    },
    "a time for each token": {
        "rows": (
            native.test_the_shortest_input_is_served_and_a_shorter_one_refused,
            written.test_tokens_and_states_agree_in_number,
        ),
        "encodec": (load.TestEncodec.test_layers_are_the_stages,),
        "clap": (test_clap.test_layers_are_those_of_transformers,),
    },
    "stops at the deepest": {
        "rows": (
            native.test_blocks_past_the_deepest_layer_do_not_run,
            written.test_blocks_past_the_deepest_layer_do_not_run,
        ),
        "encodec": (load.TestEncodec.test_what_follows_the_stage_asked_for_does_not_run,),
        "clap": (test_clap.test_stages_past_the_deepest_do_not_run,),
    },
    "odd weights refused": {
        "rows": (
            load.test_a_missing_weight_is_an_error,
            written.test_a_weight_missing_too_many_or_misshapen_is_an_error,
        ),
    },
    "licence told": {"rows": (written.test_licence_and_weights_are_in_the_provenance,)},
}


def models_of(function: Callable) -> set[str]:
    """Return the models that a test is parametrised over."""
    names: set[str] = set()
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "parametrize":
            names |= {value[0] if isinstance(value, tuple) else value for value in mark.args[1]}
    return names


def promises_table() -> str:
    lines = ["| model | " + " | ".join(PROMISES) + " |", "|---" * (len(PROMISES) + 1) + "|"]
    for name in (*FAMILIES, "encodec", "clap", *WRITTEN):
        marks = []
        for tests in PROMISES.values():
            own = name in tests or any(name in models_of(function) for function in tests["rows"])
            marks.append("yes" if own else "")
        lines.append(f"| {name} | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def test_the_document_holds_the_table() -> None:
    text = DOC.read_text(encoding="utf-8")
    held = re.search(r"<!-- promises -->\n(.*?)<!-- /promises -->", text, flags=re.DOTALL)
    assert held is not None
    assert held[1].strip() == promises_table(), "put this into docs/encoders.md:\n" + promises_table()


def test_every_written_family_keeps_every_promise() -> None:
    for promise, tests in PROMISES.items():
        assert set(WRITTEN) <= set().union(*(models_of(function) for function in tests["rows"])), promise


def test_the_examples_of_other_towers_run() -> None:
    pytest.importorskip("librosa")
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(code, DOC.name, "exec", dont_inherit=True), {"__name__": "__main__"})


if __name__ == "__main__":
    print(promises_table())
