"""The report: results in words, and one self-contained HTML page. It reads a run folder; it knows no Ray and trains nothing."""

from ray_ue.report.page import Report, report
from ray_ue.report.words import markdown

__all__ = ["Report", "markdown", "report"]
