"""What shards hold is what the latents tables say."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest
from fake_latents import MARKUP, STEP_S, click_s

from otoscope.explorer.tables import _strongest_first, _support

FRAMES = "otoscope-mini/layer_03/topk-40-s0.9-seed0"


@pytest.fixture(scope="module")
def tables(latents_run):
    folder = latents_run / "latents" / FRAMES
    return {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}


def test_the_big_table_has_each_latent_once_with_its_values(shard, tables):
    table, latents = shard("d0/table"), tables["latents"]
    assert table["latent"] == latents.latent.tolist()
    np.testing.assert_allclose(table["frequency"], latents.frequency, rtol=1e-3)
    assert [table["name"]["names"][code] for code in table["name"]["codes"]] == latents.name.tolist()
    label = table["label"]["names"][table["label"]["codes"][5]]
    assert label == f"{latents.label_column[5]} {latents.label_value[5]}"
    assert any(MARKUP in name for name in table["label"]["names"])  # as it is; the page makes it text


def test_a_latents_page_has_its_examples_curves_and_neighbours(shard, tables):
    clips, page = shard("clips"), shard("d0/latents-0")["0"]
    own = tables["examples"].query("latent == 0").sort_values("rank", kind="stable")
    assert sorted((e["kind"], clips["id"][e["clip"]]) for e in page["examples"]) == sorted(
        zip(own.kind, own.clip_id)
    )
    for example in page["examples"]:
        start_s, step_s, peak, values = example["curve"]
        row = tables["curves"][
            (tables["curves"].latent == 0) & (tables["curves"].clip_id == clips["id"][example["clip"]])
        ].iloc[0]
        assert (start_s, step_s) == (row.start_s, row.step_s)
        assert peak == pytest.approx(row.peak, rel=1e-3)
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(values), np.uint8), row["values"])
    cosines = [cosine for _, cosine, _ in page["neighbours"]]
    assert len(cosines) == 10
    assert cosines == sorted(cosines, reverse=True)


def test_support_is_what_new_groups_say_and_else_the_names_own(tables):
    latents = pd.DataFrame({"confidence": [0.6, 0.0, 0.9, 0.2], "held_out_auc": [np.nan, 0.9, 0.4, 0.75]})
    assert _support(latents).tolist() == pytest.approx([0.6, 0.8, 0.0, 0.5])
    assert _support(latents[["confidence"]]).tolist() == [0.6, 0.0, 0.9, 0.2]
    assert set(tables) >= {"judged"}


def test_factors_stand_by_strength_those_beyond_chance_first():
    factors = pd.DataFrame(
        {
            "latent": [1, 0, 0, 0],
            "factor": list("dabc"),
            "rho": [0.1, 0.2, -0.7, 0.4],
            "p_corrected": [1, 0.01, 0.2, 0.03],
        }
    )
    assert _strongest_first(factors).factor.tolist() == ["c", "a", "b", "d"]


def test_a_page_counts_what_new_groups_did(shard):
    pages = shard("d0/latents-0")
    assert pages["0"]["judged"] == {"n_hits": 10, "n_holding": 12, "n_false": 3, "n_rows": 120, "n_groups": 2}
    assert pages["1"]["judged"] is None


def test_the_click_lies_under_the_curves_peak(shard):
    clips, page = shard("clips"), shard("d0/latents-0")["0"]
    tops = [example for example in page["examples"] if example["kind"] == "top"]
    assert tops
    for example in tops:
        start_s, step_s, _, values = example["curve"]
        peak_s = start_s + (base64.b64decode(values).index(255) + 0.5) * step_s
        clicked_s = click_s(int(clips["id"][example["clip"]].removeprefix("clip-")))
        assert peak_s == pytest.approx(clicked_s, abs=STEP_S)
        assert example["peak_s"] == pytest.approx(peak_s, abs=1e-3)


def test_a_clips_page_has_all_its_latents_strongest_first(shard, tables):
    clips, page = shard("clips"), shard("d0/clips-0")["3"]
    own = tables["activity"][tables["activity"].clip_id == clips["id"][3]]
    assert {row[0] for row in page["rows"]} == set(own.latent)
    maxima = [row[1] for row in page["rows"]]
    assert maxima == sorted(maxima, reverse=True)
    assert 0 < len(page["curves"]) <= 32
    assert all(0 < row[3] <= 1.001 for row in page["rows"])  # of the latent's own maximum


def test_a_dictionary_of_clips_has_no_curves(shard):
    run = shard("run")
    assert [row["rows"] for row in run["dictionaries"]] == ["frames", "clips"]
    page = shard("d1/latents-0")["20"]
    assert page["examples"]
    assert all(e["curve"] is None and e["peak_s"] is None for e in page["examples"])
    assert shard("d1/clips-0")["0"]["curves"] == {}
