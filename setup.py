"""The one step of the build that pyproject.toml cannot express: fetching the viewer's NiiVue."""

import runpy
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NIIVUE = Path(__file__).parent / "nephi" / "report" / "viewer" / "niivue.py"


class BuildWithNiivue(build_py):
    """Fetches NiiVue into the sources first, so that it is package data like any other file.

    Optional, as the compiled kernels are: without npm or network everything but `nephi view` is installed.
    """

    def run(self) -> None:
        missing = runpy.run_path(str(NIIVUE))["fetch_niivue"]()
        if missing:
            print(f"warning: nephi view will not work: NiiVue was not fetched: {missing}", file=sys.stderr)
        super().run()


setup(cmdclass={"build_py": BuildWithNiivue})
