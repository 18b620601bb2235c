"""MetaImage and NRRD: headers, data files and voxels."""
