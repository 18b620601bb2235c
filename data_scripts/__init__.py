"""Conversion of public data sets to the layout that nephi reads (docs/reference/datasets.md).

Run `python -m data_scripts --help` from the root of the repository. This is not part of the package nephi.
"""
