"""Affine maps, B-splines and composite transforms of ITK, ANTs, elastix, FSL, greedy and FreeSurfer."""
