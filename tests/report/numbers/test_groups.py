"""Tests on few groups: no interval, each group by name, and chance tested in each alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from otoscope.report.figures import paper
from otoscope.report.intervals import only_meaningful
from otoscope.report.numbers.groups import few_groups, folds_command, group_scores, scores_by_group, sides
from otoscope.report.run import read_run
from otoscope.report.tables.results import result_tables
from otoscope.report.words.findings import findings
from otoscope.report.words.overview import settings, tiles
from otoscope.results import read_table, to_csv
from otoscope.tables import parquet_bytes

LABELS = ("a", "b", "c", "d")


@pytest.fixture
def folder(make_run):
    """A run tested on two singers, 40 clips each: of ann's 30 are right, of bob's `right`."""
    folder = make_run("few", classes=list(LABELS))
    results = folder / "results"
    for name in ("layer_probing", "sae_probing", "comparisons"):
        table = read_table(results / f"{name}.csv").assign(n_groups=2)
        (results / f"{name}.csv").write_text(to_csv(name, table))
    write_predictions(folder, {"ann": 30, "bob": 20})
    return folder


def write_predictions(folder, right: dict[str, int]) -> None:
    clips, rows = [], []
    for name, n_right in right.items():
        for i in range(40):
            truth = LABELS[i % 4]
            clip = {"clip_id": f"{name}{i}", "split": "test", "group": name}
            clips.append(clip)
            said = truth if i < n_right else LABELS[(i + 1) % 4]
            rows += [
                {"encoder": "otoscope-mini", "layer": layer, "seed": 0, "clip_id": clip["clip_id"], "crop": 0}
                | {"truth": truth, "predicted": said if layer else LABELS[0]}
                for layer in (0, 3)
            ]
    (folder / "results" / "predictions.csv").write_text(to_csv("predictions", pd.DataFrame(rows)))
    more = [{"clip_id": f"cat{i}", "split": "train", "group": "cat"} for i in range(5)]
    (folder / "clips.parquet").write_bytes(parquet_bytes(pd.DataFrame(clips + more)))
    (folder / "activations" / "otoscope-mini-1").mkdir(parents=True, exist_ok=True)


def said(folder) -> dict[str, str]:
    return {finding.lead: finding.text for finding in findings(read_run(folder))}


def test_scores_and_chance_of_each_group(folder):
    ann, bob = group_scores(read_run(folder), "otoscope-mini", 3)
    assert (ann.name, ann.n_clips, ann.score) == ("ann", 40, 0.75)
    assert (bob.name, bob.score) == ("bob", 0.5)
    np.testing.assert_allclose([ann.p, bob.p], [binom.sf(29, 40, 0.25), binom.sf(19, 40, 0.25)])


def test_each_group_stands_instead_of_an_interval(folder):
    run = read_run(folder)
    assert few_groups(run) == 2
    text = said(folder)["Best layer"]
    assert "ann 75.0\u00a0% of 40\u00a0clips and bob 50.0\u00a0% of 40\u00a0clips" in text
    assert "above chance for each of the 2 test singers" in text
    assert "interval " not in text.replace("for an interval", "")
    assert "not shown to do better" not in text
    assert "nothing is claimed" in said(folder)["What the blocks add"]
    assert "ann +50.0" in said(folder)["What the blocks add"]
    assert "ann 75\u00a0%, bob 50\u00a0%" in tiles(run)[0][2]
    table = next(table for table in result_tables(run) if table.title == "Probes on the layers")
    assert "ann (40\u00a0clips)" in table.columns
    assert not [cell for row in table.rows for cell in row if "[" in cell]


def test_a_group_at_chance_is_named(folder):
    write_predictions(folder, {"ann": 30, "bob": 11})
    assert "above chance for ann, and not shown to be for the others" in said(folder)["Best layer"]


def test_command_scores_every_group(folder):
    (finding,) = [each for each in findings(read_run(folder)) if each.lead == "Best layer"]
    assert finding.command == folds_command(read_run(folder))
    for part in ("activations/otoscope-mini-1", "clips.parquet", "--label technique --group singer --folds"):
        assert part in finding.command


def test_settings_name_who_is_on_which_side(folder):
    assert sides(read_run(folder)) == {"test": {"ann": 40, "bob": 40}, "train": {"cat": 5}}
    named = dict(settings(read_run(folder)))
    assert named["Test singers"] == "ann (40\u00a0clips), bob (40\u00a0clips)"


def test_figure_draws_a_dot_for_each_group(folder):
    run = read_run(folder)
    figure = paper.figure1(run.table("layer_probing"), None, None, by_group=scores_by_group(run))
    (dots,) = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert sorted(zip(dots.get_xdata(), dots.get_ydata())) == [(0, 0.25), (0, 0.25), (3, 0.5), (3, 0.75)]


@pytest.mark.parametrize(("n_groups", "low", "high", "shown"), [(3, 0.1, 0.9, False), (4, 0.1, 0.9, True)])
def test_intervals_of_few_groups_are_missing(n_groups, low, high, shown):
    table = pd.DataFrame({"score_low": [low, 0.5], "score_high": [high, 0.5], "n_groups": n_groups})
    found = only_meaningful(table, bounded=True)
    assert list(found["score_low"].notna()) == [shown, False]  # the second has no width at all


def test_no_difference_of_accuracies_beyond_100_points():
    table = pd.DataFrame({"difference_low": [-2.8], "difference_high": [3.1], "n_groups": 5})
    assert only_meaningful(table, bounded=True).iloc[0, :2].tolist() == [-1, 1]
    assert only_meaningful(table, bounded=False).iloc[0, :2].tolist() == [-2.8, 3.1]


def test_wilson_intervals_are_of_clips(folder):
    import yaml

    spec = yaml.safe_load((folder / "spec.yaml").read_text()) | {"probing": {"interval": "wilson"}}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    run = read_run(folder)
    assert few_groups(run) is None
    assert run.table("layer_probing")["score_low"].notna().all()
