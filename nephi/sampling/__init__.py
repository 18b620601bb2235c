"""Random sample points: of a whole grid or inside a mask."""

from nephi.sampling.uniform import GridPoints, MaskPoints, PointSource, patch_offsets, point_source

__all__ = ["GridPoints", "MaskPoints", "PointSource", "patch_offsets", "point_source"]
