"""The log of a training: tables in CSV, and the same curves with figures for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nephi.errors import DataError


class CsvTable:
    """Rows appended to a CSV file, each of which is on the disk before anything later is written.

    `keep` is the length in bytes of the file when the state of a resumed run was saved: later rows are cut off, since
    the run writes them again. Raises `DataError` when the file is shorter than that.
    """

    def __init__(self, path: Path, keep: int) -> None:
        length = path.stat().st_size if path.exists() else 0
        if length < keep:
            raise DataError(
                f"{path}: expected the {keep} bytes it had when the state was saved, got {length}; "
                "restore it, or start a new run with --overwrite"
            )
        self._file = path.open("ab")
        self._file.truncate(keep)
        self._columns = path.read_text(encoding="utf-8").partition("\n")[0].split(",") if keep else []

    def add(self, row: Mapping[str, float | None]) -> None:
        """Append a row; the first one names the columns, missing values and None stay empty."""
        if not self._columns:
            self._columns = list(row)
            self._file.write((",".join(self._columns) + "\n").encode())
        cells = ["" if (value := row.get(name)) is None else f"{value:.9g}" for name in self._columns]
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()

    def length(self) -> int:
        """Return the number of bytes that are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TrainingLog:
    """`log.csv` (training), `validation.csv`, and the folder `tensorboard` of a run at step `step`."""

    TABLES = ("log", "validation")

    def __init__(self, folder: Path, lengths: Mapping[str, int], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._tables = {name: CsvTable(folder / f"{name}.csv", lengths.get(name, 0)) for name in self.TABLES}
        # Steps that a resumed run repeats are shown once.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def add(self, table: str, row: Mapping[str, float | None]) -> None:
        """Append a row with a column `step` to a table, and its values to the curves."""
        self._tables[table].add(row)
        group, step = "train" if table == "log" else table, row["step"]
        assert step is not None
        for name, value in row.items():
            if value is not None and name not in ("step", "seconds"):
                self._board.add_scalar(f"{group}/{name}", value, int(step))

    def add_picture(self, name: str, pixels: Tensor, step: int) -> None:
        """Add an image `(3, height, width)`, values from 0 to 1."""
        self._board.add_image(name, pixels.numpy(), step)

    def lengths(self) -> dict[str, int]:
        """Return the number of bytes of each table that are on the disk."""
        self._board.flush()
        return {name: table.length() for name, table in self._tables.items()}

    def close(self) -> None:
        """Close all files."""
        for table in self._tables.values():
            table.close()
        self._board.close()
