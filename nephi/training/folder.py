"""The folder of a run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from nephi.errors import DataError


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run are."""

    path: Path

    @property
    def config(self) -> Path:
        """The full settings."""
        return self.path / "config.toml"

    @property
    def state(self) -> Path:
        """What is needed to go on."""
        return self.path / "state.safetensors"

    @property
    def last(self) -> Path:
        """The model of the last checkpoint."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The model of the best validation."""
        return self.path / "best.safetensors"

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder, or take what an older run left out of it, unless that is to be resumed.

        Raises `DataError` when it holds something and neither is wanted, or when there is nothing to resume.
        """
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path}: expected a folder for the run, found a file")
        if resume:
            if not self.config.is_file():
                raise DataError(f"{self.path}: expected a run to resume, found no config.toml; leave --resume out")
            return
        if self.path.is_dir() and any(self.path.iterdir()) and not overwrite:
            raise DataError(
                f"{self.path}: the folder is not empty; --resume goes on with its run, --overwrite starts anew"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # The state goes first: without it nothing that is left can be resumed by mistake.
            for file in (self.state, self.last, self.best, self.config):
                file.unlink(missing_ok=True)
            for table in ("log.csv", "validation.csv"):
                (self.path / table).unlink(missing_ok=True)
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write the run there: {error.strerror}") from None
