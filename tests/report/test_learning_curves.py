"""The figure of learning curves: its panels, and the values in them."""

from __future__ import annotations

import numpy as np

from nephi.report.learning_curves import TrainingCurve, learning_curves

LOG = [{"step": 10.0, "seconds": 60.0}, {"step": 20.0, "seconds": 180.0}]


def test_validations_are_drawn_against_minutes() -> None:
    rows = [{"step": step, "dice": 0.5 + step / 100, "folding_percent": 0.0} for step in (0.0, 5.0, 20.0)]
    figure = learning_curves({"one": TrainingCurve(LOG, rows), "untrained": TrainingCurve([], [])})
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["Dice", "det J <= 0, %"]
    line = figure.axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), [0.0, 0.5, 3.0])
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.55, 0.7])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "untrained"]


def test_without_validations_there_is_no_figure() -> None:
    assert learning_curves({"one": TrainingCurve(LOG, [])}) is None
