"""Validation of the folder and the images before results are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from nephi.errors import DataError
from nephi.images import Image
from nephi.io import check_output_file, real_path, recover_interrupted, replacing_files, require_perpendicular
from nephi.report import PAGE

OUTPUTS: Mapping[str, str] = MappingProxyType(
    {
        "transform": "transform.nephi",
        "warp": "warp.nii.gz",
        "inverse": "inverse_warp.nii.gz",
        "warped": "warped.nii.gz",
        "report": "report.json",
    }
)
"""The outputs of a registration, and their file names."""
# In the order in which they are moved to the folder: if report.json exists, all other files exist.
FILE_NAMES = (*(name for name in OUTPUTS.values() if name != OUTPUTS["report"]), PAGE, OUTPUTS["report"])


def check_output_folder(folder: Path, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Raise `DataError` unless results can be written to `folder`; to be called before a registration starts.

    None of the `inputs` may be a file that results replace or delete. Temporary files of killed processes are deleted
    from the folder.
    """
    recover_interrupted(folder)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise DataError(f"{folder}: expected a folder for the results, found a file")
    if os.path.isdir(folder) and any(folder.iterdir()) and not overwrite:
        advice = "choose another, or give --overwrite (Python: overwrite=True)"
        raise DataError(f"{folder}: the output folder is not empty; {advice}")
    paths = [folder / name for name in FILE_NAMES]
    for path in paths:
        if os.path.exists(path) and not os.path.isfile(path):
            raise DataError(f"{path}: expected a file or nothing, found a folder or device; move it to another folder")
        if path.is_symlink():
            check_output_file(path)  # the folder that the link names may not exist
    results = {real_path(path) for path in paths}
    for path in map(Path, inputs):
        if real_path(path) in results:
            raise DataError(f"{path}: is an input, and would be overwritten by a result; choose another output folder")
    with replacing_files(folder, ()):
        pass


def require_exportable(image: Image) -> None:
    """Raise `DataError` for an image with a sheared grid, on which no displacement field can be written."""
    require_perpendicular(image.grid, image.name, "a displacement field on its grid")
