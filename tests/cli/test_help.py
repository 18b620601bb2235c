"""Help texts: complete, and at most 120 columns wide."""

from importlib import metadata

import pytest

import nephi

from .conftest import Call

COMMANDS = (
    "register",
    "predict",
    "apply",
    "points",
    "export",
    "jacobian",
    "evaluate",
    "info",
    "view",
    "demo",
    "completion",
)
COMMANDS += ("train", "finetune", "import-model")


def test_lists_the_commands(succeed: Call) -> None:
    printed = succeed("--help").out
    assert all(f"  {name} " in printed for name in COMMANDS)
    assert succeed("-h").out == printed
    assert "Exit codes: 0 success; 1 standard output could not be written; 2 wrong usage;" in " ".join(printed.split())


def test_version_includes_torch_python_and_device(succeed: Call) -> None:
    printed = succeed("--version").out
    assert printed.startswith(f"nephi {nephi.__version__} (torch {metadata.version('torch')}, python 3.")
    assert nephi.runtime.device_summary() in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str, succeed: Call) -> None:
    printed = succeed(command, "--help").out
    assert printed.count(f"nephi {command} ") >= 2 or command == "demo"  # usage, and an example
    assert max(map(len, printed.splitlines())) <= 120
    # Every option has a description, on its line or the next.
    options = printed.split("Options:\n")[1].splitlines()
    for line, following in zip(options, [*options[1:], ""], strict=True):
        if line.startswith("  -"):
            words = line.strip().split("  ", 1)
            assert len(words) == 2 or following.startswith("      "), line


def test_register_lists_presets_and_similarities(succeed: Call) -> None:
    printed = " ".join(succeed("register", "--help").out.split())
    assert all(name in printed for name in nephi.preset_names())
    assert all(name in printed for name in nephi.losses.SIMILARITIES)


@pytest.mark.parametrize(
    ("command", "message"), [("apply", "ANTs' order"), ("points", "the opposite direction of images")]
)
def test_directions_are_explained(command: str, message: str, succeed: Call) -> None:
    assert message in " ".join(succeed(command, "--help").out.split())


def test_choices_are_those_of_the_library(succeed: Call) -> None:
    """The command line repeats them, so that help texts do not load the library."""
    printed = " ".join(succeed("export", "--help").out.split())
    assert f"--format [{'|'.join(nephi.io.FORMATS)}]" in printed
    assert f"--transform-format [{'|'.join(nephi.io.CONVENTIONS)}]" in printed
    assert f"--points-format [{'|'.join(nephi.io.POINT_FORMATS)}]" in " ".join(succeed("points", "--help").out.split())


def test_refinable_parameters_are_those_of_the_library(succeed: Call) -> None:
    choices = f"--refine-parameters [{'|'.join(nephi.inference.REFINED_PARAMETERS)}]"
    assert choices in " ".join(succeed("register", "--help").out.split())
