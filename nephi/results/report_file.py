"""Read the measures in the JSON files that `nephi register` and `nephi evaluate --json` write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nephi.documents import read_json
from nephi.errors import DataError

REPORT_KEYS = frozenset({"affine_matrix_ras", "settings", "usage"})
MEASURE_KEYS = frozenset({"tre_mm", "dice", "surface_mm", "regularity", "inverse_consistency_mm"})


def read_report(path: str | Path) -> dict[str, Any]:
    """Read the report of a registration (`report.json`), or the measures of `nephi evaluate --json`.

    docs/reference/files.md lists the keys; their values are not validated. Raises `DataError` naming the file when it
    is missing, damaged, or other JSON.
    """
    path = Path(path)
    table = read_json(path, "the report of a registration or of nephi evaluate")
    if not isinstance(table, dict) or not (table.keys() >= REPORT_KEYS or table.keys() & MEASURE_KEYS):
        raise DataError(f"{path}: expected the report of a registration or of nephi evaluate, found other JSON")
    return table
