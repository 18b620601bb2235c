"""DICOM: series of slices and multi-frame files, as images."""
