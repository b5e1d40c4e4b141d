from .page import write_report
from .switches import write_switches_page

__all__ = [
    "write_report",
    "write_switches_page",
]
