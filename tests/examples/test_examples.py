"""The examples run. tests/docs runs the Snakemake workflow together with its page."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import pytest

import nephi

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "argv", ["from_python.py", str(tmp_path / "lungs")])
    measured = runpy.run_path(str(EXAMPLES / "from_python.py"), run_name="__main__")["measures"]
    assert measured["tre_mm"]["mean"] < 0.3 * measured["tre_mm"]["before"]
    assert "landmark error" in capsys.readouterr().out
    for name in ("overlay.png", "result/transform.nephi", "result/report.html"):
        assert (tmp_path / "lungs" / name).stat().st_size > 0


def test_snakemake_quotes_for_the_shell() -> None:
    """Its functions alone: Snakemake is no module of this environment."""
    text = (EXAMPLES / "snakemake" / "Snakefile").read_text(encoding="utf-8")
    code = re.search(r"^def option.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert code is not None
    name = 'it\'s "$HOME" `x` \\ ö\t.nii'
    names: dict[str, Any] = {"shlex": shlex, "PAIRS": {"ada": {"fixed_mask": name}}}
    exec(code[0], names)
    option = names["option"]("--mask", "fixed_mask")(types.SimpleNamespace(pair="ada"))
    process = subprocess.run(["bash", "-c", f"printf '%s\\n' {option}"], capture_output=True, check=True)
    assert process.stdout.decode() == f"--mask\n{name}\n"


@pytest.fixture
def interface(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("nipype") is None:
        pytest.skip("needs nipype, of the extra `examples`")
    monkeypatch.setenv("NO_ET", "1")  # it would look for newer versions
    monkeypatch.setenv("PATH", os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    monkeypatch.syspath_prepend(str(EXAMPLES))  # nodes are pickled, so the module needs a name
    return importlib.import_module("nipype_interface").NephiRegister


@pytest.mark.filterwarnings("ignore")  # Nipype's own
def test_nipype(interface: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nipype import Node, Workflow
    from nipype.interfaces.utility import IdentityInterface

    monkeypatch.chdir(tmp_path)
    pair = nephi.phantoms.shapes_phantom(shape=(64, 64))
    nephi.write_image(pair.fixed, "fixed.nii.gz")
    nephi.write_image(pair.moving, "moving.nii.gz")
    images = {"fixed_image": str(tmp_path / "fixed.nii.gz"), "moving_image": str(tmp_path / "moving.nii.gz")}
    command = interface(similarity="lncc2 + 10 mse", seed=3, **images).cmdline
    assert (
        command.startswith("nephi register --quiet -f ")
        and "--save transform,warp,inverse,warped,report " in f"{command} "
    )
    hashes = [interface(threads=n, **images).inputs.get_hashval()[1] for n in (1, 1, 2)]
    assert hashes[0] == hashes[1] == hashes[2]  # the number of threads does not matter
    source = Node(IdentityInterface(fields=list(images)), name="source")
    source.inputs.trait_set(**images)
    register = Node(interface(seed=3), name="register")
    workflow = Workflow("study", base_dir=str(tmp_path))
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path)}
    workflow.connect([(source, register, [(name, name) for name in images])])
    (register,) = [node for node in workflow.run().nodes if node.name == "register"]
    outputs = register.result.outputs
    transform = nephi.read_transform(outputs.transform)
    assert nephi.landmark_errors(transform, pair.landmarks).after.mean() < 1
    assert nephi.read_image(outputs.warped_image).grid.shape == pair.fixed.grid.shape
    assert Path(outputs.warp).is_file() and Path(outputs.inverse_warp).is_file() and Path(outputs.report).is_file()
