"""Points and landmarks: tables, and files of 3-D Slicer, elastix and DIR-Lab."""
