import pytest
import torch

from nephi.errors import UsageError
from nephi.fields import DECODERS, ENCODINGS, build_fields, field_size
from nephi.fields.decoders import GatedSineDecoder, SiluDecoder, SirenDecoder
from nephi.fields.encodings import Coordinates, FourierFeatures
from nephi.fields.grids import HashGrids, LatentGrids

KINDS = {
    "dense": LatentGrids,
    "nested": LatentGrids,
    "hash": HashGrids,
    "fourier": FourierFeatures,
    "coordinates": Coordinates,
    "silu": SiluDecoder,
    "siren": SirenDecoder,
    "gated-sine": GatedSineDecoder,
}


def build(settings, grid, seed=0):
    return build_fields(settings, grid, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_names(grid, small_settings, encoding, decoder) -> None:
    pair = build(small_settings(encoding=encoding, decoder=decoder), grid)
    for field in (pair.forward_field, pair.inverse_field):
        assert type(field.encoding) is KINDS[encoding] and type(field.decoder) is KINDS[decoder]
        assert field.dimension == grid.dimension and field.codes is None


def test_generator_decides(grid, small_settings) -> None:
    settings = small_settings(global_codes=2, local_codes=2)
    one, same, other = (build(settings, grid, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_both_networks_are_drawn_anew(grid, small_settings) -> None:
    state = build(small_settings(), grid).state_dict()
    first = "decoder.hidden.0.weight"
    assert not torch.equal(state[f"forward_field.{first}"], state[f"inverse_field.{first}"])


@pytest.mark.parametrize("encoding", ["dense", "nested", "hash"])
def test_spacings_too_small_for_the_box(grid, small_settings, encoding) -> None:
    for change in ({"spacings": (1e-8,)}, {"local_codes": 2, "code_spacing": 1e-8}):
        with pytest.raises(UsageError, match=r"^field\..*spacings?: expected larger spacings for this box"):
            build(small_settings(encoding=encoding, **change), grid)


def test_without_inverse(grid, small_settings) -> None:
    pair = build(small_settings(inverse=False), grid)
    assert pair.inverse_field is None
    assert not any(name.startswith("inverse_field") for name in pair.state_dict())


@pytest.mark.parametrize("unit", ["mm", "edge"])
def test_amplitude_is_the_displacement_for_an_output_of_one(grid, small_settings, points_in, unit) -> None:
    field = build(small_settings(amplitude=0.5, amplitude_unit=unit), grid).forward_field
    output = torch.tensor([1.0, -2.0, 0.5][: grid.dimension])
    with torch.no_grad():
        field.decoder.last.bias.copy_(output)
    expected = 0.5 * output
    if unit == "edge":
        expected = grid.voxel_to_world_vectors(0.5 * output * (torch.tensor(grid.shape) - 1))
    points = points_in(grid).float()
    torch.testing.assert_close(field(points) - points, expected.expand_as(points), rtol=0, atol=1e-4)


def test_nodes_are_no_farther_apart_than_the_spacings(grid, small_settings) -> None:
    encoding = build(small_settings(), grid).forward_field.encoding
    for spacing, shape in zip(small_settings().spacings, encoding.shapes, strict=True):
        lengths = grid.spacing * (torch.tensor(grid.shape) - 1)
        assert (lengths / (torch.tensor(shape) - 1) <= spacing).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("codes", [{}, {"global_codes": 2, "local_codes": 3, "code_spacing": 4.0}])
def test_the_size_is_known_before_anything_is_built(grid, small_settings, encoding, codes) -> None:
    """Spacings that the encoding does not use, however small, are no reason to refuse it."""
    unused = {} if codes else {"code_spacing": 1e-9}
    unused |= {"spacings": (8.0, 1e-9)} if encoding in ("fourier", "coordinates") else {}
    settings = small_settings(encoding=encoding, **codes, **unused)
    assert field_size(settings, grid).parameters == sum(p.numel() for p in build(settings, grid).parameters())
