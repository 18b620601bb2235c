"""The plan agrees with the registration."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nephi.errors import DataError
from nephi.images import Pyramid
from nephi.io import write_image
from nephi.optimize import plan, register
from nephi.optimize import planning as planning_module
from nephi.phantoms import PhantomPair, lung_phantom
from nephi.preparation.pair import make_pair
from nephi.settings import Settings, bounded_detail

Change = Callable[..., Settings]


def test_plan_agrees_with_the_registration(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    settings = changed(brief, length_unit=0.0)
    planned = plan(shapes.fixed, shapes.moving, settings=settings, fixed_mask=shapes.fixed_mask)
    result = register(shapes.fixed, shapes.moving, settings=settings, fixed_mask=shapes.fixed_mask)
    assert planned.settings == result.settings and planned.settings.length_unit == 1
    assert (planned.fixed.window, planned.moving.window) == (result.pair.fixed_window, result.pair.moving_window)
    assert planned.fixed.mask_voxels == int((shapes.fixed_mask.data > 0).sum()) and planned.moving.mask_voxels is None
    pair = result.stored.steps[0].pair
    assert planned.parameters == sum(p.numel() for p in pair.parameters())
    cells = pair.forward_field.encoding.cells_by_level
    assert [list(lattice) for lattice in planned.lattices] == (cells + 1).tolist()
    assert [level.settings for level in planned.levels] == list(result.settings.levels)


@pytest.mark.parametrize("limit", [10**9, 1000])
def test_levels_have_the_shapes_of_the_sampled_images(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Including images that are downsampled (those above `limit` voxels)."""
    monkeypatch.setattr("nephi.images.pyramid.LARGE", limit)
    pair = lung_phantom(seed=1, motion=15.0, shape=(40, 33, 36))
    for name in ("lung-ct", "brain-mri", "generic"):
        planned = plan(pair.fixed, pair.moving, preset=name)
        expected = make_pair(pair.fixed, pair.moving, None, None, planned.settings.image, planned.settings.detail)
        for level in planned.levels:
            for pyramid, shape in (
                (expected.fixed_levels, level.fixed_shape),
                (expected.moving_levels, level.moving_shape),
            ):
                spacing = level.settings.spacing if planned.settings.objective.radius else 0.0
                assert isinstance(pyramid, Pyramid)
                assert tuple(pyramid.sampler(level.settings.smoothing, spacing).image.data.shape) == shape


def test_plan_states_the_detail_length(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    settings = changed(brief, length_unit=0.0, detail_unit=2.0)
    planned = plan(shapes.fixed, shapes.moving, settings=settings, fixed_mask=shapes.fixed_mask)
    exchanged = plan(shapes.moving, shapes.fixed, settings=settings, moving_mask=shapes.fixed_mask)
    assert 0 < planned.detail_length == exchanged.detail_length
    assert planned.detail_unit == 2 * bounded_detail(planned.detail_length, shapes.fixed.grid)
    assert [v.spacing for v in planned.settings.levels] == [planned.detail_unit * v.spacing for v in settings.levels]
    result = register(shapes.fixed, shapes.moving, settings=settings, fixed_mask=shapes.fixed_mask)
    assert result.settings == planned.settings and "detail_unit" not in result.stored.settings
    assert plan(shapes.fixed, shapes.moving, settings=brief).detail_length == 0


def test_plan_without_deformation(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    planned = plan(shapes.fixed, shapes.moving, settings=changed(brief, transform="rigid"))
    assert (planned.levels, planned.lattices, planned.parameters) == ((), (), 0)


def test_the_kind_of_map_is_that_of_the_transform(shapes: PhantomPair, brief: Settings) -> None:
    """Also where the deformable registration fits no global map."""
    settings = replace(brief, transform="rigid", affine=replace(brief.affine, kind="none", initial="none"))
    planned = plan(shapes.fixed, shapes.moving, settings=settings)
    result = register(shapes.fixed, shapes.moving, settings=settings)
    assert planned.settings.affine.kind == result.settings.affine.kind == "rigid"
    linear = result.stored.affine.matrix[:2, :2]
    assert not torch.equal(linear, torch.eye(2, dtype=torch.float64))
    assert torch.allclose(linear @ linear.T, torch.eye(2, dtype=torch.float64), atol=1e-6)


def test_a_start_that_is_searched_needs_no_overlap_before(shapes: PhantomPair, brief: Settings) -> None:
    affine = shapes.moving.grid.affine.clone()
    affine[:-1, -1] += 1000.0
    far = shapes.moving.with_grid(replace(shapes.moving.grid, affine=affine))
    assert plan(shapes.fixed, far, settings=brief, initial="auto").parameters
    with pytest.raises(DataError, match="that overlap after the alignment"):
        plan(shapes.fixed, far, settings=brief, initial="none")


def test_other_fields_have_no_lattices(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    planned = plan(shapes.fixed, shapes.moving, settings=changed(brief, field={"encoding": "fourier"}))
    assert planned.lattices == () and planned.parameters > 1000


def test_invalid_images_are_refused(shapes: PhantomPair) -> None:
    flat = shapes.fixed.with_data(torch.zeros_like(shapes.fixed.data))
    with pytest.raises(DataError, match="constant"):
        plan(flat, shapes.moving)


def test_unknown_memory_is_none(shapes: PhantomPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_module, "peak_memory_mb", lambda: None)
    assert plan(shapes.fixed, shapes.moving).memory_mb is None


@pytest.mark.parametrize("name", ["lung-ct-fast", "brain-mri"])
def test_memory_estimate_is_within_a_third(name: str, tmp_path: Path) -> None:
    """Each in a separate process that reads the images, because the peak is that of the process."""
    pair = lung_phantom(seed=1, motion=15.0, shape=(120, 100, 110))
    images = {
        "fixed": pair.fixed,
        "moving": pair.moving,
        "fixed_mask": pair.fixed_mask,
        "moving_mask": pair.moving_mask,
    }
    paths = {key: str(tmp_path / f"{key}.nii.gz") for key in images}
    for key, image in images.items():
        write_image(image, paths[key])
    common = (
        "from dataclasses import replace\n"
        "from nephi.optimize import plan, register\nfrom nephi.settings import preset\n"
        "from nephi.runtime import peak_memory_mb\n"
        f"settings = preset({name!r})\n"
        "levels = tuple(replace(level, steps=4) for level in settings.levels)\n"
        "settings = replace(settings, levels=levels)\n"
    )
    ends = (
        f"print(plan(**{paths}, settings=settings).memory_mb)",
        f"register(**{paths}, settings=settings).save({str(tmp_path / 'out')!r}); print(peak_memory_mb())",
    )
    planned, needed = (
        float(subprocess.run([sys.executable, "-c", common + end], capture_output=True, text=True, check=True).stdout)
        for end in ends
    )
    assert 3 / 4 < planned / needed < 4 / 3
