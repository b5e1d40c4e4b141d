"""The section on latents: counts are those of the tables, names hold by a test written independently."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom

from otoscope.latents import NO_MEANING, Condition, Rule
from otoscope.report.numbers.latents import address, described
from otoscope.report.pages.run import write_report
from otoscope.report.run import read_run
from otoscope.report.words.latents import latents_section
from otoscope.tables import parquet_bytes

COUNTS = {3: (10, 3), 5: (2, 20), 7: (6, 1)}
"""Latent -> rows in which it fires, of the 12 in which its name holds and of the other 108."""


def rule(group: str = "") -> str:
    return Rule((Condition("digit", "4", "is", ""),), group=group).to_json()


@pytest.fixture
def folder(make_run):
    folder = make_run("named")
    own = folder / "latents" / "otoscope-mini" / "layer_03" / "topk-512-s0.95-seed0"
    own.mkdir(parents=True)
    latents = pd.DataFrame({"latent": range(10), "alive": [*([True] * 9), False]})
    latents["name"] = [f"digit {i}" if i in COUNTS else NO_MEANING for i in range(10)]
    latents["rule"] = [rule() if i in COUNTS else "" for i in range(10)]
    latents.loc[4, ["name", "rule"]] = ["digit 4, ann only", rule("ann")]
    judged = pd.DataFrame(
        [
            {"latent": i, "name": f"digit {i}", "confidence": 0.0, "auc": 0.9 - 0.01 * i, "random_auc": 0.5}
            | {"n_hits": hits, "n_false": false, "n_holding": 12, "n_rows": 120, "n_groups": 2}
            for i, (hits, false) in COUNTS.items()
        ]
    )
    for name, table in (("latents", latents), ("judged", judged)):
        (own / f"{name}.parquet").write_bytes(parquet_bytes(table))
    about = {"encoder": "otoscope-mini", "layer": 3, "sae": {"sparsity": 0.95}, "n_tested": 6}
    (own / "about.json").write_text(json.dumps(about))
    return folder


def test_names_hold_by_fishers_test_and_holm(folder):
    (found,) = described(read_run(folder))
    assert (found.n_alive, found.n_tested, found.n_named, found.n_one_group) == (9, 6, 4, 1)
    alone = {i: hypergeom.sf(hits - 1, 120, 12, hits + false) for i, (hits, false) in COUNTS.items()}
    holm, worst = {}, 0.0
    for rank, i in enumerate(sorted(alone, key=alone.__getitem__)):
        worst = holm[i] = max(worst, min((3 - rank) * alone[i], 1.0))
    judged = found.judged.set_index("latent")
    np.testing.assert_allclose([judged.p[i] for i in COUNTS], [holm[i] for i in COUNTS])
    assert list(judged.index[judged.holds]) == [3, 7]
    assert found.n_hold == 2


@pytest.mark.slow  # a whole report
def test_section_counts_and_links_to_the_explorer(folder):
    section = latents_section(read_run(folder))
    for part in ("Of 9\u00a0latents", "6 fire in clips enough", "4 of these got a name", "2 hold there"):
        assert part in section.text
    assert section.link == ""
    assert section.command == f"otoscope explore {folder}"
    _, best = section.tables
    assert [row[0] for row in best.rows] == ["3", "7"]
    assert best.rows[0][3] == "10 of 12\u00a0clips of its name, 3 of 108 others"
    (folder / "explorer").mkdir()
    (folder / "explorer" / "index.html").write_text("")
    place = "explorer/index.html#/otoscope-mini/layer_03/topk-512-s0.95-seed0"
    assert address(read_run(folder), "otoscope-mini/layer_03/topk-512-s0.95-seed0", 3) == f"{place}/latent/3"
    page = write_report(folder).read_text()
    assert '<h2 id="latents">' in page
    assert f'href="{place}/latent/3"' in page


def test_a_run_without_latents_has_no_section(make_run):
    folder = make_run("unnamed")
    assert latents_section(read_run(folder)) is None
