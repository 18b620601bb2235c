"""The networks that predict: shapes, starts, gradients, and independence of the pairs of a batch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.geometry import Grid
from nephi.learning import DisplacementUNet, EncoderSettings, NephiNetwork, PairEncoder, UNetSettings

ENCODER = EncoderSettings(filters=(4, 8, 8), local_level=2, features=16)
Images = tuple[Tensor, Tensor]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def network(settings: FieldSettings, grid: Grid) -> NephiNetwork:
    """One whose last layers are away from zero, as if it were trained."""
    found = NephiNetwork(settings, ENCODER, grid, generator())
    with torch.no_grad():
        for field in (found.fields.forward_field, found.fields.inverse_field):
            field.decoder.last.weight.copy_(0.05 * torch.randn(field.decoder.last.weight.shape, generator=generator()))
    return found


@pytest.mark.parametrize(("everywhere", "local"), [(3, 4), (3, 0), (0, 4)])
def test_codes_of_any_kind(
    field_settings: FieldSettings, grid: Grid, images: Images, everywhere: int, local: int
) -> None:
    settings = replace(field_settings, global_codes=everywhere, local_codes=local)
    found = NephiNetwork(settings, ENCODER, grid, generator())
    codes = found.fields.codes.with_values(*found.encoder(*images))
    assert codes.everywhere.shape == (3, everywhere)
    assert (codes.local is None) == (local == 0)
    if local:
        assert codes.local.shape == (3, found.fields.codes.local.rows, local)


def test_starts_as_the_identity(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    for phi in NephiNetwork(field_settings, ENCODER, grid, generator())(*images):
        assert torch.equal(phi(points), points)
    unet = DisplacementUNet(UNetSettings((4, 8, 8)), grid, generator())
    assert torch.equal(unet(*images), torch.zeros(3, grid.dimension, *grid.shape))


def test_pairs_of_a_batch_do_not_meet(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    """And so a batch of one works."""
    found = network(field_settings, grid)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::7].expand(3, -1, -1)
    together = found(*images)[0](points)
    assert float((together[0] - together[1]).detach().abs().max()) > 1e-4
    for k in range(3):
        alone = found(images[0][k : k + 1], images[1][k : k + 1])[0](points[k : k + 1])
        torch.testing.assert_close(alone[0], together[k])


def test_the_direction_matters(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    found = network(field_settings, grid)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    assert not torch.allclose(found(*images)[0](points), found(*images[::-1])[0](points))


def test_gradients_reach_every_parameter_but_the_stored_codes(
    field_settings: FieldSettings, grid: Grid, images: Images
) -> None:
    found = network(field_settings, grid)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    sum((phi(points) ** 2).sum() for phi in found(*images)).backward()
    for name, parameter in found.named_parameters():
        expected = "codes" not in name
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == expected, name


def test_equal_seeds_give_equal_networks(field_settings: FieldSettings, grid: Grid) -> None:
    """Whatever torch's own generator has been used for."""
    for make in (
        lambda: NephiNetwork(field_settings, ENCODER, grid, generator()),
        lambda: DisplacementUNet(UNetSettings((4, 8)), grid, generator()),
    ):
        one = make().state_dict()
        torch.rand(7)
        other = make().state_dict()
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_images_of_any_shape_give_codes_on_the_lattice(dimension: int) -> None:
    encoder = PairEncoder(ENCODER, (5, 4, 3)[:dimension], 2, 3, generator())
    for shape in ((16, 17, 9), (33, 8, 12)):
        image = torch.rand(1, 1, *shape[:dimension])
        everywhere, local = encoder(image, image)
        assert everywhere.shape == (1, 2) and local.shape == (1, 5 * 4 * (3 if dimension == 3 else 1), 3)


def test_local_codes_lie_where_the_image_is(dimension: int) -> None:
    """A change in one corner of the image changes the codes there; without coarser maps those far away stay."""
    shape = (64, 48, 32)[:dimension]
    lattice = (8, 6, 4)[:dimension]
    image = torch.rand(1, 1, *shape, generator=generator())
    changed = image.clone()
    changed[(0, 0, *(slice(0, 4),) * dimension)] += 1
    for filters, reaches_all in (((4,), False), ((4, 4, 4, 4, 4), True)):
        encoder = PairEncoder(EncoderSettings(filters, local_level=1), lattice, 0, 2, generator())
        for part in encoder.modules():
            if isinstance(part, torch.nn.GroupNorm):
                part.forward = lambda x: x  # type: ignore[method-assign] # it looks at the whole image
        change = (encoder(changed, image)[1] - encoder(image, image)[1]).abs().sum(dim=-1).reshape(lattice)
        assert change[(0,) * dimension] > 0
        assert bool((change[(slice(3, None),) * dimension] > 0).any()) == reaches_all


def test_the_global_code_tells_where_things_are(dimension: int) -> None:
    """A mean over the whole map would not: two places far from the border look alike to convolutions."""
    encoder = PairEncoder(ENCODER, (2,) * dimension, 4, 0, generator())
    codes = []
    for place in (16, 40):
        image = torch.zeros(1, 1, *(64,) * dimension)
        image[(0, 0, *(slice(place, place + 8),) * dimension)] = 1
        codes.append(encoder(image, image)[0])
    assert float((codes[0] - codes[1]).detach().abs().max()) > 0.01


def test_what_cannot_be_is_refused(field_settings: FieldSettings, grid: Grid) -> None:
    for settings in (replace(field_settings, global_codes=0, local_codes=0), replace(field_settings, inverse=False)):
        with pytest.raises(UsageError, match="an encoder needs an inverse, and global_codes or local_codes"):
            NephiNetwork(settings, ENCODER, grid, generator())
    with pytest.raises(UsageError, match=r"encoder.local_level: expected 1 to 3, .* got 4"):
        replace(ENCODER, local_level=4)
    with pytest.raises(UsageError, match="encoder: expected filters"):
        replace(ENCODER, filters=(0,))
    with pytest.raises(UsageError, match=r"unet\.filters: expected two or more"):
        UNetSettings((4,))
