"""Read series of DICOM slices and multi-frame DICOM files as images."""
