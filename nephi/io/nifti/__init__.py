"""NIfTI in one or two files, Analyze and MGH: headers, positions, reading and writing of voxels."""
