"""Losses: the similarity of two images at corresponding points, and the regularity of a map.

All are pure functions that return a scalar mean. Similarity losses compare patches (P, K) with patch weights
(P,); regularity losses take points or derivatives of a map at points (..., N, ...), in world millimetres.
"""

from nephi.losses.bending import bending, hessian_by_differences
from nephi.losses.diffusion import diffusion
from nephi.losses.geman_mcclure import geman_mcclure, robust_scale, squared_excess
from nephi.losses.gradicon import gradicon
from nephi.losses.icon import icon
from nephi.losses.jacobian import FOLDING_FLOOR, folding, jacobian_determinant, volume_change
from nephi.losses.mind import mind_ssc
from nephi.losses.mse import mse
from nephi.losses.ncc import GLOBAL_EPSILON, lncc, lncc_pooled, lncc_squared, ncc
from nephi.losses.nmi import nmi
from nephi.losses.similarities import LOCAL, SIMILARITIES, Similarity, local_epsilon, similarity, similarity_factors
from nephi.losses.soft_dice import soft_dice
from nephi.losses.total_variation import VARIATION_EPSILON, total_variation

__all__ = [
    "FOLDING_FLOOR",
    "GLOBAL_EPSILON",
    "LOCAL",
    "SIMILARITIES",
    "VARIATION_EPSILON",
    "Similarity",
    "bending",
    "diffusion",
    "folding",
    "geman_mcclure",
    "gradicon",
    "hessian_by_differences",
    "icon",
    "jacobian_determinant",
    "lncc",
    "lncc_pooled",
    "lncc_squared",
    "local_epsilon",
    "mind_ssc",
    "mse",
    "ncc",
    "nmi",
    "robust_scale",
    "similarity",
    "similarity_factors",
    "soft_dice",
    "squared_excess",
    "total_variation",
    "volume_change",
]
