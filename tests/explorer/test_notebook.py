"""Latents in a notebook."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
import soundfile
from fake_latents import MARKUP

from otoscope.errors import InputError
from otoscope.experiment import RunDirectory, load_spec
from otoscope.explorer import open_latents

FRAMES = "otoscope-mini/layer_03/topk-40-s0.9-seed0"


def test_a_dictionary_is_found_by_what_it_is_of(latents_run):
    assert open_latents(latents_run, "otoscope-mini", 3).dictionary.name == FRAMES
    assert open_latents(latents_run, sparsity=0.95).dictionary.name.endswith("s0.95-seed0")
    with pytest.raises(InputError, match="has no dictionary of layer 9"):
        open_latents(latents_run, layer=9)


def test_a_run_opens_its_own(latents_run):
    run = RunDirectory(latents_run, load_spec("demo"))
    assert run.latents("otoscope-mini", 3).dictionary.name == FRAMES
    assert run.latents(sparsity=0.95).show(1, n=1).html == open_latents(run, sparsity=0.95).show(1, n=1).html


def test_top_is_by_confidence_or_by_a_labels_auc(latents_run):
    latents = open_latents(latents_run)
    tables = latents_run / "latents" / FRAMES
    best = pd.read_parquet(tables / "latents.parquet").confidence.nlargest(3)
    assert latents.top(3).confidence.tolist() == best.tolist()
    labels = pd.read_parquet(tables / "labels.parquet").query("value == 'e'")
    assert latents.top(4, label="e").auc.tolist() == labels.auc.nlargest(4).tolist()
    with pytest.raises(InputError, match="did you mean 'singer-1'"):
        latents.top(label="singer1")


def test_show_has_sound_and_text_that_is_no_markup(latents_run):
    page = open_latents(latents_run).show(1, n=2)._repr_html_()
    assert MARKUP not in page
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(page)
    assert tags.count("audio") == tags.count("polyline") == 2
    assert "img" not in tags
    packed = re.search(r"data:audio/mpeg;base64,([^\"]+)", page)[1]
    assert soundfile.info(io.BytesIO(base64.b64decode(packed))).duration == pytest.approx(2.0)
    with pytest.raises(InputError, match="no latent 999"):
        open_latents(latents_run).show(999)
