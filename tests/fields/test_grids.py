"""Latent grids against scipy, hash grids against one point and one corner at a time."""

import itertools
import math
from functools import partial

import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from nephi.fields.grids import PRIMES, HashGrids, LatentGrids

LEVELS = {2: [(2, 3), (5, 4), (12, 9)], 3: [(2, 3, 2), (4, 3, 5), (7, 9, 8)]}
CHANNELS = 3
TABLE = 40  # the first level, or two, fit; the last collides


def dense(dimension: int) -> LatentGrids:
    return LatentGrids(LEVELS[dimension], CHANNELS, 1.0, torch.Generator().manual_seed(0)).double()


def hashed(dimension: int, table_size: int = TABLE) -> HashGrids:
    return HashGrids(LEVELS[dimension], CHANNELS, 1.0, torch.Generator().manual_seed(0), table_size).double()


def splines(degree: int, dimension: int) -> LatentGrids:
    shapes = [tuple(n + degree - 1 for n in shape) for shape in LEVELS[dimension]]
    return LatentGrids(shapes, CHANNELS, 1.0, torch.Generator().manual_seed(0), degree).double()


def hashed_quadratic(dimension: int) -> HashGrids:
    generator = torch.Generator().manual_seed(0)
    return HashGrids(splines(2, dimension).shapes, CHANNELS, 1.0, generator, TABLE, 2).double()


quadratic, cubic = partial(splines, 2), partial(splines, 3)
BOTH = pytest.mark.parametrize("make", [dense, hashed])
ALL = pytest.mark.parametrize("make", [dense, hashed, quadratic, cubic, hashed_quadratic])


@pytest.mark.parametrize("make", [dense, quadratic, cubic])
def test_dense_levels_against_scipy(dimension, unit_points, make) -> None:
    """Of splines, nodes are counted from half a cell (quadratic) or a cell (cubic) beyond the cube."""
    grids, unit = make(dimension), unit_points(dimension, 40)
    unit[:2] = torch.tensor([[0.0], [1.0]])
    start, expected, order = 0, [], grids.degree
    for shape in grids.shapes:
        table = grids.table.detach()[start : start + math.prod(shape)].reshape(*shape, CHANNELS)
        start += math.prod(shape)
        positions = (unit * (torch.tensor(shape) - order) + (order - 1) / 2).T.numpy()
        expected += [
            torch.from_numpy(map_coordinates(table[..., c].numpy(), positions, order=order, prefilter=False))
            for c in range(CHANNELS)
        ]
    assert grids.channels == len(expected) and start == len(grids.table)
    torch.testing.assert_close(grids.jet(unit, 0)[0], torch.stack(expected, dim=-1))


def slow_hash(grids: HashGrids, point: list[float]) -> list[float]:
    """Features of one point, corner by corner, in whole numbers of Python."""
    table, start, result = grids.table.tolist(), 0, []
    for shape in grids.shapes:
        rows = min(math.prod(shape), grids.table_size)
        position = [u * (n - 1) for u, n in zip(point, shape, strict=True)]
        base = [min(int(p), n - 2) for p, n in zip(position, shape, strict=True)]
        total = [0.0] * CHANNELS
        for corner in itertools.product((0, 1), repeat=len(shape)):
            node = [b + c for b, c in zip(base, corner, strict=True)]
            if math.prod(shape) <= grids.table_size:
                row = sum(n * math.prod(shape[axis + 1 :]) for axis, n in enumerate(node))
            else:
                mixed = 0
                for n, prime in zip(node, PRIMES, strict=False):
                    mixed ^= n * prime
                row = mixed % grids.table_size
            weight = math.prod(abs(1 - c - (p - b)) for c, p, b in zip(corner, position, base, strict=True))
            total = [t + weight * f for t, f in zip(total, table[start + row], strict=True)]
        start += rows
        result += total
    return result


