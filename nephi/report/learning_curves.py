"""The learning curves of several trainings in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
Rows = Sequence[Mapping[str, float]]

PANELS = {
    "dice": "Dice",
    "tre_mm": "TRE, mm",
    "folding_percent": "det J <= 0, %",
    "inverse_error_mm": "inverse error, mm",
}
LOGARITHMIC = ("folding_percent", "inverse_error_mm")
FLOOR = {"folding_percent": 1e-4, "inverse_error_mm": 1e-4}  # below it the axis is linear
INCHES = (4.2, 3.2)  # of a panel
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")  # Okabe and Ito
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class TrainingCurve:
    """The tables of a training: rows of its log and of its validations, each with a `step`; the log has `seconds`."""

    log: Rows
    validation: Rows

    def minutes(self, steps: Values) -> Values:
        """Return the training time at these steps, minutes; validations and checkpoints are not part of it."""
        done = [0.0, *(row["step"] for row in self.log)]
        seconds = [0.0, *(row["seconds"] for row in self.log)]
        return np.interp(steps, done, seconds) / 60


def learning_curves(trainings: Mapping[str, TrainingCurve]) -> Figure | None:
    """Return a figure of the validation measures against the minutes of training; None where no training has any.

    It has a panel for each measure of Dice, TRE, folds and inverse error that a validation holds, and a curve for each
    training in the order of `trainings`, which are named in its legend.
    """
    names = [name for name in PANELS if any(name in row for t in trainings.values() for row in t.validation)]
    if not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCHES[0] * len(names), INCHES[1] + 0.25 * -(-len(trainings) // 5)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw(axes, name, trainings)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _draw(axes: Axes, name: str, trainings: Mapping[str, TrainingCurve]) -> None:
    """Draw a measure of all trainings; one without it gets an empty curve, for the legend."""
    for number, (training, curve) in enumerate(trainings.items()):
        rows = [row for row in curve.validation if name in row]
        minutes = curve.minutes(np.array([row["step"] for row in rows], dtype=np.float64))
        style = LINES[number // len(COLOURS) % len(LINES)]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(minutes, [row[name] for row in rows], style, color=colour, label=training, linewidth=1.3)
    axes.set(title=PANELS[name], xlabel="minutes of training")
    if name in LOGARITHMIC:
        axes.set_yscale("symlog", linthresh=FLOOR[name])
        axes.set_ylim(0, max(axes.get_ylim()[1], 10 * FLOOR[name]))
    axes.grid(True, linewidth=0.3)
