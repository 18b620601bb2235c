"""Test that kernels yield the same bytes with any number of threads, in forked processes, and in concurrent calls."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from nephi import kernels
from nephi.fields.compiled import Compiled
from nephi.kernels.library import kernel_threads, threads
from tests.kernels.test_field import points_in_and_around, random_field

THREADS = (1, 2, 3, 5)


def field_results(dimension: int, interpolation: str = "linear") -> list[Tensor]:
    """Return values, inverse and all gradients of a field at more points than one span of the backward pass."""
    field = random_field(dimension, channels=8, interpolation=interpolation).requires_grad_(False)
    arrays = Compiled().arrays(field)
    assert arrays is not None
    points = points_in_and_around(field, 9001)
    values, jacobians = kernels.field_values(arrays, points, jacobian=True)
    start = -0.1 * values
    inverse, errors = kernels.field_inverse(arrays, points, start, 1e-3, 16)
    sums = [torch.zeros_like(parameter) for parameter in arrays.parameters]
    assert jacobians is not None
    by_points = kernels.field_gradient(arrays, points, values, jacobians, True, sums)
    assert by_points is not None
    few = [torch.ones_like(parameter) for parameter in arrays.parameters]
    kernels.field_gradient(arrays, points[:200], values[:200], None, False, few)
    return [values, jacobians, inverse, errors, by_points, *sums, *few]


def spline_results(dimension: int) -> list[Tensor]:
    """Return those of a field of quadratic B-splines."""
    return field_results(dimension, "quadratic")


def image_results(dimension: int) -> list[Tensor]:
    """Return interpolated points and patches, their gradients, similarity, smoothing and foreground profiles."""
    generator = torch.Generator().manual_seed(0)
    shape = (37, 29, 23)[:dimension]
    data = torch.randn(shape, generator=generator)
    points = 20 * torch.rand(5000, dimension, generator=generator)
    values, gradients = kernels.interpolate(data, points, (-1.0, 1.0), gradient=True)
    offsets = torch.randn(27, dimension, generator=generator)
    frame = kernels.PatchFrame(torch.eye(dimension) * 0.7, torch.ones(dimension), offsets)
    matrices = torch.randn(500, dimension, dimension, generator=generator)
    patches = kernels.interpolate_patches(data, None, frame, points[:500], matrices, gradient=True)
    assert gradients is not None and patches.gradients is not None
    factors = {"lncc2": 1.0, "ncc": 0.5, "mse": 2.0, "pooled": 0.1}
    loss, by_patches = kernels.compare(
        torch.rand(500, 27, generator=generator), patches.values, patches.inside, factors, (1e-3, 1e-5), gradient=True
    )
    assert by_patches is not None
    by_centres, by_matrices = kernels.patches_gradient(frame, patches.gradients, by_patches, of_matrices=True)
    assert by_matrices is not None
    halves = [torch.eye(n).unflatten(0, (-1, 1))[::2, 0] + 0.5 * torch.eye(n).roll(1, 1)[::2] for n in shape]
    smooth = kernels.smooth(data, None, halves)
    back = points[:500] + 0.1
    penalties = kernels.round_trip(
        points[:500], back, matrices, matrices.mT.contiguous(), (1.0, 2.0, 3.0, 4.0, 5.0), 0.1, 0.1
    )
    terms = torch.tensor([loss, *penalties.terms], dtype=torch.float64)
    profiles = kernels.foreground_profiles(data)
    tensors = [values, gradients, *patches, by_patches, by_centres, by_matrices, smooth, terms, *profiles]
    return [*tensors, penalties.by_back, penalties.by_first, penalties.by_second]


def adam_results(_: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    state = [torch.rand(30_001, generator=generator) for _ in range(4)]
    kernels.adam_step(*state, (0.9, 0.999), (0.1, 0.001), 0.01, 1e-8)
    return state


@pytest.mark.parametrize("compute", [field_results, spline_results, image_results, adam_results])
@pytest.mark.parametrize("dimension", [2, 3])
def test_results_are_the_same_bytes_with_any_number_of_threads(
    dimension: int, compute: Callable[[int], list[Tensor]]
) -> None:
    results = []
    for count in THREADS:
        with kernel_threads(count):
            results.append(compute(dimension))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_kernels_use_the_threads_of_torch_unless_others_are_chosen() -> None:
    assert threads() == torch.get_num_threads()
    with kernel_threads(3):
        assert threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(threads).result() != 3  # a choice holds for one thread of the program
    assert threads() == torch.get_num_threads()


def test_concurrent_calls_return_the_same(built: str) -> None:
    expected = field_results(3)

    def compute(_: int) -> bool:
        with kernel_threads(3):
            return all(torch.equal(a, b) for a, b in zip(field_results(3), expected, strict=True))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(compute, range(9)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    with kernel_threads(3):
        expected = adam_results(0)
        child = os.fork()
        if child == 0:
            equal = all(torch.equal(a, b) for a, b in zip(adam_results(0), expected, strict=True))
            os._exit(0 if equal and _native_threads() > 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.equal(adam_results(0)[0], expected[0])


def _native_threads() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 2


def test_signals_are_handled_by_the_main_thread_and_the_process_exits() -> None:
    """A SIGINT sent to the process while workers exist interrupts Python, not a worker; exiting does not hang."""
    program = """
import os, signal, threading
from nephi.kernels.library import kernel_threads
from tests.kernels.test_threads import adam_results
with kernel_threads(3):
    adam_results(0)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            adam_results(0)
    except KeyboardInterrupt:
        print("interrupted in", threading.current_thread().name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted in MainThread\n" and done.returncode == 0, done.stderr


def test_workers_block_all_signals() -> None:
    if not os.path.exists("/proc/self/task"):
        pytest.skip("no /proc on this system")
    before = set(os.listdir("/proc/self/task"))
    with kernel_threads(7):
        adam_results(0)
    for task in set(os.listdir("/proc/self/task")) - before:
        with open(f"/proc/self/task/{task}/status", encoding="ascii") as file:
            blocked = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
        assert blocked >> (signal.SIGINT - 1) & 1 and blocked >> (signal.SIGTERM - 1) & 1
    assert threading.current_thread() is threading.main_thread()
