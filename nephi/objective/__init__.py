"""What a fit minimises: the reference, and the same by kernels."""

from nephi.objective.fused import compiled_objective
from nephi.objective.objective import Draw, Level, add_gradient

__all__ = ["Draw", "Level", "add_gradient", "compiled_objective"]
