"""`python -m nephi.cli`: the `nephi` command where no console script is on the path."""

from .process import run

run()
