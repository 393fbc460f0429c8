"""All that is known about a pair of embeddings, computed once, and its renderers."""

from fillgap.report.build import Files, build_report
from fillgap.report.data import ReportData
from fillgap.report.html import render_html
from fillgap.report.markdown import write_report

__all__ = ["Files", "ReportData", "build_report", "render_html", "write_report"]
