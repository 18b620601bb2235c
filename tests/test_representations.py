"""Short texts and HTML of objects: no tensors, no long lines; pictures that show what they should."""

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pillow

import nephi
from nephi import AffineTransform, Composite, DisplacementField, Grid, Image, PointPairs, Points
from nephi.images.notebook import middle_plane, png_uri, voxel_axes
from nephi.metrics import LandmarkErrors
from nephi.metrics.regularity import Regularity

GRID = Grid.from_spacing((4, 5, 6), (1.5, 2.0, 0.7), (10.0, -20.0, 30.0))
IMAGE = Image(torch.zeros(4, 5, 6, dtype=torch.int16), GRID, name="a<b>.nii")
POINTS = Points(np.zeros((3, 3)))  # type: ignore[arg-type]


def objects() -> dict[str, Any]:
    affine = AffineTransform.translation([1.0, 2.5, -3.0])
    field = DisplacementField(torch.zeros(4, 5, 6, 3, dtype=torch.float32), GRID)
    errors = LandmarkErrors(torch.tensor([1.0, 2.0]).double(), torch.tensor([0.5, 1.0]).double())
    evaluation = nephi.metrics.Evaluation(
        landmarks=errors,
        dice={1: 0.75, 2: 0.5},
        dice_before={1: 0.5, 2: 0.25},
        label_names={1: "<liver>"},
        regularity=Regularity(0.25, 0.1, -0.5, 120),
        inverse_consistency=0.0123,
    )
    all_of = [GRID, IMAGE, POINTS, PointPairs(POINTS, POINTS), affine, field, Composite([affine, field]), errors]
    return {type(each).__name__: each for each in [*all_of, nephi.invert(field), evaluation]}


EXPECTED = {
    "Grid": "Grid((4, 5, 6) voxels of (1.5, 2, 0.7) mm, origin (10, -20, 30) mm RAS)",
    "Image": "Image('a<b>.nii', int16, Grid((4, 5, 6) voxels of (1.5, 2, 0.7) mm, origin (10, -20, 30) mm RAS))",
    "Points": "Points(3 points, 3-D, mm RAS)",
    "PointPairs": "PointPairs(3 pairs, 3-D, mm RAS)",
    "AffineTransform": "AffineTransform(1 0 0 1; 0 1 0 2.5; 0 0 1 -3; mm RAS)",
    "LandmarkErrors": "LandmarkErrors(2 landmarks: 0.750 mm, at most 1.000; 1.500 before)",
    "NumericalInverse": "NumericalInverse(3-D)",
}


@pytest.mark.parametrize("name", sorted(objects()))
def test_texts_are_short(name: str) -> None:
    text = repr(objects()[name])
    assert "tensor(" not in text and len(text.splitlines()) <= 10
    assert max(map(len, text.splitlines())) <= 240
    assert text.startswith(name) and EXPECTED.get(name, text) == text


def test_a_registration_and_its_parts() -> None:
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    levels = [{"steps": 2}]
    result = nephi.register(pair.fixed, pair.moving, levels=levels)
    for value in (result, result.pair, result.stored, result.transform, result.inverse, pair, result.settings):
        assert "tensor(" not in repr(value)
    assert re.match(r"Registration\(deformable, 2 steps, [\d.]+ CPU s, seed 0.*\)\n  fixed: Image\('", repr(result))
    assert len(repr(result).splitlines()) == 3


def test_html_of_an_evaluation() -> None:
    evaluation = objects()["Evaluation"]
    html = evaluation._repr_html_()
    assert "0.750 mm (1.500 before, 2 landmarks)" in html and "Dice, label 1, &lt;liver&gt;" in html
    assert "0.7500 (0.5000 before)" in html and "0.2500 % of 120 points" in html and "<liver>" not in html
    many = replace(evaluation, dice={i: 0.5 for i in range(1, 30)})
    assert "and 17 further labels" in many._repr_html_()
    assert nephi.metrics.Evaluation()._repr_html_().startswith("<table")


def picture(uri: str) -> np.ndarray[Any, Any]:
    """Decode a picture in a `data:` address."""
    return np.asarray(pillow.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_png() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)
    assert np.array_equal(picture(png_uri(grey)), grey)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_planes_show_the_patients_right_on_the_left(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """Voxels hold their own world coordinate x (then y): it falls from left to right (top to bottom)."""
    affine = torch.zeros(4, 4, dtype=torch.float64)
    for voxel, world in enumerate(order):
        affine[world, voxel] = signs[voxel] * (1.0 + voxel)
    affine[0, 1] += 0.05  # slightly sheared
    affine[3, 3] = 1
    grid = Grid((4, 5, 6), affine)
    axes = voxel_axes(grid)
    assert [order[axis] for axis in axes] == [0, 1, 2]
    world = grid.voxel_centres().double()
    for right, down in ((0, 1), (0, 2), (1, 2)):
        columns = middle_plane(world[..., right], grid, axes, right, down)
        rows = middle_plane(world[..., down], grid, axes, right, down)
        assert columns.shape == (grid.shape[axes[down]], grid.shape[axes[right]])
        assert (np.diff(columns, axis=1) < 0).all() and (np.diff(rows, axis=0) < 0).all()


def test_html_of_images() -> None:
    html = IMAGE._repr_html_()
    assert html.count("<img ") == 3 and "a&lt;b&gt;.nii" in html and "4 x 5 x 6, int16" in html
    sizes = [(int(w), int(h)) for w, h in re.findall(r"width: (\d+)px; height: (\d+)px", html)]
    assert sizes == [(96, 160), (96, 67), (160, 67)]  # edges of 6, 10 and 4.2 mm
    for voxels in (torch.full((3, 4), torch.nan), torch.rand(3, 4) > 0.5, torch.tensor([[1.0, torch.inf]])):
        grid = Grid.from_spacing(voxels.shape, (1.0, 1.0))
        assert Image(voxels, grid)._repr_html_().count("<img ") == 1
    large = Image(torch.zeros(400, 3, dtype=torch.uint8), Grid.from_spacing((400, 3), (1.0, 1.0)))
    assert picture(re.findall(r'src="([^"]+)"', large._repr_html_())[0]).shape == (3, 134)
