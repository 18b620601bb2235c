"""NePhi and its encoder: shapes, the identity at the start, gradients, independence of the pairs of a batch."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields import FieldMaps, FieldSettings, latent_grids
from nephi.geometry import Grid
from nephi.models import (
    AutoDecoderSettings,
    DisplacementUNet,
    DisplacementUNetSettings,
    EncoderSettings,
    Lattice,
    NephiModel,
    NephiSettings,
    PairEncoder,
    build_model,
)
from nephi.models.nephi import FieldNetwork
from nephi.models.networks.encoder import spline_values

ENCODER = EncoderSettings(filters=(4, 8, 8), features=16)
WITH_FORCES = replace(ENCODER, forces=True)
Images = tuple[Tensor, Tensor]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def untrained(settings: FieldSettings, grid: Grid, encoder: EncoderSettings = ENCODER) -> FieldNetwork:
    """Return the single step of a fresh NePhi."""
    (step,) = NephiModel(NephiSettings(field=settings, encoder=encoder), grid, generator()).network.steps
    assert isinstance(step, FieldNetwork)
    return step


def network(settings: FieldSettings, grid: Grid, encoder: EncoderSettings = ENCODER) -> FieldNetwork:
    """Return a network whose last layers are away from zero, as if it were trained."""
    model = untrained(settings, grid, encoder)
    with torch.no_grad():
        for field in (model.fields.forward_field, model.fields.inverse_field):
            field.decoder.last.weight.copy_(0.05 * torch.randn(field.decoder.last.weight.shape, generator=generator()))
    return model


KINDS = {
    "both": {},
    "global": {"local_codes": 0},
    "local": {"global_codes": 0},
    "dense": {"encoding": "dense", "spacings": (20.0, 6.0), "global_codes": 0, "local_codes": 0},
    "dense and codes": {"encoding": "dense", "spacings": (20.0, 6.0)},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def settings(request: pytest.FixtureRequest, field_settings: FieldSettings) -> FieldSettings:
    return replace(field_settings, **request.param)


@pytest.fixture(params=[ENCODER, WITH_FORCES], ids=["images", "forces"])
def encoder(request: pytest.FixtureRequest) -> EncoderSettings:
    return request.param


def test_latent_values_of_any_kind(
    settings: FieldSettings, encoder: EncoderSettings, grid: Grid, images: Images
) -> None:
    model = untrained(settings, grid, encoder)
    latent = model.encoder(*images)
    assert latent.global_codes.shape == (3, settings.global_codes)
    assert [table.shape[1:] for table in latent.tables] == [g.table.shape for g in latent_grids(model.fields)]


def test_fields_of_a_single_pair_are_copies(settings: FieldSettings, grid: Grid, images: Images) -> None:
    """They equal the prediction for a batch, and share no parameter with the network."""
    model = network(settings, grid)
    points = grid.voxel_centres().float().reshape(-1, grid.dimension)[::7]
    phi, psi, _ = model(*images)
    single = model(*(image[1:2] for image in images)).forward
    assert isinstance(single, FieldMaps)
    pair = single.field_pair(0)
    batch_points = points.expand(3, -1, -1)
    torch.testing.assert_close(pair.forward_field(points), phi(batch_points)[1])
    torch.testing.assert_close(pair.inverse_field(points), psi(batch_points)[1])
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(1.0)
    assert torch.equal(model(*images).forward(batch_points), phi(batch_points))


def test_an_encoder_with_forces_uses_them(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    """Without their weights the codes of two images differ; two equal images have no forces."""
    model = network(field_settings, grid, WITH_FORCES)
    same = images[0], images[0]
    before = [model.encoder(*pair).global_codes.detach() for pair in (images, same)]
    with torch.no_grad():
        model.encoder.down[0][0].weight[:, 2:] = 0
    after = [model.encoder(*pair).global_codes.detach() for pair in (images, same)]
    assert float((after[0] - before[0]).abs().max()) > 1e-3
    torch.testing.assert_close(after[1], before[1])


def test_starts_as_the_identity(settings: FieldSettings, grid: Grid, images: Images) -> None:
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    for phi in untrained(settings, grid)(*images)[:2]:
        assert torch.equal(phi(points), points)
    unet = DisplacementUNet(DisplacementUNetSettings((4, 8, 8)), grid, generator())
    assert torch.equal(unet.network.unet(*images), torch.zeros(3, grid.dimension, *grid.shape))


def test_pairs_of_a_batch_are_independent(
    field_settings: FieldSettings, encoder: EncoderSettings, grid: Grid, images: Images
) -> None:
    """A batch of one works as well."""
    model = network(field_settings, grid, encoder)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::7].expand(3, -1, -1)
    batch = model(*images).forward(points)
    assert float((batch[0] - batch[1]).detach().abs().max()) > 1e-4
    for k in range(3):
        single = model(images[0][k : k + 1], images[1][k : k + 1]).forward(points[k : k + 1])
        torch.testing.assert_close(single[0], batch[k])


def test_the_direction_matters(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    model = network(field_settings, grid)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    assert not torch.allclose(model(*images).forward(points), model(*images[::-1]).forward(points))


def test_gradients_reach_every_parameter_but_the_predicted_ones(
    settings: FieldSettings, encoder: EncoderSettings, grid: Grid, images: Images
) -> None:
    model = network(settings, grid, encoder)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    sum((phi(points) ** 2).sum() for phi in model(*images)[:2]).backward()
    for name, parameter in model.named_parameters():
        expected = "codes" not in name and not name.endswith("table")
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == expected, name


def test_equal_seeds_give_equal_networks(field_settings: FieldSettings, grid: Grid) -> None:
    """They do not depend on torch's global generator."""
    for build in (
        lambda: untrained(field_settings, grid),
        lambda: DisplacementUNet(DisplacementUNetSettings((4, 8)), grid, generator()),
    ):
        one = build().state_dict()
        torch.rand(7)
        other = build().state_dict()
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_images_of_any_shape_give_values_on_the_lattices(dimension: int) -> None:
    shapes = [(5, 4, 3)[:dimension], (9, 7, 5)[:dimension]]
    lattices = [[Lattice(shape, 3) for shape in shapes], [Lattice(shapes[0], 2)]]
    for finest, shape in ((0, (16, 17, 9)), (2, (33, 8, 12))):
        settings = replace(ENCODER, finest=finest)
        encoder = PairEncoder(settings, (16, 16, 16)[:dimension], 2, lattices, generator())
        image = torch.rand(1, 1, *shape[:dimension])
        latent = encoder(image, image)
        rows = [math.prod(shape) for shape in shapes]
        assert latent.global_codes.shape == (1, 2)
        assert [t.shape for t in latent.tables] == [(1, sum(rows), 3), (1, rows[0], 2)]


