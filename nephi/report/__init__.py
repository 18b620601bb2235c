"""The report page of a registration, its figures, and how it shows in a notebook."""

from nephi.report.figures import overlay
from nephi.report.notebook import notebook_html
from nephi.report.page import write_report

__all__ = ["notebook_html", "overlay", "write_report"]
