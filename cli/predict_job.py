"""Registration of one pair of `nephi predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nephi.errors import is_out_of_memory

from .point_options import read_landmarks
from .predict_summary import failed_row, finished_row, pair_cells, row_of_report
from .register_methods import PredictionMethod, save_results
from .supervision import Journal, Row

if TYPE_CHECKING:
    from nephi import Image, Settings
    from nephi.datasets import PairFiles
    from nephi.inference import Refinement
    from nephi.models import StoredModel


@dataclass(frozen=True)
class Job:
    """A model, the refinement or the alignments of its predictions, and the results to write.

    `command_line` is shown on report pages.
    """

    model: StoredModel
    settings: Settings
    refinement: Refinement
    align: tuple[str, ...]
    seed: int
    device: str
    frame: str
    save: tuple[str, ...]
    command_line: str
    journal: Journal

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Entries of report.json that are equal in all results of the same job."""
        import nephi

        return {
            "model": nephi.inference.model_digest(self.model),
            "refinement": self.refinement.table(),
            "settings_digest": nephi.inference.settings_digest(self.settings, self.refinement),
            "seed": self.seed,
            "aligned": list(self.align) or None,
        }

    def register(self, case: PairFiles, folder: Path, overwrite: bool) -> Row:
        """Register a pair, unless its results exist; return the row of its measures, or of its error."""
        import nephi

        try:
            if not overwrite and (row := finished_row(case, folder, self.save, self.provenance)) is not None:
                return row
            return self._predict(case, folder)
        except nephi.DataError as error:
            return failed_row(case, str(error))
        except OSError as error:
            return failed_row(case, f"{error.filename or 'system'}: {error.strerror or error}")
        except nephi.NephiError:  # wrong usage, for all pairs
            raise
        except Exception as error:  # a bug of nephi or of a library: it costs only this pair, too
            if is_out_of_memory(error):
                return failed_row(case, "not enough memory")
            return failed_row(case, f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}")

    def existing_row(self, case: PairFiles, folder: Path) -> Row | None:
        """Return the row of results written by an earlier call, None without valid ones."""
        import nephi

        try:
            return finished_row(case, folder, self.save, self.provenance)
        except nephi.DataError:
            return None

    def _predict(self, case: PairFiles, folder: Path) -> Row:
        import nephi

        def begin(step: str) -> None:
            self.journal.begin(pair_cells(case), step)

        images = [_read_image(path, begin) for path in (case.fixed, case.moving)]
        for image in images:
            nephi.results.require_exportable(image)
        if case.landmarks is not None:
            begin(f"reading {case.landmarks}")
        landmarks, labels = read_landmarks(case.landmarks, self.frame, images), _read_labels(case, begin)
        begin("reading the masks or registering")
        method = PredictionMethod(self.settings, "", self.model, self.refinement, self.align)
        masks = {"fixed_mask": case.fixed_mask, "moving_mask": case.moving_mask}
        channels = [[image] for image in images]
        results = method.run(channels, self.seed, nephi.runtime.ignore_progress, device=self.device, **masks)
        begin(f"writing {folder}")
        report = save_results(results, folder, self.save, self.command_line, landmarks, labels)
        return row_of_report(case, report)


def _read_labels(case: PairFiles, begin: Callable[[str], None]) -> tuple[Image, Image] | None:
    if case.fixed_labels is None or case.moving_labels is None:
        return None
    return _read_image(case.fixed_labels, begin), _read_image(case.moving_labels, begin)


def _read_image(path: Path, begin: Callable[[str], None]) -> Image:
    import nephi

    begin(f"reading {path}")
    return nephi.read_image(path)
