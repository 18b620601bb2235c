"""A chest as a continuous function of position: depth in the lungs, and Hounsfield units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.phantoms.vessels import Vessels
from nephi.phantoms.waves import PlaneWaves

# World RAS millimetres at end-expiration: +x right, +y anterior, +z superior; the origin is the centre of the chest.
APEX, BASE = 122.0, -132.0  # highest and lowest point of the lungs
BODY = (158.0, 116.0)  # half-axes of the body's cross-section
RIBS = (133.0, 94.0)  # half-axes of the rib cage's cross-section
EDGE = 1.6  # width of every border: the intensity rises from 10 % to 90 % within about two voxels

AIR, PARENCHYMA, BLOOD, FAT, MUSCLE, BONE = -1000.0, -840.0, 40.0, -100.0, 45.0, 420.0  # HU


@dataclass(frozen=True, eq=False)
class Chest:
    """CT-like chest at end-expiration: two lungs with vessels, mediastinum, ribs, spine, fat and surrounding air.

    `texture` holds two functions, one for lung tissue and one for soft tissue; `tissue` is the mean HU of lung tissue.
    """

    vessels: Vessels
    texture: PlaneWaves
    tissue: float = PARENCHYMA

    @classmethod
    def random(cls, generator: torch.Generator, thickness: float = 1.0, tissue: float = PARENCHYMA) -> Chest:
        """Draw random vessels of `thickness` and random texture around `tissue` HU; the organs are always the same."""
        vessels = Vessels.random(generator, thickness)
        return cls(vessels, PlaneWaves.random(12, 2, 3, (7.0, 21.0), generator), tissue)

    def __call__(self, points: Tensor, density: Tensor) -> Tensor:
        """Return HU `(N,)` at moving points `(N, 3)`, world mm.

        `density` `(N,)` multiplies the density (HU + 1000) of lung tissue, but not of vessels.
        """
        depth = lung_depth(points)
        values = self._body(points)
        lung = (depth > -5 * EDGE).nonzero().squeeze(1)
        inside = points[lung]
        tissue = (self.tissue - AIR + 35 * self.texture(inside)[:, 0]) * density[lung] + AIR
        tissue = torch.lerp(tissue, torch.full_like(tissue, BLOOD), self.vessels(inside))
        values[lung] = torch.lerp(values[lung], tissue, torch.sigmoid(depth[lung] / (0.5 * EDGE)))
        return values

    def _body(self, points: Tensor) -> Tensor:
        """Return HU of a chest without lungs."""
        x, y, z = points.unbind(-1)
        skin = body_depth(points)
        values = _blend(FAT, MUSCLE, skin - 11.0)
        values += 12 * self.texture(points)[:, 1]
        values += _bone(x, y, z) * (BONE - MUSCLE)
        return torch.lerp(torch.full_like(values, AIR), values, torch.sigmoid(skin / (0.5 * EDGE)))


def body_depth(points: Tensor) -> Tensor:
    """Return the depth in mm below the skin, to first order: positive inside `(...)`, points `(..., 3)`."""
    return _ellipsoid(points[..., :2], (0.0, 0.0), BODY)


def lung_depth(points: Tensor) -> Tensor:
    """Return the depth in mm below the lungs' surface, to first order: positive inside `(...)`, points `(..., 3)`."""
    heart = _ellipsoid(points, (-22.0, 16.0, -55.0), (50.0, 46.0, 58.0))
    middle = _ellipsoid(points[..., :2], (-2.0, -6.0), (25.0, 88.0))
    spine = _ellipsoid(points[..., :2], (0.0, -74.0), (25.0, 27.0))
    blocked = _smooth_max(_smooth_max(heart, middle, 8.0), spine, 6.0)
    right = _side(points, 65.0, -68.0)
    left = _side(points, -65.0, -78.0)
    return -_smooth_max(-torch.maximum(right, left), blocked, 5.0)


def _side(points: Tensor, centre: float, dome: float) -> Tensor:
    """Return the depth in one lung, bounded below by a diaphragm whose highest point is at z = `dome`."""
    x, y, z = ((points[..., 0] - centre) / 57.0, points[..., 1] / 82.0, (points[..., 2] + 30.0) / 152.0)
    form = x.square() + y.square() + z.square().square() - 1
    slope = ((x / 57.0).square() + (y / 82.0).square() + (2 * z**3 / 152.0).square() + 1e-4).sqrt() * 2
    across, along = (points[..., 0] - 0.9 * centre) / 70.0, (points[..., 1] - 12.0) / 88.0
    above = points[..., 2] - dome + 50.0 * (across.square() + along.square())
    above = above / (1 + (across / 0.7).square() + (along / 0.88).square()).sqrt()
    return -_smooth_max(form / slope, -above, 5.0)


def _bone(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the fraction of bone (0 to 1): ribs that slope forward, vertebrae, sternum."""
    cage = _ellipsoid(torch.stack([x, y], dim=-1), (0.0, 0.0), RIBS)
    ribs = torch.exp(-(cage / 4.5).square()) * torch.sigmoid(6 * torch.cos((z + 0.35 * y) * (2 * math.pi / 27.0)) - 3)
    ribs = ribs * torch.sigmoid((x.abs() - 22.0) / 3)
    spine = torch.sigmoid((18.0 - torch.hypot(x, y + 76.0)) / (0.5 * EDGE))
    discs = 0.75 - 0.35 * torch.sigmoid(8 * torch.cos(z * (2 * math.pi / 28.0)) - 5)
    sternum = torch.exp(-((x / 14.0) ** 4 + ((y - RIBS[1]) / 6.0) ** 4)) * torch.sigmoid((z + 40.0) / 4)
    return torch.maximum(torch.maximum(ribs, spine * discs), 0.7 * sternum)


def _ellipsoid(points: Tensor, centre: tuple[float, ...], radii: tuple[float, ...]) -> Tensor:
    """Return the depth in mm below an ellipsoid's surface, to first order there, positive inside."""
    scaled = (points - points.new_tensor(centre)) / points.new_tensor(radii)
    radius = scaled.square().sum(dim=-1).sqrt()
    slope = (scaled / points.new_tensor(radii)).square().sum(dim=-1).sqrt()
    return (1 - radius) * radius / slope.clamp(min=1e-3 / max(radii))


def _smooth_max(a: Tensor, b: Tensor, rounding: float) -> Tensor:
    return torch.maximum(a, b) + (rounding - (a - b).abs()).clamp(min=0).square() / (4 * rounding)


def _blend(outer: float, inner: float, depth: Tensor) -> Tensor:
    return outer + (inner - outer) * torch.sigmoid(depth / (0.5 * EDGE))
