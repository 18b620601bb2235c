"""Lung phantoms that several tests look at."""

import pytest

from nephi.phantoms import PhantomPair, lung_phantom


@pytest.fixture(scope="session")
def lungs_25() -> PhantomPair:
    return lung_phantom(seed=1, motion=25.0)


@pytest.fixture(scope="session")
def lungs_60() -> PhantomPair:
    return lung_phantom(seed=2, motion=60.0)


@pytest.fixture(scope="session")
def quiet_lungs() -> PhantomPair:
    """No noise, no change of density: the fixed image is exactly the moving one, deformed."""
    return lung_phantom(seed=3, motion=20.0, noise=0.0, density=0.0)
