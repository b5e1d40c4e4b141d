"""The page and its files: self-contained, complete, tolerant of missing tables, safe against odd names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from otoscope.errors import InputError, ProvenanceError
from otoscope.report import write_report
from otoscope.results import TABLES

FIGURES = [f"figure{number}.{suffix}" for number in (1, 2, 3, 4) for suffix in ("pdf", "png")]


class Page(HTMLParser):
    """Collects tags with their attributes, and the text that a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.hidden = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag in ("style", "script", "svg")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "script", "svg")

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


@pytest.fixture(scope="module")
def written(make_run) -> Path:
    """The page of a whole run, written once for the tests that only look."""
    return write_report(make_run(seeds=(0, 1)))


def keep(folder: Path, *names: str) -> Path:
    """Take all result tables but these out of a run."""
    for path in (folder / "results").glob("*.csv"):
        if path.stem not in names:
            path.unlink()
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_exactly_the_figures_and_the_page(written):
    folder = written.parent
    assert files(folder) == ["figures", "report.html", "results", "run.json", "spec.yaml"]
    assert files(folder / "figures") == FIGURES
    for name in FIGURES:
        data = (folder / "figures" / name).read_bytes()
        assert data.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
    width, _ = Image.open(folder / "figures" / "figure1.png").size
    assert width > 1400  # sharp at a page's width


def test_page_needs_nothing_but_itself(written):
    page, source = Page(written), written.read_text(encoding="utf-8")
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "img", "base"} & set(names)
    assert names.count("svg") == 8  # four figures, each for wide and for narrow screens
    for _, attributes in page.tags:
        for key in ("src", "href", "srcset", "xlink:href", "data", "action"):
            assert attributes.get(key, "#").startswith("#"), attributes
    assert "@import" not in source
    assert all(name.startswith("#") for name in re.findall(r"url\(([^)]*)\)", source))
    assert len(source.encode()) < 3e6


def test_links_and_ids_within_the_page_fit(written):
    page = Page(written)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        href = attributes.get("href", "")
        assert not href or href[1:] in ids, href


def test_page_shows_run_settings_times_and_files_left_out(written):
    text = Page(written).text.replace("\u00a0", " ")
    for said in ("512 latents", "2 seeds", "75 %", "clips/broken.wav", "torch 2.13.0", "2 min", "kept"):
        assert said in text, said
    for word in (
        "Layer",
        "Probe",
        "SAE",
        "Latent",
        "Sparsity",
        "FVU",
        "Completeness",
        "Effective dimensions",
        "Null",
    ):
        assert word in text, word


def test_same_tables_same_page(make_run):
    path = write_report(keep(make_run(), "layer_probing"))
    first = path.read_bytes()
    write_report(path.parent)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    "left", ["layer_probing", "reconstruction", "disentanglement_summary", "factor_families"]
)
def test_a_single_table_is_enough(make_run, left):
    folder = keep(make_run(), left)
    (folder / "run.json").unlink()
    page = Page(write_report(folder))
    drawn = {"layer_probing": 1, "reconstruction": 1, "disentanglement_summary": 2, "factor_families": 4}[
        left
    ]
    assert files(folder / "figures") == [f"figure{drawn}.pdf", f"figure{drawn}.png"]
    for number in {1, 2, 3, 4} - {drawn}:
        assert f"Figure {number} is left out: this run has no" in page.text


def test_an_empty_table_is_as_none(make_run):
    folder = keep(make_run(), "layer_probing")
    for name in ("factor_problems", "sparse_probing"):
        (folder / "results" / f"{name}.csv").write_text(",".join(TABLES[name].names) + "\n")
    (folder / "results" / "gap_scores.csv").write_text(
        "encoder,layer,representation,sparsity,seed,factor,mig,sap\n"
    )
    text = Page(write_report(folder)).text
    assert "could not be measured" not in text
    assert "How few latents" not in text


def test_an_old_figure_goes_when_its_table_has_gone(make_run):
    folder = keep(make_run(), "layer_probing", "factor_families")
    write_report(folder)
    assert files(folder / "figures") == FIGURES[:2] + FIGURES[6:]
    (folder / "results" / "factor_families.csv").unlink()
    write_report(folder)
    assert files(folder / "figures") == FIGURES[:2]


def test_odd_names_are_escaped(make_run):
    odd = '<script>alert("x")</script>'
    folder = make_run(
        classes=[odd, "a&b", "NA", "none"],
        factors={
            f"{odd}$_{{x$": ("pitch", 0.9, 4.0),
            "--><b>": ("other", 0.5, 2.0),
            "None": ("mfcc", 0.7, 1.0),
        },
        encoders={'model"onload=1': (3, 4)},
    )
    record = json.loads((folder / "run.json").read_text())
    record["summary"]["label"] = odd
    record["notes"] = [odd]
    (folder / "run.json").write_text(json.dumps(record))
    page = Page(write_report(folder))
    tags = {tag for tag, _ in page.tags}
    assert "script" not in tags
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert page.text.count(odd) >= 4
    assert "NA" in page.text
    assert "--><b>" in page.text


def test_several_encoders_and_seeds(make_run):
    encoders = {"hubert-base-ls960": (1,), "wavlm-base-plus": (3,)}
    folder = keep(make_run(encoders=encoders, seeds=(0, 1)), "layer_probing", "sae_probing", "reconstruction")
    page = Page(write_report(folder))
    assert "At a glance" in page.text
    assert "of hubert-base-ls960" in page.text


def test_runs_side_by_side(make_run):
    one, two = make_run("one"), make_run("two", gain=0.2, protocol="paper")
    for folder in (one, two):
        keep(folder, "layer_probing", "factor_families")
    path = write_report(one, two)
    assert path == one / "comparison.html"
    page = Page(path)
    names = [attributes.get("id", "") for _, attributes in page.tags]
    assert sum(tag == "svg" for tag, _ in page.tags) == 4  # two figures of each, in columns
    assert len([name for name in names if name]) == len({name for name in names if name})
    assert "one by “sound”, two by “paper”" in page.text
    assert not (two / "figures").exists()


def test_final_layer_and_number_labels(make_run):
    names = ("layer_probing", "sae_probing", "reconstruction")
    folder = keep(make_run(metric="r2"), *names)
    for name in names:
        path = folder / "results" / f"{name}.csv"
        table = pd.read_csv(path)
        table["layer"] = table["layer"].astype(object).where(table["layer"] != 4, "final")
        table.to_csv(path, index=False)
    text = Page(write_report(folder)).text
    assert "the probe's R²" in text
    assert "final" in text


def test_refuses_what_is_no_run(tmp_path, make_run):
    with pytest.raises(InputError, match="is no run"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "empty" / "results").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no result table"):
        write_report(tmp_path / "empty")
    folder = make_run("broken")
    path = folder / "results" / "layer_probing.csv"
    path.write_text("encoder,layer\nmini,0\n")
    with pytest.raises(InputError, match=r"lacks the column\(s\) seed, score"):
        write_report(folder)
    names = TABLES["layer_probing"].names
    path.write_text(",".join(names) + "\nmini,0,0,high" + "," * (len(names) - 4) + "\n")
    with pytest.raises(InputError, match="column 'score' must hold numbers"):
        write_report(folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"schema": 1}))
    with pytest.raises(ProvenanceError, match=r"schema 1, .*otoscope run"):
        write_report(folder)
    (folder / "spec.yaml").write_text("a: [")
    path.unlink()
    with pytest.raises(InputError, match=r"spec\.yaml is not valid YAML"):
        write_report(folder)
