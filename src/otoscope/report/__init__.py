"""Reports: the figures and the page of a run. Reads tables, computes nothing of its own but means over seeds."""

from __future__ import annotations

from otoscope.report.page import write_report
from otoscope.report.switches import write_switches_page

__all__ = ["write_report", "write_switches_page"]
