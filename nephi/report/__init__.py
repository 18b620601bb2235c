"""The report page of a registration, its figures, how it shows in a notebook, and the viewer."""

from nephi.report.figures import overlay
from nephi.report.notebook import notebook_html
from nephi.report.page import PAGE, page_html, write_report
from nephi.report.result import RegistrationResult
from nephi.report.viewer import Viewer

__all__ = ["PAGE", "RegistrationResult", "Viewer", "notebook_html", "overlay", "page_html", "write_report"]
