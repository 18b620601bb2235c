"""The folder of a run and the names of its files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from nephi.errors import DataError


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """All settings."""
        return self.path / "config.toml"

    @property
    def state(self) -> Path:
        """The state from which the run is resumed."""
        return self.path / "state.safetensors"

    @property
    def last(self) -> Path:
        """The model of the last checkpoint."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The model of the best validation."""
        return self.path / "best.safetensors"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Raise `DataError` for a folder that is not empty with neither option, or without a run to resume."""
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path}: expected a folder for the run, got a file")
        if resume:
            if not self.config.is_file():
                raise DataError(f"{self.path}: expected a run with a config.toml, got none; leave --resume out")
        elif self.path.is_dir() and any(self.path.iterdir()) and not overwrite:
            raise DataError(
                f"{self.path}: the folder is not empty; --resume continues its run, --overwrite starts a new one"
            )

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Create the folder, or delete the files of an earlier run in it unless the run is resumed.

        Raises `DataError` as `check`, and for a folder that cannot be written.
        """
        self.check(resume=resume, overwrite=overwrite)
        if resume:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # The state is deleted first: without it the other files cannot be resumed by mistake.
            for file in (self.state, self.last, self.best, self.config):
                file.unlink(missing_ok=True)
            for table in ("log.csv", "validation.csv"):
                (self.path / table).unlink(missing_ok=True)
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write the run: {error.strerror}") from None
