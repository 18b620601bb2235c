"""`python -m nephi.cli`: the `nephi` command where no console script is on the path."""

import sys

if not __package__:
    sys.exit(
        "nephi: error: cli/ is a part of nephi and no program: install the clone (python -m pip install -e .), then "
        "run nephi, or python -m nephi"
    )

from .process import run

run()
