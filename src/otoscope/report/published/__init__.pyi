from .compare import COLUMNS, comparison, comparison_summary
from .reference import CITATION, Published, beside, published_name, published_table

__all__ = [
    "CITATION",
    "COLUMNS",
    "Published",
    "beside",
    "comparison",
    "comparison_summary",
    "published_name",
    "published_table",
]