def test_values_depend_on_the_image_nearby(dimension: int) -> None:
    """A change in one corner of the image changes the values nearby; only coarser maps change those far away."""
    shape = (64, 48, 32)[:dimension]
    lattice = (32, 24, 16)[:dimension]
    image = torch.rand(1, 1, *shape, generator=generator())
    changed = image.clone()
    changed[(0, 0, *(slice(0, 4),) * dimension)] += 1
    for filters, reaches_all in (((4,), False), ((4, 4, 4, 4, 4), True)):
        encoder = PairEncoder(EncoderSettings(filters), shape, 0, [[Lattice(lattice, 2)]], generator())
        for part in encoder.modules():
            if isinstance(part, torch.nn.GroupNorm):
                part.forward = lambda x: x  # type: ignore[method-assign] # its statistics are those of the whole image
        tables = [encoder(one, image).tables[0] for one in (changed, image)]
        change = (tables[0] - tables[1]).abs().sum(dim=-1).reshape(lattice)
        assert change[(0,) * dimension] > 0
        assert bool((change[(slice(12, None),) * dimension] > 0).any()) == reaches_all


def test_the_global_code_depends_on_positions(dimension: int) -> None:
    """A mean over the whole map would not: convolutions are equal at two positions far from the border."""
    encoder = PairEncoder(ENCODER, (64,) * dimension, 4, [], generator())
    codes = []
    for start in (16, 40):
        image = torch.zeros(1, 1, *(64,) * dimension)
        image[(0, 0, *(slice(start, start + 8),) * dimension)] = 1
        codes.append(encoder(image, image).global_codes)
    assert float((codes[0] - codes[1]).detach().abs().max()) > 0.01


def test_settings_that_cannot_be_built_are_refused(field_settings: FieldSettings, grid: Grid) -> None:
    with pytest.raises(UsageError, match="field: expected global_codes, local_codes or dense grids"):
        NephiSettings(field=replace(field_settings, global_codes=0, local_codes=0))
    with pytest.raises(UsageError, match=r"field\.inverse: expected true"):
        NephiSettings(field=replace(field_settings, inverse=False))
    with pytest.raises(UsageError, match="a model cannot predict hash grids"):
        NephiSettings(field=replace(field_settings, encoding="hash"))
    with pytest.raises(UsageError, match=r"model\.pairs: expected the number of training pairs"):
        build_model(AutoDecoderSettings(field=field_settings), grid, generator())
    with pytest.raises(UsageError, match=r"model\.pairs: expected the number of training pairs, got -1"):
        AutoDecoderSettings(pairs=-1)
    with pytest.raises(
        UsageError,
        match=r"model\.downsampling: expected a positive integer for each step, at most 16 of them, got \(2, 0\)",
    ):
        NephiSettings((2, 0))
    with pytest.raises(
        UsageError, match=r"encoder\.filters: expected at least one positive integer, at most 16, got \(0,\)"
    ):
        replace(ENCODER, filters=(0,))
    with pytest.raises(UsageError, match=r"encoder\.pooled: expected a positive integer, got 0"):
        replace(ENCODER, pooled=0)
    with pytest.raises(UsageError, match=r"encoder.finest: expected 0 to 2, .* got 3"):
        replace(ENCODER, finest=3)
    with pytest.raises(
        UsageError, match=r"model\.filters: expected at least two positive integers, at most 16, got \(4,\)"
    ):
        DisplacementUNetSettings((4,))


def test_any_number_of_filters(dimension: int) -> None:
    """Groups that are normalised together have the same number of channels."""
    image = torch.rand(1, 1, *(16,) * dimension)
    for filters in ((20, 50), (12, 28), (7, 9)):
        encoder = PairEncoder(EncoderSettings(filters), (16,) * dimension, 3, [], generator())
        assert encoder(image, image).global_codes.shape == (1, 3)


@pytest.mark.parametrize("degree", [2, 3])
def test_latent_values_of_splines_are_predicted_at_their_nodes(degree: int) -> None:
    """Nodes lie half a cell (quadratic) or a cell (cubic) beyond the box, where features continue with the border."""
    shape = (9, 7)
    ramp = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, n) for n in shape], indexing="ij"))
    values = spline_values(ramp[None], Lattice((degree + 4, degree + 3), 1, degree))
    for axis, cells in enumerate((4, 3)):
        nodes = (torch.arange(degree + cells) - (degree - 1) / 2) / cells
        expected = nodes.clamp(0, 1).reshape([-1, 1] if axis == 0 else [1, -1]).expand(values.shape[2:])
        torch.testing.assert_close(values[0, axis], expected)
