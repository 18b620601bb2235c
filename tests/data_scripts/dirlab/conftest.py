"""Tiny files in the formats of DIR-Lab's collections, and the options that convert them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

Options = tuple[object, ...]
SHAPE, SPACING = (7, 5, 4), (0.6, 0.7, 2.5)
GEOMETRY = "".join(f"[{n}]\nshape = {list(SHAPE)}\nspacing = {list(SPACING)}\n" for n in range(1, 11))
POINTS = {"first": [(1, 1, 1), (2, 4, 3), (7, 5, 4)], "second": [(1, 2, 1), (3, 4, 2), (6, 1, 4)]}
LAYOUTS = {
    "dirlab-copd": {
        "first": ("copd{n}/copd{n}/copd{n}_iBHCT.img", "copd{n}/copd{n}/copd{n}_300_iBH_xyz_r1.txt", "copd{n}-iBH"),
        "second": ("copd{n}/copd{n}/copd{n}_eBHCT.img", "copd{n}/copd{n}/copd{n}_300_eBH_xyz_r1.txt", "copd{n}-eBH"),
    },
    "dirlab-4dct": {
        "first": (
            "Case{n}Pack/Images/case{n}_T00_s.img",
            "Case{n}Pack/ExtremePhases/Case{n}_300_T00_xyz.txt",
            "case{n}-T00",
        ),
        "second": (
            "Case{n}Pack/Images/case{n}_T50-ssm.img",
            "Case{n}Pack/extremePhases/case{n}_dirLab300_T50_xyz.txt",
            "case{n}-T50",
        ),
    },
}  # fmt: skip


def stored(n: int, side: str) -> np.ndarray:
    """Return the values of a volume in the order of the file, indexed z, y, x; no two voxels have the same value."""
    start = 100 + 300 * (side == "second") + n
    volume = np.arange(start, start + 140, dtype="<i2").reshape(SHAPE[::-1])
    volume[0, 0, 1] = -2000  # outside of the reconstructed circle
    volume[0, 0, 2] = -30  # noise of air
    return volume


def write_case(raw: Path, command: str, n: int) -> None:
    for side, (image, landmarks, _) in LAYOUTS[command].items():
        path = raw / image.format(n=n)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored(n, side).tobytes())
        path = raw / landmarks.format(n=n)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{x}\t{y}\t{z}\n" for x, y, z in POINTS[side]))


@pytest.fixture(params=sorted(LAYOUTS))
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def raw(tmp_path: Path, command: str) -> Path:
    for n in (1, 2, 10):
        write_case(tmp_path / "raw", command, n)
    return tmp_path / "raw"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    geometry = tmp_path / "geometry.toml"
    geometry.write_text(GEOMETRY)
    return ("-o", tmp_path / "out", "--geometry", geometry, "--no-masks", "--cases", "1-2,10")
