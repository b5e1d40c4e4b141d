"""Figures draw what the tables hold, and leave no trace in matplotlib's state."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

from otoscope.report.figures import paper
from otoscope.report.figures.style import curve_styles
from otoscope.report.numbers.means import over_seeds
from otoscope.report.run import read_run
from otoscope.results import FAMILIES


@pytest.fixture(scope="module")
def tables(make_run) -> dict[str, pd.DataFrame]:
    return read_run(make_run("figures", seeds=(0, 1))).tables


def lines(axes) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in axes.lines]


def has_line(axes, y: np.ndarray | float) -> bool:
    """Whether some line has exactly these heights (a level: the same height at both ends)."""
    return any(
        len(got) and np.allclose(got, y) for _, got in lines(axes) if np.ndim(y) == 0 or len(got) == len(y)
    )


def texts(figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def test_figure1_draws_means_levels_and_chance(tables):
    figure = paper.figure1(
        tables["layer_probing"], tables["sae_probing"], tables["reconstruction"], chance=0.1
    )
    left, middle, right = figure.axes
    probes = tables["layer_probing"].groupby("layer").score.mean()
    assert has_line(left, probes.to_numpy())
    assert has_line(left, 0.1)
    codes = tables["sae_probing"].groupby(["layer", "sparsity"]).score.mean()
    fvu = tables["reconstruction"].groupby(["layer", "sparsity"]).fvu.mean()
    for layer in (3, 4):
        assert has_line(middle, codes[layer].to_numpy())
        assert has_line(middle, probes[layer])  # dense
        assert has_line(right, fvu[layer].to_numpy())
    assert right.get_yscale() == "log"
    assert {"chance 10.0\u00a0%", "layer 3", "layer 4", "probe accuracy (%)", "dense"} <= texts(figure)


def test_figure1_of_one_table_has_one_panel(tables):
    assert len(paper.figure1(None, None, tables["reconstruction"]).axes) == 1
    numeric = paper.figure1(tables["layer_probing"], None, None, metric="r2")
    assert "probe R²" in texts(numeric)


def test_figure2_draws_codes_dense_and_nulls_of_one_selection(tables):
    other = tables["disentanglement_summary"].assign(selection="r2_floor", r2_mean=0.0, completeness_mean=0.0)
    figure = paper.figure2(pd.concat([tables["disentanglement_summary"], other]), selection="top10_r2")
    rows = tables["disentanglement_summary"]
    for axes, value in zip(figure.axes, ("r2_mean", "effective_dims_mean")):
        codes = rows.query("representation == 'topk'").groupby(["layer", "sparsity"])[value].mean()
        dense = rows.query("representation == 'dense'").groupby("layer")[value].mean()
        for layer in (3, 4):
            assert has_line(axes, codes[layer].to_numpy())
            assert has_line(axes, dense[layer])
        for null in ("untrained", "pca", "random", "frozen_decoder", "permuted"):
            assert has_line(axes, rows.query(f"representation == '{null}'")[value].mean())
    label = rows.query("representation == 'topk' and sparsity == 0.95").r2_label_mean.mean()
    assert has_line(figure.axes[0], label)  # the label alone, beside every R2
    assert {"untrained", "PCA", "random", "frozen decoder", "label", "nulls"} <= texts(figure)
    assert "shuffled" not in texts(figure)  # no factor is predicted
    published = paper.figure2(rows, dimensions=False)
    assert has_line(published.axes[1], rows.query("representation == 'pca'").completeness_mean.mean())


def test_figure3_draws_each_factor_once_and_prints_rho(tables):
    figure = paper.figure3(tables["disentanglement"], tables["factor_entropy"], sparsity=0.95, min_r2=0.1)
    rows = tables["disentanglement"].query("representation == 'topk' and sparsity == 0.95")
    for axes, layer in zip(figure.axes, (3, 4)):
        drawn = np.concatenate([dots.get_offsets() for dots in axes.collections if len(dots.get_offsets())])
        means = rows[rows.layer == layer].groupby("factor").completeness.mean()
        entropy = tables["factor_entropy"].query("not mixed").set_index("factor").entropy_knn_bits
        means = means[entropy.index]
        wanted = np.column_stack([entropy[means.index], means])
        assert len(drawn) == 13
        assert np.allclose(np.sort(drawn, axis=0), np.sort(wanted, axis=0))
        assert sum(text.get_text().startswith("Spearman ρ = −0.") for text in axes.texts) == 1


def test_figure1_draws_pca_beside_the_codes(tables):
    health = tables["health"].assign(fvu=tables["health"].pca_fvu)
    figure = paper.figure1(None, None, tables["reconstruction"], pca=health)
    assert has_line(figure.axes[0], health.query("layer == 3 and seed == 0").pca_fvu.to_numpy())
    assert "PCA with as many components" in texts(figure)


def test_figure4_starts_with_the_base_rate(tables):
    blind = pd.Series({"pitch": 4.0, "formants": 6.0})
    figure = paper.figure4(tables["factor_families"], blind=blind)
    for axes in figure.axes:
        first = [bar.get_width() for bar in axes.patches if abs(bar.get_y() + bar.get_height() / 2) < 0.1]
        assert np.allclose(first[:2], [4, 6])
        assert sum(first) == 10
        assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["drawn blindly", "dense"]


def test_figure4_bars_are_the_counts(tables):
    table = tables["factor_families"].assign(voice=1.0)  # a family that is none of the paper's
    figure = paper.figure4(table)
    counts = (
        table[table["sparsity"].isna() & (table["representation"] == "dense")]
        .groupby("layer")
        .mean(numeric_only=True)
    )
    for axes, layer in zip(figure.axes, (3, 4)):
        top = [bar.get_width() for bar in axes.patches if abs(bar.get_y() + bar.get_height() / 2) < 0.1]
        assert np.allclose(top, [*counts.loc[layer, list(FAMILIES)], 1.0])
        assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["dense", "75\u00a0%"]
    assert "other" in texts(figure)


def test_stacked_panels_lie_under_one_another(tables):
    figure = paper.figure1(tables["layer_probing"], None, tables["reconstruction"], stacked=True)
    top, bottom = (axes.get_position() for axes in figure.axes)
    assert top.y0 > bottom.y1
    assert figure.get_figwidth() < 4


def test_drawing_leaves_matplotlib_as_it_was(tables):
    before = dict(matplotlib.rcParams)
    paper.figure1(tables["layer_probing"], None, None)
    assert dict(matplotlib.rcParams) == before


def test_curves_are_told_apart():
    places = pd.DataFrame({"encoder": ["a", "a", "b", "b", "b"], "layer": [1, 12, "final", 2, 10]})
    styles = curve_styles(places)
    assert list(styles) == [("a", 1), ("a", 12), ("b", 2), ("b", 10), ("b", "final")]
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 5
    assert len({style["label"] for style in styles.values()}) == 5


def test_over_seeds_averages_and_keeps_dense_and_order():
    table = pd.DataFrame(
        {
            "encoder": "m",
            "layer": ["final", 10, 2, 2],
            "sparsity": [0.9, 0.9, np.nan, np.nan],
            "v": [1.0, 2.0, 3.0, 5.0],
        }
    ).astype({"layer": object})
    points = over_seeds(table, "v", by=("encoder", "layer", "sparsity"))
    assert list(points["layer"]) == [2, 10, "final"]
    assert list(points["mean"]) == [4.0, 2.0, 1.0]
    assert (points.loc[0, "low"], points.loc[0, "high"]) == (3.0, 5.0)
