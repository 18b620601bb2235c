"""The report page of a registration, figures for papers and notebooks, and the interactive viewer."""

from nephi.report.figures import notebook_html, overlay
from nephi.report.notebook_progress import progress_shown
from nephi.report.page import PAGE, page_html, write_report
from nephi.report.result import RegistrationResult
from nephi.report.viewer import Viewer

__all__ = [
    "PAGE",
    "RegistrationResult",
    "Viewer",
    "notebook_html",
    "overlay",
    "page_html",
    "progress_shown",
    "write_report",
]
