"""Reports: the figures and the page of a run. Reads tables, computes nothing of its own but means over seeds."""

from __future__ import annotations

from otoscope.report.page import write_report

__all__ = ["write_report"]
