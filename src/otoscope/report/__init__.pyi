from .figures.paper import figure1, figure2, figure3, figure4
from .numbers.headlines import headlines
from .numbers.published import comparison, comparison_summary, published_table
from .pages.protocols import write_switches_page
from .pages.run import write_report
from .run import Run, read_run
from .words.findings import findings

__all__ = [
    "Run",
    "comparison",
    "comparison_summary",
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "findings",
    "headlines",
    "published_table",
    "read_run",
    "write_report",
    "write_switches_page",
]
