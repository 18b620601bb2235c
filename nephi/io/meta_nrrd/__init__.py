"""MetaImage and NRRD: headers, data files, voxels."""
