"""Warnings are issued as Python warnings and collected in blocks; errors are one line."""

import threading

import pytest
import torch

from nephi.errors import DataError, DataWarning, PlausibilityWarning, collected_warnings, is_out_of_memory, warn


def test_warning_is_a_python_warning_at_the_line_of_the_caller() -> None:
    def read() -> None:
        warn("scan.nii: two positions")

    with pytest.warns(DataWarning, match="^scan.nii: two positions$") as found:
        read()
    assert found[0].filename == __file__


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_blocks_collect_each_text_once_and_in_order() -> None:
    with collected_warnings() as outer:
        warn("a")
        with collected_warnings() as inner:
            warn("b")
            warn("a")
            warn("b")
        warn("c")
    warn("d")
    assert (outer, inner) == (["a", "b", "c"], ["b", "a"])


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_a_block_stops_collecting_after_an_error() -> None:
    with pytest.raises(ValueError), collected_warnings() as found:
        raise ValueError
    warn("later")
    assert found == []


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_threads_collect_separately() -> None:
    with collected_warnings() as found:
        other = threading.Thread(target=warn, args=["from another thread"])
        other.start()
        other.join()
    assert found == []


def test_an_error_is_one_printable_line() -> None:
    """Escaped characters are not escaped again if an error quotes another."""
    first = DataError("a.csv: found 'x\n\x1b[31m\u202e'")
    assert str(first) == "a.csv: found 'x\\n\\x1b[31m\\u202e'"
    assert str(DataError(f"pairs.csv: {first}")) == f"pairs.csv: {first}"
    assert str(DataError("fixé: ä")) == "fixé: ä"


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_blocks_collect_one_category() -> None:
    with collected_warnings() as everything, collected_warnings(PlausibilityWarning) as implausible:
        warn("a header")
        warn("a fold", PlausibilityWarning)
    assert (everything, implausible) == (["a header", "a fold"], ["a fold"])
    with pytest.warns(PlausibilityWarning, match="a fold"):
        warn("a fold", PlausibilityWarning)


def test_errors_of_allocation_are_those_of_python_and_torch() -> None:
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(ValueError())
