"""The viewer: a page in the browser, served to this machine alone."""

from nephi.report.viewer.viewer import Viewer

__all__ = ["Viewer"]
