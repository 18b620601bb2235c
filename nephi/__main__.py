"""`python -m nephi`: the `nephi` command."""

import sys
from pathlib import Path

try:
    from nephi.cli.process import run  # type: ignore[import-not-found]  # the folder cli/, installed as nephi.cli
except ModuleNotFoundError as error:
    if error.name != "nephi.cli":  # the folder cli/ of a clone becomes nephi.cli by the installation
        raise
    clone = Path(__file__).parents[1]
    sys.exit(f"nephi: error: {clone} is not installed; run: {sys.executable} -m pip install -e {clone}")

run()
