"""Small registrations, saved with their report pages, and a browser to open them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nephi.geometry import PointPairs
from nephi.optimize import register
from nephi.phantoms import PhantomPair, lung_phantom, shapes_phantom
from nephi.report import write_report
from nephi.results import Registration
from nephi.settings import preset

from .browser import Browser, find_browser

HOSTILE = "<img src=x onerror=alert(1)>.nii.gz"
COMMAND = "nephi register -f 'a & b.nii.gz' -o '<out>'"


@pytest.fixture(scope="session")
def lungs() -> PhantomPair:
    """The moving grid is oblique, with its axes permuted."""
    return lung_phantom(seed=1, motion=15.0, shape=(52, 40, 44))


@pytest.fixture(scope="session")
def fitted(lungs: PhantomPair) -> Registration:
    settings = preset("lung-ct-fast")
    levels = tuple(replace(level, steps=40) for level in settings.levels[:2])
    return register(lungs.fixed, lungs.moving, settings=replace(settings, levels=levels))


@pytest.fixture(scope="session")
def flat() -> PhantomPair:
    return shapes_phantom(seed=1, motion=6.0, shape=(96, 80))


@pytest.fixture(scope="session")
def flat_affine(flat: PhantomPair) -> Registration:
    return register(flat.fixed, flat.moving, settings=replace(preset("generic"), transform="affine"))


@pytest.fixture(scope="session")
def page(fitted: Registration, lungs: PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the 3-D registration, with landmarks, labels and a command."""
    folder = tmp_path_factory.mktemp("lungs")
    fitted.save(folder, landmarks=lungs.landmarks, labels=(lungs.fixed_mask, lungs.moving_mask))
    return write_report(fitted, folder, command=COMMAND, landmarks=lungs.landmarks)


@pytest.fixture(scope="session")
def flat_page(flat_affine: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the 2-D registration, without landmarks."""
    folder = tmp_path_factory.mktemp("flat")
    flat_affine.save(folder)
    return write_report(flat_affine, folder)


@pytest.fixture(scope="session")
def hostile_page(flat_affine: Registration, flat: PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose file names, landmarks and command contain HTML."""
    folder = tmp_path_factory.mktemp("hostile")
    fixed, moving = flat_affine.pair.fixed, flat_affine.pair.moving
    named = replace(flat_affine.pair, fixed=replace(fixed, name=HOSTILE), moving=replace(moving, name=f"'\"{HOSTILE}"))
    result = replace(flat_affine, pair=named)
    points = flat.landmarks.fixed.coordinates[:3]
    pairs = PointPairs.from_coordinates(points, flat.landmarks.moving.coordinates[:3], [HOSTILE, '"><script>', "c"])
    result.save(folder)
    return write_report(result, folder, command=f"nephi register -f '{HOSTILE}'", landmarks=pairs)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip("needs a Chromium to open the page; none is on the PATH")
    opened = Browser(executable, tmp_path / "profile")
    yield opened
    opened.close()
