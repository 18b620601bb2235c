"""The two steps of the build that pyproject.toml cannot express: kernels for several processors, and NiiVue."""

import platform
import runpy
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

NIIVUE = Path(__file__).parent / "nephi" / "report" / "viewer" / "niivue.py"
# What the compiler may use, by the name of the library (`nephi/kernels/library.py` chooses among them).
PROCESSORS: dict[str, list[str]] = {"_native": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    PROCESSORS["_native_avx2"] = ["-mavx2", "-mfma"]
    PROCESSORS["_native_avx512"] = ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma"]
# The kernels' threads are those of POSIX; nephi/kernels/pool.c needs none where they are missing.
THREADS: list[str] = [] if platform.system() == "Windows" else ["-pthread"]
# The oldest Python whose stable ABI the kernels use (Py_LIMITED_API in module.c): one wheel serves all from there on.
STABLE_ABI = "cp311"
COMPILE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]


def kernels(name: str, processor: list[str]) -> Extension:
    """Describe one library of compiled twins of the hottest functions: plain C without torch's headers.

    Optional: without a compiler, or with one for other processors, nephi installs all the same, and computes in torch.
    """
    return Extension(
        f"nephi.kernels.{name}",
        sorted(glob("nephi/kernels/*.c")),
        depends=sorted(glob("nephi/kernels/*.h")),
        define_macros=[("NATIVE", name)],
        extra_compile_args=[*COMPILE, *THREADS, *processor],
        extra_link_args=THREADS,
        py_limited_api=True,
        optional=True,
    )


class BuildOneByOne(build_ext):
    """Builds one library after the other: side by side they would overwrite each other's object files."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = None


class BuildWithNiivue(build_py):
    """Fetches NiiVue into the sources first, so that it is package data like any other file.

    Optional, as the compiled kernels are: without npm or network everything but `nephi view` is installed.
    """

    def run(self) -> None:
        missing = runpy.run_path(str(NIIVUE))["fetch_niivue"]()
        if missing:
            print(f"warning: nephi view will not work: NiiVue was not downloaded: {missing}", file=sys.stderr)
        super().run()


setup(
    cmdclass={"build_ext": BuildOneByOne, "build_py": BuildWithNiivue},
    ext_modules=[kernels(name, processor) for name, processor in PROCESSORS.items()],
    options={"bdist_wheel": {"py_limited_api": STABLE_ABI}},
)
