"""The benchmark on DIR-Lab's and Learn2Reg's lungs, on a tiny phantom that data_scripts converts from their formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import nephi
from data_scripts.main import main as prepare

Script = Callable[[str], ModuleType]
SHAPE = (40, 32, 36)


def test_snapped_points_are_the_nearest_voxel_centres(script: Script) -> None:
    """On an oblique, anisotropic grid: shifts below half a voxel vanish, larger ones become whole voxels."""
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = turn * torch.tensor([0.6, 0.7, 2.5], dtype=torch.float64)
    grid = nephi.Grid((7, 5, 4), affine)
    voxels = torch.tensor([[1.0, 2, 3], [5, 0, 1]], dtype=torch.float64)
    for shift, steps in (([0.4, -0.4, 0.4], [0, 0, 0]), ([0.6, 0.0, -1.4], [1, 0, -1])):
        move = grid.voxel_to_world_vectors(torch.tensor(shift, dtype=torch.float64))
        found = script("dirlab.py").snapped(lambda points, move=move: points + move, grid)(
            grid.voxel_to_world_points(voxels)
        )
        expected = grid.voxel_to_world_points(voxels + torch.tensor(steps, dtype=torch.float64))
        assert torch.allclose(found, expected, rtol=0, atol=1e-9)


@pytest.fixture
def copd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A phantom of breathing lungs as case 1 of DIR-Lab COPDgene, with 20 landmarks on voxel centres."""
    pair = nephi.phantoms.lung_phantom(shape=SHAPE)
    grid = pair.fixed.grid
    images = (pair.fixed, nephi.resample(pair.moving, grid, lambda points: points, outside=-1000))
    sides = (pair.landmarks.fixed, pair.landmarks.moving)
    voxels = [grid.world_to_voxel_points(side.coordinates).round() for side in sides]
    inside = grid.contains_voxel_points(voxels[0]) & grid.contains_voxel_points(voxels[1])
    raw = tmp_path / "raw"
    raw.mkdir()
    for side, image, points in zip("ei", images, voxels, strict=True):
        # The phantom's axes run to R, A, S; DIR-Lab's to L, P, I, and its voxels count from 1.
        values = (image.data.numpy()[::-1, ::-1, ::-1].astype(np.int16) + 1024).transpose(2, 1, 0)
        (raw / f"copd1_{side}BHCT.img").write_bytes(np.ascontiguousarray(values, "<i2").tobytes())
        lines = [f"{SHAPE[0] - x:g}\t{SHAPE[1] - y:g}\t{SHAPE[2] - z:g}\n" for x, y, z in points[inside][:20].tolist()]
        (raw / f"copd1_300_{side}BH_xyz_r1.txt").write_text("".join(lines), encoding="utf-8")
    geometry = tmp_path / "g.toml"
    geometry.write_text(f"[1]\nshape = {list(SHAPE)}\nspacing = {grid.spacing.tolist()}\n", encoding="utf-8")
    words = ["dirlab-copd", raw, "-o", tmp_path / "copd", "--geometry", geometry, "--cases", 1]
    with pytest.raises(SystemExit) as ended:
        prepare([str(word) for word in words])
    assert not ended.value.code
    capsys.readouterr()
    return tmp_path / "copd"


def test_a_case_is_registered_once_and_shown_beside_published_errors(
    script: Script, copd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("dirlab.py")
    words = [str(copd), "--presets", "lung-ct-fast", "--work", str(tmp_path / "work"), "-o", str(tmp_path / "results")]
    module.main(words)
    (row,) = json.loads((tmp_path / "results/dirlab-dir-lab-copdgene.json").read_text(encoding="utf-8"))["rows"]
    assert row["tre_mm"] < 0.5 * row["before_mm"] and row["folding_percent"] == 0
    assert row["tre_mm"] == pytest.approx(np.mean(row["errors_mm"]), abs=1e-4) and len(row["errors_mm"]) == 20
    assert row["snapped_mm"] != row["tre_mm"] and row["cpu_s"] > 0 and row["wall_s"] > 0
    monkeypatch.setattr(module, "measure_command", None)  # a second run measures nothing
    capsys.readouterr()
    module.main(words)
    shown = capsys.readouterr().out
    assert (
        f"| copd1-eBH to copd1-iBH | {row['before_mm']:.3f} | {row['tre_mm']:.3f} | {row['snapped_mm']:.3f} |" in shown
    )
    assert "| mean of 1 |" in shown and "| pTVreg | 0.846 | snapped |" in shown
    with pytest.raises(SystemExit, match="expected pairs with landmarks in the splits train, found none"):
        module.main([*words, "--splits", "train"])


def test_failures_are_shown_and_left_out_of_the_mean(script: Script) -> None:
    module = script("dirlab.py")
    good = dict.fromkeys(module.COLUMNS, 1.0) | {"fixed": "a", "moving": "b", "preset": "p"}
    bad = {"fixed": "c", "moving": "d", "preset": "p", "error": "no | luck"}
    text = module.page({}, "Learn2Reg NLST", [good, bad])
    assert "| c to d | no / luck |" in text and "| mean of 1, others failed | 1.000" in text
    assert "Published" not in text, "nothing is published for other names"


def test_wrong_input_is_one_line(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = script("dirlab.py")
    with pytest.raises(SystemExit, match="no such file; expected a data set's index"):
        module.main([str(tmp_path / "no")])
    with pytest.raises(SystemExit):
        module.main([str(tmp_path), "--presets", "lung"])
    assert "--presets: expected some of" in capsys.readouterr().err
