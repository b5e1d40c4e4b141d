"""What the paper published, read from tables that come with the package, and put beside a run's own results."""

from __future__ import annotations

from otoscope.report.published.compare import QUANTITIES, comparison, comparison_summary
from otoscope.report.published.reference import CITATION, Published, beside, published_name, published_table

__all__ = [
    "CITATION",
    "QUANTITIES",
    "Published",
    "beside",
    "comparison",
    "comparison_summary",
    "published_name",
    "published_table",
]
