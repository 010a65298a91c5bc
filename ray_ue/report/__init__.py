"""The pages and the Markdown of evaluations and sweeps, written from their folders."""

from ray_ue.report.evaluation.page import Report, report
from ray_ue.report.evaluation.words import markdown

__all__ = ["Report", "markdown", "report"]
