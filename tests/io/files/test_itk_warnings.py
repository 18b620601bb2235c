"""Warnings of ITK are collected, not printed, by one thread at a time."""

import threading
from pathlib import Path

import pytest
import SimpleITK as sitk

from nephi.io.itk import itk_warnings

TWICE = """#Insight Transform File V1.0
#Transform 0
Transform: TranslationTransform_double_2_2
Parameters: 1 2
FixedParameters:
#Transform 1
Transform: TranslationTransform_double_2_2
Parameters: 1 2
FixedParameters:
"""


def provoke(folder: Path) -> None:
    (folder / "twice.tfm").write_text(TWICE)
    sitk.ReadTransform(str(folder / "twice.tfm"))


def test_warnings_are_collected_inside_the_block(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with itk_warnings() as outer:
        with itk_warnings() as inner:
            provoke(tmp_path)
        assert "more than one transform" in "".join(inner)
        assert outer == []
        provoke(tmp_path)
        assert len(outer) == 1
    assert capfd.readouterr() == ("", "")
    provoke(tmp_path)
    assert "more than one transform" in capfd.readouterr().err


def test_an_exception_ends_the_collection(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), itk_warnings():
        raise KeyboardInterrupt
    provoke(tmp_path)
    assert "more than one transform" in capfd.readouterr().err


def test_threads_wait_for_each_other() -> None:
    """If threads restored it out of order, ITK's global logger would be a dangling pointer and crash the process."""
    entered = threading.Event()

    def other() -> None:
        with itk_warnings():
            entered.set()

    thread = threading.Thread(target=other)
    with itk_warnings():
        thread.start()
        assert not entered.wait(0.2)
    thread.join(5)
    assert entered.is_set()
