"""NIfTI in one or two files, Analyze and MGH: headers, positions, voxels."""
