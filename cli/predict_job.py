"""What `nephi predict` does with every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .journal import Journal, Row
from .point_options import read_landmarks
from .predict_summary import failed_row, finished_row, named, row_of_report

if TYPE_CHECKING:
    from nephi import Image, Settings
    from nephi.datasets import PairFiles
    from nephi.inference import Refinement
    from nephi.models import StoredModel


@dataclass(frozen=True)
class Job:
    """A model, how its predictions are refined, and which results are written, as `command` asked for."""

    model: StoredModel
    settings: Settings
    refinement: Refinement
    seed: int
    device: str
    frame: str
    save: tuple[str, ...]
    command: str
    journal: Journal

    @cached_property
    def about(self) -> dict[str, Any]:
        """What a report has to say for its result to be one of this job."""
        import nephi

        return {
            "model": nephi.inference.model_digest(self.model),
            "refinement": vars(self.refinement),
            "settings_digest": nephi.inference.settings_digest(self.settings, self.refinement),
            "seed": self.seed,
        }

    def row(self, case: PairFiles, folder: Path, overwrite: bool) -> Row:
        """Register a pair, unless its result is there; return what was measured, or what went wrong."""
        import nephi

        try:
            if not overwrite and (row := finished_row(case, folder, self.save, self.about)) is not None:
                return row
            return self._registered(case, folder)
        except nephi.DataError as error:
            return failed_row(case, str(error))
        except OSError as error:
            return failed_row(case, f"{error.filename or 'system'}: {error.strerror or error}")
        except MemoryError:
            return failed_row(case, "not enough memory")
        except nephi.NephiError:  # the call is wrong, for all pairs
            raise
        except Exception as error:  # a fault of nephi's own, or of a library: it costs this pair, too
            return failed_row(case, f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}")

    def kept(self, case: PairFiles, folder: Path) -> Row | None:
        """Return the row of a pair that an interruption left to an earlier call."""
        import nephi

        try:
            return finished_row(case, folder, self.save, self.about)
        except nephi.DataError:
            return None

    def _registered(self, case: PairFiles, folder: Path) -> Row:
        import nephi

        def step(text: str) -> None:
            self.journal.begin(named(case), text)

        images = [_read_image(path, step) for path in (case.fixed, case.moving)]
        for image in images:
            nephi.results.require_exportable(image)
        if case.landmarks is not None:
            step(f"reading {case.landmarks}")
        landmarks, labels = read_landmarks(case.landmarks, self.frame, images), _labels(case, step)
        step("reading the masks or registering")
        result = nephi.predict(
            images[0],
            images[1],
            model=self.model,
            settings=self.settings,
            fixed_mask=case.fixed_mask,
            moving_mask=case.moving_mask,
            refinement=self.refinement,
            seed=self.seed,
            device=self.device,
        )
        page = None
        if "page" in self.save:
            page = partial(nephi.report.page_html, result, command=self.command, landmarks=landmarks)
        step(f"writing {folder}")
        report = result.save(folder, True, landmarks, [name for name in self.save if name != "page"], labels, page)
        return row_of_report(case, report)


def _labels(case: PairFiles, step: Callable[[str], None]) -> tuple[Image, Image] | None:
    if case.fixed_labels is None or case.moving_labels is None:
        return None
    return _read_image(case.fixed_labels, step), _read_image(case.moving_labels, step)


def _read_image(path: Path, step: Callable[[str], None]) -> Image:
    import nephi

    step(f"reading {path}")
    return nephi.read_image(path)
