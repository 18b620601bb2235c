"""Lung phantoms shared by several tests."""

import pytest

from nephi.phantoms import PhantomPair, lung_phantom


@pytest.fixture(scope="session")
def lungs_25() -> PhantomPair:
    return lung_phantom(seed=1, motion=25.0)


@pytest.fixture(scope="session")
def lungs_60() -> PhantomPair:
    return lung_phantom(seed=2, motion=60.0)


@pytest.fixture(scope="session")
def exact_lungs() -> PhantomPair:
    """Without noise and change of density: the fixed image is exactly the warped moving image."""
    return lung_phantom(seed=3, motion=20.0, noise=0.0, density=0.0)
