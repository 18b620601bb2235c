"""Choice of the device and the number of threads."""

import pytest
import torch

import nephi
from nephi.cores import available_cores
from nephi.errors import UsageError
from nephi.kernels import threads
from nephi.runtime import choose_device, cpu_threads, fit_threads, registration_threads, torch_threads


def test_auto_selects_the_gpu_if_available() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1", "mps", "auto:1"])
def test_unknown_device_lists_the_valid_names(name: str) -> None:
    if name == "cuda:" and torch.cuda.is_available():
        pytest.skip("torch reads it as cuda")
    with pytest.raises(UsageError, match=r"cuda:N|does not exist"):
        choose_device(name)


def test_missing_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'cuda:9000' does not exist: found \d+ CUDA devices; use --device cpu"):
        choose_device("cuda:9000")


def test_number_of_threads_is_restored() -> None:
    previous = torch.get_num_threads()
    with cpu_threads(previous + 1):
        assert torch.get_num_threads() == previous + 1
    assert torch.get_num_threads() == previous
    with pytest.raises(ZeroDivisionError), cpu_threads(previous + 1):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == previous


def test_0_threads_means_one_per_core() -> None:
    with cpu_threads(0):
        assert torch.get_num_threads() == threads() == available_cores()


def test_a_registration_uses_threads_in_kernels_alone() -> None:
    with fit_threads(3):
        assert torch.get_num_threads() == 1 and threads() == 3
    assert registration_threads(3) == 3
    assert registration_threads(0) == min(available_cores(), 8)


def test_functions_use_the_threads_of_the_caller_in_kernels_only() -> None:
    """torch's own threads spin while they wait; the number of the calling program is restored."""
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    seen: list[tuple[int, int]] = []

    class Probe(nephi.AffineTransform):
        def __call__(self, points: torch.Tensor) -> torch.Tensor:
            seen.append((torch.get_num_threads(), threads()))
            return super().__call__(points)

        def value_and_jacobian(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append((torch.get_num_threads(), threads()))
            return super().value_and_jacobian(points)

    probe = Probe(torch.eye(3, dtype=torch.float64))
    calls = [
        lambda: nephi.resample(pair.moving, pair.fixed, probe),
        lambda: nephi.evaluate(probe, grid=pair.fixed),
        lambda: nephi.jacobian_image(probe, pair.fixed),
        lambda: nephi.landmark_errors(probe, ([[1.0, 2.0]], [[1.0, 2.0]])),
    ]
    for count in (1, 3):
        with torch_threads(count):
            for call in calls:
                seen.clear()
                call()
                assert seen and set(seen) == {(1, count)}
                assert torch.get_num_threads() == count