def test_hash_point_by_point(dimension, unit_points) -> None:
    grids, unit = hashed(dimension), unit_points(dimension, 40)
    assert len(grids.table) < sum(map(math.prod, LEVELS[dimension]))
    expected = torch.tensor([slow_hash(grids, point) for point in unit.tolist()], dtype=torch.float64)
    torch.testing.assert_close(grids.jet(unit, 0)[0], expected)


def test_hash_without_collisions_is_dense(dimension, unit_points) -> None:
    unit = unit_points(dimension)
    grids = hashed(dimension, table_size=math.prod(LEVELS[dimension][-1]))
    assert torch.equal(grids.jet(unit, dimension), dense(dimension).jet(unit, dimension))


@ALL
def test_derivatives(dimension, unit_points, derivatives, make) -> None:
    grids, unit = make(dimension), unit_points(dimension)
    jet = grids.jet(unit, dimension)
    torch.testing.assert_close(jet[1:], derivatives(lambda u: grids.jet(u, 0)[0], unit))
    torch.testing.assert_close(jet[:1], grids.jet(unit, 0))


@BOTH
def test_features_reach_the_faces(dimension, make) -> None:
    """The last node counts in full, and the slope there is that of the last cell."""
    grids = make(dimension)
    corner, step = torch.ones(1, dimension, dtype=torch.float64), 1e-4
    at, before = grids.jet(corner, dimension), grids.jet(corner - step, dimension)
    torch.testing.assert_close(at[0] - before[0], step * at[1:].sum(dim=0), rtol=1e-2, atol=1e-6)
    if make is dense:
        first_level_last_row = math.prod(LEVELS[dimension][0]) - 1
        torch.testing.assert_close(at[0, 0, :CHANNELS], grids.table[first_level_last_row])


@BOTH
def test_gradient_reaches_the_table(dimension, unit_points, make) -> None:
    grids, unit = make(dimension), unit_points(dimension, 3)
    weights = torch.randn(1 + dimension, 3, grids.channels, generator=torch.Generator().manual_seed(0)).double()

    def loss(table: Tensor) -> Tensor:
        jet = torch.func.functional_call(_Jet(grids, dimension), {"grids.table": table}, (unit,))
        return (jet * weights).sum()

    assert torch.autograd.gradcheck(loss, (grids.table.detach().requires_grad_(),))


class _Jet(torch.nn.Module):
    def __init__(self, grids: LatentGrids, directions: int) -> None:
        super().__init__()
        self.grids, self.directions = grids, directions

    def forward(self, unit: Tensor) -> Tensor:
        return self.grids.jet(unit, self.directions)


@pytest.mark.parametrize("make", [quadratic, cubic, hashed_quadratic])
def test_derivatives_of_splines_are_continuous_at_nodes(dimension, unit_points, make) -> None:
    """At planes between cells, approached from both sides; linear interpolation jumps there."""
    jumps = {}
    for name, grids in {"spline": make(dimension), "linear": dense(dimension)}.items():
        planes = unit_points(dimension, 30)
        cells = LEVELS[dimension][-1][0] - 1
        planes[:, 0] = torch.arange(30, dtype=torch.float64) % (cells - 1) / cells + 1 / cells
        step = torch.zeros(dimension, dtype=torch.float64)
        step[0] = 4e-16
        above, below = (grids.jet(planes + sign * step, dimension).detach() for sign in (1, -1))
        jumps[name] = float((above - below).abs().max())
    assert jumps["spline"] < 1e-12 and jumps["linear"] > 1


@BOTH
def test_no_points(dimension, make) -> None:
    grids = make(dimension)
    assert grids.jet(torch.zeros(0, dimension).double(), dimension).shape == (1 + dimension, 0, grids.channels)


def test_spread() -> None:
    grids = LatentGrids([(40, 40, 40)], 2, 0.01, torch.Generator().manual_seed(0))
    assert abs(float(grids.table.detach().std()) - 0.01) < 1e-4
    assert list(grids.state_dict()) == ["table"]
