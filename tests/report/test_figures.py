"""Test figures and the notebook's HTML: content, position and orientation."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import nephi
from nephi.errors import UsageError
from nephi.images import Image
from nephi.phantoms import PhantomPair
from nephi.report import notebook_html, overlay
from nephi.report.figures import pictures_at
from nephi.report.pictures import sample_pictures
from nephi.report.planes import plane_through
from nephi.results import Registration


def test_pictures_after_registration_show_the_warped_image(fitted: Registration, lungs: PhantomPair) -> None:
    """The page's pictures agree with the result of `warp` up to the interpolation of voxels."""
    grid = fitted.pair.fixed.grid
    low, high = fitted.pair.moving_window
    warped = fitted.warp(lungs.moving)
    centres = grid.voxel_centres()[20:24, 18, 20]
    for centre, value in zip(centres, warped.data[20:24, 18, 20], strict=True):
        for pictures in pictures_at(fitted, centre.tolist(), 400):
            column, row = pictures.planes.pixels(centre).round().long().tolist()
            grey = 255 * min(max((float(value) - low) / (high - low), 0), 1)
            neighbours = pictures.after[0, row - 1 : row + 2, column - 1 : column + 2].astype(float)
            assert neighbours.min() - 12 <= grey <= neighbours.max() + 12


def test_pictures_are_empty_outside_of_the_fixed_grid(fitted: Registration) -> None:
    for planes in plane_through(fitted.pair.fixed.grid, 100, fitted.pair.fixed.grid.centre_world()):
        pictures = sample_pictures(fitted, planes, 20.0)
        outside = np.isnan(pictures.determinants[0])
        voxels = fitted.pair.fixed.grid.world_to_voxel_points(planes.points(0))
        np.testing.assert_array_equal(~outside, fitted.pair.fixed.grid.contains_voxel_points(voxels).numpy())
        for layer in (pictures.fixed, pictures.before, pictures.after, pictures.grid_lines):
            assert not layer[0][outside].any()


def test_determinants_are_those_of_the_transform(fitted: Registration) -> None:
    planes = plane_through(fitted.pair.fixed.grid, 60, fitted.pair.fixed.grid.centre_world())[1]
    pictures = sample_pictures(fitted, planes, 20.0)
    _, jacobian = fitted.transform.value_and_jacobian(planes.points(0))
    inside = ~np.isnan(pictures.determinants[0])
    np.testing.assert_allclose(pictures.determinants[0][inside], torch.linalg.det(jacobian).numpy()[inside], rtol=1e-4)
    assert pictures.folds == [int((pictures.determinants[0][inside] <= 0).sum())]


def test_orientation_of_pictures_is_radiological(flat_affine: Registration) -> None:
    """What is bright on the patient's right (x > 0), on an oblique, left-handed grid, is bright at the left."""
    grid = flat_affine.pair.fixed.grid
    centre = grid.centre_world()
    bright = (grid.voxel_centres().double()[..., 0] > centre[0]).float() * 100
    pair = replace(flat_affine.pair, fixed=Image(bright, grid), fixed_window=(0.0, 100.0))
    (planes,) = plane_through(grid, 200, centre)
    shown = sample_pictures(replace(flat_affine, pair=pair), planes, 20.0).fixed[0]
    row = shown[planes.height // 2]
    half = planes.width // 2
    assert row[:half].mean() > 150 and row[half:].mean() < 5


@pytest.mark.parametrize("kind", ["checkerboard", "difference"])
def test_overlay_draws_every_view_before_and_after(kind: str, fitted: Registration, flat_affine: Registration) -> None:
    for registration, views in ((fitted, 3), (flat_affine, 1)):
        figure = overlay(registration, kind=kind)
        figure.canvas.draw()
        assert len(figure.axes) == 2 * views
        titles = [axes.get_title() for axes in figure.axes]
        assert sum(title.endswith("before") for title in titles) == sum(t.endswith("after") for t in titles) == views
        letters = [text.get_text() for text in figure.axes[0].texts]
        assert sorted(letters) == ["A", "L", "P", "R"]


def test_overlay_shows_a_smaller_difference_after_registration(fitted: Registration) -> None:
    before, after = (
        np.mean([axes.images[0].get_array().mean() for axes in overlay(fitted, kind="difference").axes[i : i + 3]])
        for i in (0, 3)
    )
    assert after < 0.7 * before


def test_overlay_through_a_point(fitted: Registration) -> None:
    centre = fitted.pair.fixed.grid.centre_world() + 5
    titles = [axes.get_title() for axes in overlay(fitted, centre.tolist()).axes[:3]]
    assert titles == [
        f"{name}, {axis} = {centre[i]:.1f} mm, before"
        for name, axis, i in (("axial", "z", 2), ("coronal", "y", 1), ("sagittal", "x", 0))
    ]


def test_overlay_refuses_unknown_kinds_and_wrong_positions(fitted: Registration) -> None:
    with pytest.raises(UsageError, match="checkerboard, difference"):
        overlay(fitted, kind="flicker")
    with pytest.raises(UsageError, match="3 coordinates"):
        overlay(fitted, [0.0, 0.0])


def test_notebook_html_is_self_contained_and_escaped(fitted: Registration, flat: PhantomPair) -> None:
    html = notebook_html(fitted)
    assert html.count("data:image/jpeg;base64,") == 6
    assert "http" not in html and "<script" not in html
    named = replace(flat.fixed, name="<b>fixed</b>")
    result = nephi.register(named, flat.moving, settings=replace(nephi.preset("generic"), transform="rigid"))
    assert isinstance(result, nephi.Registration) and isinstance(result, Registration)
    assert "&lt;b&gt;fixed&lt;/b&gt;" in result._repr_html_()


def test_the_page_loads_no_matplotlib(fitted: Registration) -> None:
    """Importing it takes 0.4 s and 30 MB, and only `overlay` needs it."""
    code = """
import dataclasses, sys, tempfile, nephi
pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
settings = dataclasses.replace(nephi.preset("generic"), transform="rigid")
with tempfile.TemporaryDirectory() as folder:
    result = nephi.register(pair.fixed, pair.moving, settings=settings)
    result.save(folder)
    nephi.write_report(result, folder)
print("matplotlib" in sys.modules, "jinja2" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
