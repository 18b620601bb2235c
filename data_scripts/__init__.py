"""Public data sets in the layout that nephi trains on and evaluates with (docs/reference/datasets.md).

`python -m data_scripts --help` from the root of the repository. Not part of the package: nephi never imports this.
"""
