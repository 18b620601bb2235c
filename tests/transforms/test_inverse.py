import pytest
import torch

from nephi.transforms import AffineTransform, Composite, DisplacementField, NumericalInverse, Transform, invert


@pytest.mark.parametrize("strength", [0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(dimension, points, waves, strength, dtype) -> None:
    transform, points = waves(dimension, strength), points.to(dtype)
    inverse = NumericalInverse(transform)
    for there_and_back in (Composite([inverse, transform]), Composite([transform, inverse])):
        gap = (there_and_back(points) - points).norm(dim=-1)
        assert gap.max() < 1e-3 / (1 - strength)
    assert inverse(points).dtype == dtype


def test_tolerance_is_met(dimension, points, waves) -> None:
    transform = waves(dimension, 0.8)
    residual = transform(NumericalInverse(transform, tolerance=1e-10)(points)) - points
    assert residual.norm(dim=-1).max() < 1e-10


def test_jacobian_is_the_central_difference(dimension, points, waves) -> None:
    inverse = NumericalInverse(waves(dimension, 0.7), tolerance=1e-12)
    step = 1e-4
    value, jacobian = inverse.value_and_jacobian(points)
    assert torch.equal(value, inverse(points))
    for j, shift in enumerate(step * torch.eye(dimension, dtype=torch.float64)):
        difference = (inverse(points + shift) - inverse(points - shift)) / (2 * step)
        torch.testing.assert_close(jacobian[..., j], difference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), 1e6])
def test_a_bad_guess_does_no_harm(dimension, points, waves, bad) -> None:
    inverse = NumericalInverse(waves(dimension, 0.7), iterations=12)
    guess = inverse(points) + 0.1
    guess[::3] = bad
    gap = inverse.transform(inverse.solve_from(points, guess)) - points
    assert gap.norm(dim=-1).max() < 1e-3


def test_any_number_of_point_axes(dimension, points, waves) -> None:
    tolerance, strength = 1e-9, 0.5
    inverse = NumericalInverse(waves(dimension, strength), tolerance=tolerance)
    expected = inverse(points)
    # What phi takes to within the tolerance of y is within tolerance / (1 - strength) of the inverse, which is all that
    # is promised: products of other sizes round in another way, and where a search ends depends on it.
    apart = 2 * tolerance / (1 - strength)
    torch.testing.assert_close(inverse(points.reshape(2, 20, -1)), expected.reshape(2, 20, -1), rtol=0, atol=apart)
    torch.testing.assert_close(inverse(points[0]), expected[0], rtol=0, atol=apart)
    assert inverse(points[:0]).shape == (0, dimension)


class Counted(Transform):
    """Count the evaluations of its member."""

    def __init__(self, member: Transform) -> None:
        self.member = member
        self.calls = 0

    @property
    def dimension(self) -> int:
        return self.member.dimension

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return self.value_and_jacobian(points)[0]

    def value_and_jacobian(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        return self.member.value_and_jacobian(points)


def test_good_guess_saves_steps(dimension, points, waves) -> None:
    transform = Counted(waves(dimension, 0.8))
    solved = NumericalInverse(transform)(points)
    from_scratch, transform.calls = transform.calls, 0
    guessed = NumericalInverse(transform, guess=NumericalInverse(transform.member, tolerance=1e-9))(points)
    assert transform.calls == 1 < from_scratch
    torch.testing.assert_close(guessed, solved, rtol=0, atol=1e-2)


def test_points_of_the_caller_are_not_changed(dimension, points, waves) -> None:
    """Even if the guess returns its argument itself."""
    argument = points.clone()
    solved = NumericalInverse(waves(dimension, 0.5), guess=lambda x: x)(argument)
    assert torch.equal(argument, points)
    assert (waves(dimension, 0.5)(solved) - points).norm(dim=-1).max() < 1e-3


@pytest.mark.filterwarnings("error")
def test_newton_on_an_affine_map_is_exact(dimension, matrix, points) -> None:
    transform = AffineTransform(matrix(dimension))
    torch.testing.assert_close(NumericalInverse(transform)(points), transform.inverse()(points))


@pytest.mark.parametrize("strength", [3.0, 30.0])
def test_folded_maps_give_finite_values(dimension, points, waves, strength) -> None:
    transform = waves(dimension, strength)
    value, jacobian = NumericalInverse(transform).value_and_jacobian(points)
    assert torch.isfinite(value).all() and torch.isfinite(jacobian).all()
    before, after = ((transform(x) - points).norm(dim=-1) for x in (points, value))
    assert (after <= before).all()


class OntoPlane(Transform):
    """Set the first coordinate to 0: singular everywhere, with most points outside its range."""

    dimension = 3

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return points * points.new_tensor([0, 1, 1])

    def value_and_jacobian(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self(points), torch.diag(points.new_tensor([0, 1, 1])).expand(*points.shape, 3)


def test_singular_maps_give_finite_values() -> None:
    value, jacobian = NumericalInverse(OntoPlane()).value_and_jacobian(torch.randn(20, 3))
    assert torch.isfinite(value).all() and torch.isfinite(jacobian).all()


def test_a_field_that_folds_at_every_voxel_gives_finite_values(grid) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 20 * torch.randn(*grid.shape, grid.dimension, generator=generator)
    value, jacobian = NumericalInverse(DisplacementField(noise, grid)).value_and_jacobian(grid.voxel_centres())
    assert torch.isfinite(value).all() and torch.isfinite(jacobian).all()


def test_points_outside_the_range_do_not_affect_others(dimension, points, waves) -> None:
    folded, smooth = points[:5] + 1e6, points[5:]
    inverse = NumericalInverse(waves(dimension, 0.9), iterations=8)
    inverted = inverse(torch.cat([folded, smooth]))
    torch.testing.assert_close(inverted[5:], inverse(smooth))


def test_invert_each_kind(dimension, matrix, points, waves) -> None:
    affine, wave = AffineTransform(matrix(dimension)), waves(dimension, 0.6)
    assert isinstance(invert(affine), AffineTransform)
    assert invert(invert(wave)) is wave
    chain = Composite([affine, wave, AffineTransform(matrix(dimension, 1))])
    back = invert(chain)
    assert isinstance(back, Composite) and [type(t) for t in back.transforms] == [
        AffineTransform,
        NumericalInverse,
        AffineTransform,
    ]
    for transform in (affine, wave, chain):
        torch.testing.assert_close(invert(transform)(transform(points)), points, rtol=0, atol=1e-2)


@pytest.mark.parametrize("factor", [1e10, 1e150, torch.inf])
def test_matrices_that_are_singular_in_floating_point_end_no_inverse(points, factor) -> None:
    """The determinant of equal huge entries is no 0 in floating point, or no number."""

    class Flat(Transform):
        dimension = points.shape[-1]

        def __call__(self, x):
            return factor * x.sum(dim=-1, keepdim=True).expand_as(x)

        def value_and_jacobian(self, x):
            return self(x), torch.full((*x.shape, self.dimension), factor, dtype=x.dtype)

    inverse = NumericalInverse(Flat())
    assert inverse(points).shape == points.shape
    _, jacobian = inverse.value_and_jacobian(points)
    assert jacobian.shape == (*points.shape, points.shape[-1])
    assert bool(jacobian.isfinite().all()) == (factor < torch.inf)
