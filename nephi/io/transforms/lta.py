"""Read linear transform arrays of FreeSurfer (`.lta`).

The matrix of an LTA maps points of the source volume to the destination volume. FreeSurfer resamples the source on the
grid of the destination with it (`mri_vol2vol --mov SRC --targ DST`), so the source is the moving image, and `phi` is
the inverse of the matrix.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from nephi.errors import DataError
from nephi.io.files.input_files import prefix_errors, require_file
from nephi.io.transforms.itk_linear import Vector
from nephi.io.transforms.itk_text import parse_numbers
from nephi.transforms import AffineTransform

VOXEL_TO_VOXEL, RAS_TO_RAS = "0", "1"
TYPES = {
    VOXEL_TO_VOXEL: "LINEAR_VOX_TO_VOX",
    RAS_TO_RAS: "LINEAR_RAS_TO_RAS",
    "2": "LINEAR_PHYSVOX_TO_PHYSVOX",
    "14": "REGISTER_DAT",
    "21": "LINEAR_COR_TO_COR",
}
SECTIONS = ("src", "dst")
ENTRY = re.compile(r"(\w+)\s*=\s*(.*)")
MAX_SIZE = 2**20
ROUNDING = 1e-6  # tolerance of the last row: FreeSurfer computes in float32 and writes 0 0 0 0.99999994


def read_lta(path: Path) -> AffineTransform:
    """Read an LTA of one transform, voxel to voxel or RAS to RAS, as a map from fixed to moving points (mm, RAS).

    Raises `DataError` naming the file for other types, several transforms, voxel to voxel without the geometry of both
    volumes, and damaged files.
    """
    sections, rows = _parse(path)
    header = sections["header"]
    if header.get("nxforms") != "1":
        raise DataError(f"{path}: expected one transform (nxforms = 1), found {header.get('nxforms', 'none')[:40]!r}")
    kind = header.get("type", "none")
    if kind not in (VOXEL_TO_VOXEL, RAS_TO_RAS):
        raise DataError(
            f"{path}: expected the type 0 (voxel to voxel) or 1 (RAS to RAS), found {kind[:40]} "
            f"({TYPES.get(kind, 'unknown')}); convert it with FreeSurfer's lta_convert --inlta INPUT --outlta OUTPUT"
        )
    if [len(row) for row in rows] != [4] * 4 or not np.allclose(rows[3], [0, 0, 0, 1], rtol=0, atol=ROUNDING):
        raise DataError(f"{path}: expected 4 rows of 4 numbers, the last 0 0 0 1, after `1 4 4`; is the file complete?")
    matrix = np.array([*rows[:3], [0, 0, 0, 1]])
    with prefix_errors(path):
        if kind == VOXEL_TO_VOXEL:
            source, destination = (_voxel_to_ras(name, sections[name]) for name in SECTIONS)
            AffineTransform(torch.from_numpy(source))  # rejects a singular geometry
            matrix = destination @ matrix @ np.linalg.inv(source)
        return AffineTransform(torch.from_numpy(matrix)).inverse()


def _parse(path: Path) -> tuple[dict[str, dict[str, str]], list[list[float]]]:
    """Return the entries `name = value` of the header and of the two volumes, and the rows of the matrix."""
    with open(require_file(path), encoding="utf-8-sig", errors="replace") as file:
        text = file.read(MAX_SIZE)
    sections: dict[str, dict[str, str]] = {name: {} for name in ("header", *SECTIONS)}
    rows: list[list[float]] = []
    current, in_matrix = "header", False
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#")[0].strip()
        entry = ENTRY.fullmatch(content)
        if content in ("src volume info", "dst volume info"):
            current, in_matrix = content[:3], False
        elif entry is not None:
            if entry[1] in sections[current]:
                raise DataError(f"{path}: line {number}: expected {entry[1][:40]} once, found it again")
            sections[current][entry[1]] = entry[2].strip()
        elif " ".join(content.split()) == "1 4 4" and not rows:
            in_matrix = True
        elif content and in_matrix:
            rows.append(parse_numbers(f"{path}: line {number}", "the matrix", content).tolist())
    if "type" not in sections["header"]:
        raise DataError(f"{path}: expected a linear transform of FreeSurfer (type = ...), found other contents")
    return sections, rows


def _voxel_to_ras(name: str, volume: dict[str, str]) -> Vector:
    """Return the `(4, 4)` matrix from voxels to RAS of a volume; raise `DataError` when its geometry is missing."""
    if volume.get("valid") != "1":
        raise DataError(
            f"expected the geometry of both volumes for a transform from voxels to voxels, found none of "
            f"{name}; convert it with FreeSurfer's lta_convert, which takes --src and --trg"
        )
    axes, (size, spacing, centre) = (
        [_parse_triple(name, volume, key) for key in keys]
        for keys in (("xras", "yras", "zras"), ("volume", "voxelsize", "cras"))
    )
    affine = np.eye(4)
    affine[:3, :3] = np.stack(axes, axis=1) * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ (size / 2)
    return affine


def _parse_triple(name: str, volume: dict[str, str], key: str) -> Vector:
    values = parse_numbers(f"{name} volume info", key, volume.get(key, ""))
    if len(values) != 3:
        raise DataError(f"expected three numbers for {key} of {name}, found {len(values)}; is the file complete?")
    return values
