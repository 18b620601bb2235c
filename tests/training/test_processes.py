"""Trainings in separate processes: killed, interrupted, and two at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest

import nephi
from nephi.models import NephiSettings
from nephi.training import PhaseSettings, TrainSettings

from .conftest import rows, with_loop

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def configured(settings: TrainSettings, folder: Path) -> list[str]:
    """Write a configuration, and return the arguments that train with it to `run`."""
    (folder / "c.toml").write_text(nephi.training.train_settings_toml(settings))
    return ["-m", "nephi.cli", "train", str(folder / "c.toml"), "-o", str(folder / "run"), "--device", "cpu"]


def test_killed_and_interrupted_as_a_program(settings: TrainSettings, tmp_path: Path) -> None:
    settings = with_loop(settings, steps=80, validation_interval=80, checkpoint_interval=10)
    arguments = configured(settings, tmp_path)
    log = tmp_path / "run" / "log.csv"
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)):
        resume = ["--resume"] if log.exists() else []
        command = [sys.executable, *arguments, *resume]
        process = subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=ENVIRONMENT)
        before = log.stat().st_mtime_ns if resume else 0
        while process.poll() is None and not (log.exists() and log.stat().st_mtime_ns > before):
            time.sleep(0.005)
        time.sleep(0.1)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        assert errors == ""
        assert ("Interrupted: checkpoint written; continue with --resume" in output) == (code == 130)
    assert nephi.train(settings, tmp_path / "run", resume=True).finished
    nephi.train(settings, tmp_path / "whole")
    for name in ("last", "best"):
        assert (tmp_path / "run" / f"{name}.safetensors").read_bytes() == (
            tmp_path / "whole" / f"{name}.safetensors"
        ).read_bytes()
    assert [row["step"] for row in rows(log)] == list(range(1, 81))


@pytest.mark.skipif(sys.platform == "win32", reason="gloo is tested on the platforms of trainings")
def test_two_processes_are_a_batch_of_twice_the_size(settings: TrainSettings, tmp_path: Path) -> None:
    """Also where the second phase trains further weights."""
    assert isinstance(settings.model, NephiSettings)
    settings = replace(settings, model=replace(settings.model, downsampling=(2, 1)))
    settings = replace(with_loop(settings, steps=6, batch=2, accumulate=2), phases=(PhaseSettings(3, network_steps=1),))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [*torchrun, *configured(settings, tmp_path)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained") == 1
    assert "distributed_backend" not in done.stderr and "FutureWarning" not in done.stderr  # messages of other packages
    nephi.train(with_loop(settings, batch=4), tmp_path / "one")
    for name in ("log.csv", "validation.csv"):
        pairs = zip(rows(tmp_path / "run" / name), rows(tmp_path / "one" / name), strict=True)
        for two, one in pairs:
            assert {**two, "seconds": 0} == pytest.approx({**one, "seconds": 0}, rel=1e-4, abs=1e-6)
    with pytest.raises(nephi.UsageError, match="processes: the run was started with 2, there are now 1"):
        nephi.train(settings, tmp_path / "run", resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo is tested on the platforms of trainings")
def test_an_error_in_one_process_ends_both(settings: TrainSettings, tmp_path: Path) -> None:
    """Each prints one line; none waits for the other."""
    shutil.copytree(settings.data.index, tmp_path / "data")
    path = tmp_path / "data" / "images" / "s1.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    settings = with_loop(replace(settings, data=replace(settings.data, index=str(tmp_path / "data"))), batch=1)
    command = [sys.executable, *configured(settings, tmp_path), "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("nephi: error: ")]
    assert any("s1.nii.gz: " in line for line in errors)
    assert "Traceback" not in done.stderr
