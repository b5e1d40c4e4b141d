"""The page of protocols: what it says is what the table of the ablation holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from said import says

from otoscope.errors import InputError
from otoscope.report import write_switches_page
from otoscope.report.figures.protocols import switches_figure
from otoscope.report.numbers.protocols import HEADLINES, read_switches
from otoscope.report.words.protocols import switch_findings
from otoscope.results import to_csv

NUMBERS = [headline.column for headline in HEADLINES]
BASE = (0.80, 0.78, 0.20)
CHANGES = {
    (0, "paper protocol, nothing switched"): (0, 0, 0),
    (2, "choice of layer"): (-0.03, 0, 0),
    (3, "what R² is of"): (0, -0.1, 0.05),
    (5, "whose completeness"): (0, 0, -0.12),
    (7, "entropy of factors"): None,
    (22, "sound protocol"): (-0.05, -0.1, -0.15),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = []
    for (number, switch), change in CHANGES.items():
        for i, encoder in enumerate(("ast", "a<b")):
            row = {
                "number": number,
                "role": "published" if number == 0 else "sound" if number == 22 else "switch",
                "switch": switch,
                "published": "this",
                "sound": "that",
                "encoder": encoder,
                "metric": "accuracy",
            }
            nothing = change is None
            delta = np.full(3, np.nan) if nothing else np.array(change) * (1 + 0.2 * (2 * i - 1))
            row |= dict(zip(NUMBERS, np.array(BASE) + delta)) | dict(zip([f"d_{n}" for n in NUMBERS], delta))
            rows.append(row | {"note": "no headline number uses it" if nothing else ""})
    (tmp_path / "switches.csv").write_text(to_csv("switches", pd.DataFrame(rows)))
    return tmp_path


def test_page_and_figure(folder):
    path = write_switches_page(folder)
    assert path == folder / "protocol.html"
    assert sorted(p.name for p in folder.iterdir()) == [
        "protocol.html",
        "protocol.pdf",
        "protocol.png",
        "switches.csv",
    ]
    page = path.read_text(encoding="utf-8").replace("\u00a0", " ")
    for said in (
        "80.0 %",
        "<b>−3.0 points</b>",
        "<b>−0.12</b>",
        "2. choice of layer",
        "no headline number uses it",
    ):
        assert said in page, said
    assert "a<b" not in page
    assert page.count("<svg") == 2
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_sentences_name_the_rules_that_matter(folder):
    said = {
        finding.lead: finding.text.replace("\u00a0", " ")
        for finding in switch_findings(read_switches(folder / "switches.csv"))
    }
    score = said["Best-layer score"]
    assert says(score, 80.0, 75.0, -5.0)
    assert says(score, 3, 1, 1, -3.0, -3.0)  # of 3 rules 1 moves it by 1 point; all of them add up to -3
    assert "“choice of layer”" in score
    gain = said["Completeness, codes minus dense"]
    assert says(gain, 2, 0.02, -0.12, 0.05)
    assert gain.index("“whose completeness”") < gain.index("“what R² is of”")
    assert "add up" not in said["Mean R² of the ten best factors"]
    assert says(said["What cannot show"], 1, 4)


def test_bars_are_the_means_of_the_encoders(folder):
    figure = switches_figure(read_switches(folder / "switches.csv"), HEADLINES)
    left, _, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([-3, 0, 0, -5])
    assert [bar.get_width() for bar in right.patches] == pytest.approx([0, 0.05, -0.12, -0.15])
    assert left.get_yticklabels()[0].get_text() == "2. choice of layer"


def test_a_table_that_was_broken_off_still_makes_a_page(folder):
    table = pd.read_csv(folder / "switches.csv")
    table[table["number"] <= 3].to_csv(folder / "switches.csv", index=False)
    text = {f.lead: f.text for f in switch_findings(read_switches(folder / "switches.csv"))}[
        "Best-layer score"
    ]
    assert "sound" not in text
    assert write_switches_page(folder).is_file()
    table[table["number"] == 0].to_csv(folder / "switches.csv", index=False)
    assert "<svg" not in write_switches_page(folder).read_text()


def test_refuses_what_is_no_such_table(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        write_switches_page(tmp_path)
    (tmp_path / "switches.csv").write_text("number,switch\n0,a\n")
    with pytest.raises(InputError, match="lacks the column"):
        write_switches_page(tmp_path)
