"""Figures on disk and in a page."""

from __future__ import annotations

import io
import re
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from otoscope.files import whole_file
from otoscope.report.figures.style import BLUE, GRID, INK, MUTED, PAPER, RC

LARGEST = 1.35
"""How much larger than it was drawn a figure may be in a page: one of few panels must not shout."""
_CSS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--card)",
    BLUE: "var(--blue)",  # too dim on a dark page
}


def save(figure: Figure, path: Path) -> None:
    """Save as PNG or PDF by suffix; the same figure gives the same bytes."""
    metadata = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
    with matplotlib.rc_context(RC), whole_file(path) as draft:
        figure.savefig(draft, metadata=metadata)


def inline_svg(figure: Figure, *, name: str, title: str) -> str:
    """Return an ``<svg>`` element whose ink follows the page's light or dark colours.

    Letters are drawn as outlines, so no font is needed. `name` keeps its ids apart from other figures' ids.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    widest = LARGEST * 96 * figure.get_figwidth()
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*pt"', rf'\1style="max-width: {widest:.0f}px"', svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns:(?:xlink|cc|dc|rdf)="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    for color, variable in _CSS.items():
        svg = svg.replace(color, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
