"""Affine maps, splines and chains of other tools: ITK, ANTs, elastix, FSL, greedy, FreeSurfer."""
