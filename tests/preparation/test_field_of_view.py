"""A small moving image inside a large fixed one, and vice versa."""

from __future__ import annotations

import warnings

import pytest
import torch

from nephi.errors import DataError, DataWarning
from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize import plan, register
from nephi.optimize.initial_alignment import require_overlap
from nephi.phantoms import PhantomPair
from nephi.preparation.field_of_view import choose_initial, limit_to_overlap
from nephi.preparation.pair import Pair, make_pair
from nephi.settings import Settings
from nephi.settings.registration import ImageSettings
from nephi.transforms import AffineTransform

CORNER = (20, 45)  # voxels
SIZE = 36


def cropped(image: Image, name: str) -> Image:
    affine = image.grid.affine.clone()
    affine[:-1, -1] = image.grid.voxel_to_world_points(torch.tensor(CORNER).double())
    data = image.data[CORNER[0] : CORNER[0] + SIZE, CORNER[1] : CORNER[1] + SIZE].clone()
    return Image(data, Grid((SIZE, SIZE), affine), name=name)


def pair_of(fixed: Image, moving: Image) -> Pair:
    return make_pair(fixed, moving, None, None, ImageSettings())


@pytest.mark.parametrize("small", ["fixed", "moving"])
def test_part_of_an_image_is_registered_from_its_header(small: str, shapes: PhantomPair, quick: Settings) -> None:
    images = {"fixed": shapes.fixed, "moving": shapes.moving}
    images[small] = cropped(images[small], f"{small}.nii")
    with pytest.warns(DataWarning, match=rf"{small}\.nii.*: one has 1[26] % of the other's volume"):
        result = register(images["fixed"], images["moving"], settings=quick)
    assert len(result.warnings) == 1
    points, targets = shapes.landmarks.fixed.coordinates, shapes.landmarks.moving.coordinates
    grid = images[small].grid
    voxels = grid.world_to_voxel_points(points if small == "fixed" else targets)
    inside = ((voxels > 2) & (voxels < SIZE - 3)).all(dim=-1)
    assert int(inside.sum()) > 15
    before = (points - targets)[inside].norm(dim=-1).mean()
    after = (result.transform(points) - targets)[inside].norm(dim=-1).mean()
    assert after < 0.35 * before


def test_explicit_initial_alignment_is_kept(shapes: PhantomPair, brief: Settings) -> None:
    small = cropped(shapes.moving, "m.nii")
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        register(shapes.fixed, small, settings=brief, initial="moments")
    assert not any("lies inside it according to the headers" in str(w.message) for w in issued)
    pair = pair_of(shapes.fixed, small)
    assert choose_initial(pair, "centers") == "centers"
    distant = pair_of(
        shapes.fixed,
        small.with_grid(small.grid.transformed(AffineTransform.translation(torch.tensor([500.0, 0])).matrix)),
    )
    assert choose_initial(distant, "moments") == "moments"
    assert choose_initial(pair_of(shapes.fixed, shapes.moving), "moments") == "moments"


def test_points_are_sampled_where_the_moving_image_lies(shapes: PhantomPair) -> None:
    pair = pair_of(shapes.fixed, cropped(shapes.moving, "m.nii"))
    identity = AffineTransform.identity(2)
    fraction = require_overlap(pair, identity, torch.Generator().manual_seed(0))
    assert fraction == pytest.approx((SIZE / 96) ** 2, abs=0.02)
    mask = limit_to_overlap(pair, identity, fraction).fixed_mask
    assert mask is not None
    world = mask.grid.voxel_centres()[mask.data > 0]
    voxels = pair.moving.grid.world_to_voxel_points(world)
    assert float(voxels.min()) > -0.12 * SIZE - 1 and float(voxels.max()) < 1.12 * SIZE + 1
    assert float(pair.moving.grid.contains_voxel_points(voxels).double().mean()) > 0.6
    assert limit_to_overlap(pair, identity, 0.5) is pair


def test_tiny_moving_image_inside_the_fixed_one_overlaps(shapes: PhantomPair) -> None:
    """The moving image covers 1 % of the fixed one; without any overlap both fractions are reported."""
    small = shapes.moving
    affine = small.grid.affine.clone()
    affine[:-1, -1] = small.grid.voxel_to_world_points(torch.tensor([40.0, 40.0]).double())
    tiny = Image(small.data[40:50, 40:50].clone(), Grid((10, 10), affine), name="tiny.nii")
    pair = pair_of(shapes.fixed, tiny)
    assert require_overlap(pair, AffineTransform.identity(2), torch.Generator()) < 0.02
    far = AffineTransform.translation(torch.tensor([500.0, 0.0]))
    with pytest.raises(DataError, match=r"0\.0 % of the fixed points .* 0\.0 % of the moving points"):
        require_overlap(pair, far, torch.Generator())


def test_plan_chooses_the_same_initial_alignment(shapes: PhantomPair, brief: Settings) -> None:
    with pytest.warns(DataWarning, match="lies inside it according to the headers"):
        plan(shapes.fixed, cropped(shapes.moving, "m.nii"), settings=brief)
