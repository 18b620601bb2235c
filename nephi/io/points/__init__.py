"""Points and landmarks: tables, 3-D Slicer, elastix, DIR-Lab."""
