"""Settings and fixtures that every test shares."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

# One thread: sums are added in the same order whatever the number of cores, and tensors here are small.
torch.set_num_threads(1)

# The same examples on every run, and none fails for being slow on a busy machine.
settings.register_profile("nephi", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("nephi")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real image pairs, kept beside the repository and not part of it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the image pairs of shared/data, a folder beside the repository; it is missing")
    return path
