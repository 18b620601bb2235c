"""The interactive viewer: a web page served to this machine only."""

from nephi.report.viewer.viewer import Viewer

__all__ = ["Viewer"]
