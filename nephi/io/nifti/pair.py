"""NIfTI and Analyze images in two files, `.hdr` (the header) and `.img` (the voxels), each of which may be gzipped."""

from __future__ import annotations

import os
from pathlib import Path

from nephi.errors import DataError
from nephi.io.files.gzipped import Content, content_of
from nephi.io.files.input_files import require_file, suffix_of


def pair_of(path: Path) -> tuple[Content, Content]:
    """Return header file and voxel file of the pair to which `path` belongs.

    Raises `DataError` naming the one that is missing.
    """
    require_file(path)
    stem = path.name[: -len(suffix_of(path))]
    is_header = suffix_of(path).startswith(".hdr")
    other = ".img" if is_header else ".hdr"
    names = [stem + suffix for lower in (other, other + ".gz") for suffix in (lower, lower.upper())]
    partner = next((path.with_name(name) for name in names if os.path.exists(path.with_name(name))), None)
    if partner is None:
        missing = "voxels" if is_header else "header"
        raise DataError(f"{path}: expected its {missing} in {names[0]} or {names[2]} beside it, found neither")
    files = (path, partner) if is_header else (partner, path)
    return content_of(files[0]), content_of(files[1])
