"""Test the coordinates of charts against values computed by hand."""

import numpy as np
import pytest

from nephi.report.charts import HEIGHT, WIDTH, histogram, loss_chart, round_numbers, round_step, running_mean


def test_loss_chart_has_a_curve_for_each_level() -> None:
    history = [{"level": 0, "loss": 3.0}, {"level": 0, "loss": 1.0}, {"level": 2, "loss": 2.0}]
    chart = loss_chart(history)
    assert chart is not None
    first, second = chart.levels
    assert (first.number, first.steps, first.left, first.right) == (0, 2, 0, WIDTH / 2)
    assert (second.number, second.steps, second.left, second.right) == (2, 1, WIDTH, WIDTH)
    assert first.line == f"0.0,0.0 {WIDTH / 2:.1f},{HEIGHT:.1f}"
    assert (second.first, second.last) == (2.0, 2.0)
    assert [tick.label for tick in chart.y_ticks] == ["1", "1.5", "2", "2.5", "3"]
    assert [tick.position for tick in chart.y_ticks] == pytest.approx([HEIGHT * f for f in (1, 0.75, 0.5, 0.25, 0)])


def test_an_empty_history_has_no_chart() -> None:
    assert loss_chart([]) is None


def test_one_step_and_a_constant_loss() -> None:
    for count in (1, 5):
        chart = loss_chart([{"level": 0, "loss": 0.5}] * count)
        assert chart is not None and chart.levels[0].steps == count
        assert "nan" not in chart.levels[0].line


def test_running_mean_uses_fewer_values_at_the_ends() -> None:
    np.testing.assert_allclose(running_mean(np.array([0.0, 3.0, 6.0, 12.0]), 1), [1.5, 3.0, 7.0, 9.0])


def test_every_value_is_counted_once() -> None:
    values = [0.0, 0.4999, 0.5, 1.2, 5.99, 6.0]
    counts = histogram(values)
    assert counts.bars[0].high == 0.5
    assert sum(bar.count for bar in counts.bars) == len(values)
    for bar in counts.bars[:-1]:
        assert bar.count == sum(bar.low <= v < bar.high for v in values)
    assert counts.bars[-1].count == 2  # the last bar includes its upper end
    assert max(bar.height for bar in counts.bars) == HEIGHT
    assert counts.bars[-1].left + counts.bars[-1].width == pytest.approx(WIDTH)


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [3.0], [1e-12, 1e5]])
def test_histogram_of_extreme_values(values: list[float]) -> None:
    counts = histogram(values)
    assert sum(bar.count for bar in counts.bars) == len(values)


def test_round_numbers() -> None:
    assert round_numbers(0, 1, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert round_numbers(-0.31, 0.29, 5) == [-0.2, 0.0, 0.2]
    assert round_numbers(2.0, 2.0, 5) == [2.0]
    assert [round_step(v) for v in (0.011, 1.0, 2.1, 3.0, 70.0)] == [0.02, 1.0, 2.5, 5.0, 100.0]
