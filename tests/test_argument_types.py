"""Arguments of wrong types end in nephi's own errors: of every public function, constructor and setting."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nephi
from nephi import Grid, Image, NephiError, UsageError
from nephi.argument_types import checked, described, matches

WRONG: tuple[Any, ...] = (
    *(None, {}, {"fixed": 1}, "no such file", b"bytes", 0, -1.5, float("nan"), True, 1j, object(), [], [None], ["x"]),
    *(np.zeros(3), np.array([None, {}]), np.array([[1j]]), np.zeros((2, 2), bool), np.zeros(()), np.array("text")),
    *(torch.zeros(3, dtype=torch.float32), torch.zeros(2, 2, dtype=torch.complex64), Ellipsis),
)
GRID = Grid.from_spacing((4, 5), (1.0, 2.0))
IMAGE = Image(torch.ones(4, 5, dtype=torch.uint8), GRID)  # constant: nothing is registered by mistake
POINTS = [[1.0, 2.0], [2.0, 3.0]]
# Valid arguments, so that each one is replaced by a wrong value in turn.
VALID: dict[str, Any] = {
    "fixed": IMAGE,
    "moving": IMAGE,
    "transform": nephi.AffineTransform.identity(2),
    "transforms": [nephi.AffineTransform.identity(2)],
    "image": IMAGE,
    "reference": GRID,
    "grid": GRID,
    "pairs": (POINTS, POINTS),
    "points": POINTS,
    "coordinates": POINTS,
    "matrix": torch.eye(3, dtype=torch.float64),
    "affine": torch.eye(3, dtype=torch.float64),
    "displacement": torch.zeros(4, 5, 2, dtype=torch.float32),
    "shape": (4, 5),
    "data": torch.zeros(4, 5, dtype=torch.uint8),
    "name": "generic",
    "base": "generic",
    "model": "none.safetensors",
}
CLASSES = ("Grid", "Image", "Points", "PointPairs", "AffineTransform", "DisplacementField", "Composite", "Viewer")


def public_calls() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every public function, constructor, and alternative constructor, by name."""
    for name in sorted(nephi.__all__):
        value = getattr(nephi, name)
        if inspect.isfunction(value) or name in CLASSES:
            yield name, value
    for name in ("from_numpy", "from_sitk", "from_nibabel", "from_ants"):
        yield f"Image.{name}", getattr(Image, name)
    yield "Grid.from_spacing", Grid.from_spacing
    yield "PointPairs.from_coordinates", nephi.PointPairs.from_coordinates


CALLS = dict(public_calls())
# A path of the text "no such file" may be written.
WRITERS = {"write_image", "write_points", "write_point_pairs", "export_transform", "write_report", "train"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CALLS))
def test_wrong_types_end_in_errors_of_nephi(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = CALLS[name]
    parameters = inspect.signature(call).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    valid: dict[str, Any] = {each: VALID.get(each, tmp_path / "none.nii") for each in required}
    valid |= {"fixed": POINTS, "moving": POINTS} if name.startswith("PointPairs") else {}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        for wrong in WRONG:
            try:
                call(**{**valid, parameter.name: wrong})
            except NephiError as error:
                assert str(error)
            except Exception as error:
                pytest.fail(f"{name}({parameter.name}={wrong!r}) raised {type(error).__name__}: {error}")


@pytest.mark.parametrize("name", sorted(CALLS))
def test_unknown_and_missing_arguments(name: str) -> None:
    function = inspect.unwrap(CALLS[name])
    if inspect.isfunction(CALLS[name]) and CALLS[name] is not function and name != "preset_names":
        with pytest.raises(UsageError, match=r"unknown argument 'simularity'; expected|simularity: unknown option"):
            CALLS[name](simularity="mse")


def settings_classes() -> list[type]:
    """Return the classes of the settings of registrations."""
    settings = [each for each in vars(nephi.settings).values() if dataclasses.is_dataclass(each)]
    return sorted((each for each in settings if isinstance(each, type)), key=lambda each: each.__name__)


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_settings_of_wrong_types(kind: type) -> None:
    if kind.__name__ == "PresetFiles":
        return
    default = kind()
    for field in dataclasses.fields(kind):
        for wrong in WRONG:
            try:
                dataclasses.replace(default, **{field.name: wrong})  # type: ignore[type-var]
            except NephiError as error:
                assert str(error)
    with pytest.raises(UsageError, match="unknown argument 'simularity'; expected "):
        kind(simularity=1)


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, (1, np.int64(2)), (1.0, True, "1", None)),
        (float, (1, 1.5, np.float32(2)), (True, "1", 1j, np.zeros(2))),
        (bool, (True, np.bool_(False)), (1, None)),
        (str | Path, ("a", Path("a")), (b"a", 1)),
        (str | None, ("a", None), (0,)),
        (Sequence[float], ([1, 2.5], (1,), np.zeros(2), []), ("ab", 1.0, {1: 2}, ["a"], np.zeros(()))),
        (tuple[int, str], ((1, "a"), [1, "a"]), ((1,), ("a", 1), "ab")),
        (tuple[float, ...], ((), (1, 2)), (1, ("a",))),
        (Mapping[str, int], ({"a": 1},), ([("a", 1)], "a")),
        (Callable[[int], int], (abs, int), (1, "abs")),
        (Literal["a", "b"], ("a",), ("c", 1)),
        (Grid, (GRID,), (IMAGE, None)),
        (nephi.inference.Refinement, (nephi.inference.Refinement(),), ({},)),
    ],
)
def test_matches(hint: Any, right: tuple[Any, ...], wrong: tuple[Any, ...]) -> None:
    assert all(matches(value, hint) for value in right)
    assert not any(matches(value, hint) for value in wrong)


@given(st.one_of(st.none(), st.booleans(), st.text(), st.binary(), st.complex_numbers(), st.lists(st.text())))
def test_only_whole_numbers_are_accepted(value: Any) -> None:
    @checked
    def function(count: int) -> int:
        return count

    with pytest.raises(UsageError, match="count: expected a whole number, got "):
        function(value)
    assert function(3) == 3


def test_descriptions() -> None:
    assert described(str | Path | None) == "a path or None"
    assert described(Sequence[float]) == "a list (a number each)"
    assert described(Grid) == "nephi.Grid"
    assert described(tuple[float, float]) == "(a number, a number)"
    points = "nephi.Points or a path or torch.Tensor or an array"
    assert described(nephi.io.PointPairsLike) == f"nephi.PointPairs or a path or ({points}, {points})"
