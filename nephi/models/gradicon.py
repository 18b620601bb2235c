"""GradICON: the network of ICON in several steps, made regular by the gradient of inverse consistency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nephi.models.icon import ICON, ICONSettings
from nephi.settings import TrainingObjectiveSettings


@dataclass(frozen=True)
class GradICONSettings(ICONSettings):
    """Architecture of GradICON.

    downsampling: one number n for each composed deformation (step), the first one first; the U-Net of a step receives
        every n-th voxel of the images along each axis. The paper adds a last step, 4, 2, 1, 1, after the first three
        have been trained.
    unet: the U-Net of each step.
    """

    kind: ClassVar[str] = "gradicon"

    downsampling: tuple[int, ...] = (4, 2, 1)


class GradICON(ICON):
    """GradICON (Tian et al., CVPR 2023): ICON's form, whose composed maps need only have the identity's Jacobian.

    The term `gradicon` of the objective is evaluated in closed form, at random points between the voxels.
    """

    Settings = GradICONSettings
    # GradICON's loss is sim + sim' + lambda (1/D) E||J - I||_F^2 of one order of composition. Here similarity and
    # gradicon are means over both directions and orders: gradicon = lambda / (2 D), for lambda = 1.5 the weight 0.25 in
    # 3-D and 0.375 in 2-D.
    default_objective = TrainingObjectiveSettings(codes=0.0, gradicon=0.3, background_points=512)
