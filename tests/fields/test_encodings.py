import math

import torch

from nephi.fields.encodings import Coordinates, FourierFeatures


def test_coordinates_fill_minus_one_to_one(dimension, unit_points) -> None:
    unit = unit_points(dimension)
    jet = Coordinates(dimension).jet(unit, dimension)
    assert torch.equal(jet[0], 2 * unit - 1)
    assert torch.equal(jet[1:], 2 * torch.eye(dimension).double()[:, None].expand(-1, len(unit), -1))
    assert torch.equal(Coordinates(dimension).jet(unit, 0), jet[:1])


def test_fourier_features_one_by_one(dimension, unit_points) -> None:
    encoding = FourierFeatures(dimension, 4, 1.5, torch.Generator().manual_seed(0)).double()
    unit = unit_points(dimension)
    for point, found in zip(unit.tolist(), encoding.jet(unit, 0)[0].tolist(), strict=True):
        phases = [
            2 * math.pi * sum(b * u for b, u in zip(wave, point, strict=True))
            for wave in encoding.frequencies.T.tolist()
        ]
        expected = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
        torch.testing.assert_close(found, expected)
    assert encoding.channels == 8


def test_fourier_derivatives(dimension, unit_points, derivatives) -> None:
    encoding = FourierFeatures(dimension, 4, 1.5, torch.Generator().manual_seed(0)).double()
    unit = unit_points(dimension)
    expected = derivatives(lambda u: encoding.jet(u, 0)[0], unit)
    torch.testing.assert_close(encoding.jet(unit, dimension)[1:], expected)


def test_sigma_is_the_spread_of_frozen_frequencies() -> None:
    encoding = FourierFeatures(3, 20_000, 2.5, torch.Generator().manual_seed(0))
    assert abs(float(encoding.frequencies.std()) - 2.5) < 0.03
    assert not list(encoding.parameters()) and "frequencies" in encoding.state_dict()
