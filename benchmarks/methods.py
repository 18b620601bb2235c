"""The methods that are compared: presets of nephi, and other tools in separate environments."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pairs import Pair

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".peers"
DEFAULT_PRESET = "default"  # the preset of the pair
FIELD_ALONE = "field"  # the same, writing only the displacement field, as most other tools do
PAPER_PRESETS = ("idir", "nephi-eccv2024")


@dataclass(frozen=True)
class Method:
    """One method: its name, and how it is run on a pair."""

    name: str
    environment: str = ""  # folder in .peers; empty: this interpreter
    package: str = "nephi"
    imports: str = "import torch, isal, safetensors, jinja2, PIL.Image"  # of the method, measured as the minimal cost
    options: tuple[str, ...] = ()
    has_inverse: bool = False
    wanted_masks: bool = True
    similarity: bool = True  # has the option `--similarity mi`
    suffix: str = ".mha"  # uncompressed, the cheaper; ANTs writes only NIfTI
    preset: str = ""
    driver: str = ""  # peers/run_NAME.py; empty: named as the environment

    @property
    def python(self) -> Path:
        """The Python interpreter of the method."""
        return ENVIRONMENTS / self.environment / "bin" / "python" if self.environment else Path(sys.executable)

    @property
    def missing(self) -> str:
        """Reason why the method cannot run; empty if it can."""
        if self.python.is_file():
            return ""
        return f"not installed (python benchmarks/peers/install.py {self.environment})"

    def field(self, folder: Path) -> Path:
        """Path of the displacement field."""
        return folder / ("out/warp.nii.gz" if self.preset else f"field{self.suffix}")

    def inverse(self, folder: Path) -> Path | None:
        """Path of the inverse field, if the method writes one."""
        if self.preset:
            return folder / "out" / "inverse_warp.nii.gz"
        return folder / f"inverse{self.suffix}" if self.has_inverse else None

    def command(self, pair: Pair, folder: Path, threads: int, limit_s: float = math.inf) -> list[str | Path]:
        """Return the command line for a pair; all outputs are in `folder`."""
        if self.preset in PAPER_PRESETS:
            return self._paper(pair, folder, threads, limit_s)
        if self.preset:
            return self._nephi(pair, folder, threads)
        masks = [pair.fixed_mask, pair.moving_mask] if self.wanted_masks else [None, None]
        driver = HERE / "peers" / f"run_{self.driver or self.environment}.py"
        command = [self.python, driver, pair.fixed, pair.moving, *(mask or "none" for mask in masks)]
        command += [self.field(folder), *self.options, "--threads", str(threads)]
        if self.has_inverse:
            command += ["--inverse", self.inverse(folder)]
        if pair.multimodal and self.similarity:
            command += ["--similarity", "mi"]
        return command

    def _paper(self, pair: Pair, folder: Path, threads: int, limit_s: float) -> list[str | Path]:
        masks = [mask or "none" for mask in (pair.fixed_mask, pair.moving_mask)]
        inputs = [self.preset, pair.fixed, pair.moving, *masks]
        return [self.python, HERE / "run_paper.py", *inputs, folder / "out", str(limit_s), "--threads", str(threads)]

    def _nephi(self, pair: Pair, folder: Path, threads: int) -> list[str | Path]:
        command = [self.python, "-m", "nephi.cli", "register", "-f", pair.fixed, "-m", pair.moving]
        for option, mask in (("--fixed-mask", pair.fixed_mask), ("--moving-mask", pair.moving_mask)):
            command += [option, mask] if mask else []
        similarity = ["--similarity", "mind"] if pair.multimodal and self.preset != pair.preset else []
        tail = [*self.options, "--seed", "0", "--threads", str(threads), "-q", "--overwrite", "-o", folder / "out"]
        return [*command, "--preset", self.preset, *similarity, *tail]


ELASTIX = Method(
    "elastix 250",
    "elastix",
    "itk-elastix",
    "import SimpleITK, itk; itk.ElastixRegistrationMethod",
    ("--iterations", "250"),
)
GREEDY = Method("greedy", "greedy", "picsl-greedy", "import SimpleITK, picsl_greedy")
PEERS = (
    ELASTIX,
    replace(ELASTIX, name="elastix 1000", options=("--iterations", "1000")),
    GREEDY,
    replace(GREEDY, name="greedy single", options=("--single",)),
    Method(
        "ConvexAdam",
        "convexadam",
        "convexAdam",
        "import torch, SimpleITK, convexAdam.convex_adam_MIND",
        wanted_masks=False,
        similarity=False,
    ),
    Method("ANTs SyN", "ants", "antspyx", "import ants", has_inverse=True, suffix=".nii.gz"),
    Method("FireANTs", "fireants", "fireants", "import torch, fireants.registration.greedy", wanted_masks=False),
    Method("B-splines", driver="bspline", package="torch", imports="import torch, SimpleITK", similarity=False),
)


def nephi_methods(pair: Pair, wanted: Iterable[str], known: Sequence[str]) -> list[Method]:
    """Return a method for every selected preset that exists for the pair.

    `default` is the preset of the pair, or brain-mri if that does not exist. `field` is the same preset, writing only
    the displacement field. `fast` and `best` are the preset with that suffix, if it exists.
    """
    preset_of_pair = pair.preset if pair.preset in known else "brain-mri"
    result = []
    for name in wanted:
        choices = [preset_of_pair] if name in (DEFAULT_PRESET, FIELD_ALONE) else [f"{preset_of_pair}-{name}", name]
        for preset in [choice for choice in choices if choice in known][:1]:
            label = "nephi" if name == DEFAULT_PRESET else f"nephi {name}"
            saved = ("--save", "warp") if name == FIELD_ALONE else ()
            result.append(Method(label, has_inverse=True, preset=preset, options=saved))
    return result


def known_presets() -> list[str]:
    """Return the names of the presets of nephi, read in a separate process."""
    code = "import nephi; print(*nephi.preset_names())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return process.stdout.split()


def version(method: Method) -> str:
    """Return the version of the package of a method, or that it is missing."""
    if method.missing:
        return method.missing
    code = f"from importlib.metadata import version; print(version({method.package!r}))"
    process = subprocess.run([method.python, "-c", code], capture_output=True, text=True, check=False)
    return process.stdout.strip() or "not installed"
