"""Bad input of `nephi register`: one line of error, the right exit code, and nothing written."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import nephi

from .conftest import Call, voxels, write_like

USAGE, DATA = 2, 3


class Files:
    """Writes bad files into a folder; good ones are those of `flat` and `solid`."""

    def __init__(self, folder: Path, flat: Path, solid: Path) -> None:
        self.folder, self.flat, self.solid = folder, flat, solid
        self.fixed, self.moving = flat / "fixed.nii.gz", flat / "moving.nii.gz"

    def image(self, change: Callable[[np.ndarray], np.ndarray], like: Path | None = None) -> Path:
        like = like or self.fixed
        return write_like(self.folder / "bad.nii.gz", change(voxels(like).astype(np.float32)), like)

    def voxel(self, value: float) -> Path:
        def change(data: np.ndarray) -> np.ndarray:
            data[5, 7] = value
            return data

        return self.image(change)

    def mask(self, data: np.ndarray, like: Path | None = None) -> Path:
        return write_like(self.folder / "bad_mask.nii.gz", data.astype(np.uint8), like or self.fixed)

    def header(self, **rows: list[float]) -> Path:
        """The fixed image with an sform of only these rows."""
        image = nibabel.Nifti1Image(voxels(self.fixed), None)
        image.header["sform_code"] = 1
        for name, row in rows.items():
            image.header[f"srow_{name}"] = row
        nibabel.save(image, self.folder / "bad.nii.gz")
        return self.folder / "bad.nii.gz"

    def bytes(self, name: str, data: bytes) -> Path:
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def far(self) -> Path:
        image = nibabel.load(self.moving)
        affine = image.affine.copy()
        affine[:2, 3] += 5000
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), self.folder / "far.nii.gz")
        return self.folder / "far.nii.gz"


@pytest.fixture
def files(flat: Path, solid: Path, tmp_path: Path) -> Files:
    folder = tmp_path / "input"
    folder.mkdir()
    return Files(folder, flat, solid)


def fixed(make: Callable[[Files], Path]) -> Callable[[Files], tuple[list[Any], Path]]:
    """Options with the bad file as the fixed image."""

    def options(files: Files) -> tuple[list[Any], Path]:
        path = make(files)
        return ["-f", path, "-m", files.moving], path

    return options


def moving(make: Callable[[Files], Path]) -> Callable[[Files], tuple[list[Any], Path]]:
    def options(files: Files) -> tuple[list[Any], Path]:
        path = make(files)
        return ["-f", files.fixed, "-m", path], path

    return options


def extra(option: str, make: Callable[[Files], Path]) -> Callable[[Files], tuple[list[Any], Path]]:
    def options(files: Files) -> tuple[list[Any], Path]:
        path = make(files)
        return ["-f", files.fixed, "-m", files.moving, option, path], path

    return options


BAD = {
    "missing fixed": (fixed(lambda f: f.folder / "no.nii.gz"), "no such file"),
    "missing moving": (moving(lambda f: f.folder / "no.mha"), "no such file"),
    "missing mask": (extra("--fixed-mask", lambda f: f.folder / "no.nii"), "no such file"),
    "empty file": (fixed(lambda f: f.bytes("bad.nii.gz", b"")), "empty"),
    "truncated gzip": (fixed(lambda f: f.bytes("bad.nii.gz", f.fixed.read_bytes()[:4000])), "incomplete"),
    "truncated nifti": (
        moving(lambda f: f.bytes("bad.nii", nibabel.load(f.fixed).to_bytes()[:-50])),
        "incomplete",
    ),
    "no image": (fixed(lambda f: f.bytes("bad.nii.gz", b"hello")), "could not read"),
    "unknown format": (fixed(lambda f: f.bytes("bad.jpg2", b"hello")), "expected an image"),
    "empty folder": (moving(lambda f: f.folder), "DICOM"),
    "4-D fixed": (fixed(lambda f: f.image(lambda d: np.stack([d, d])[:, :, :, None] * np.ones(4))), "4-D series"),
    "4-D moving": (moving(lambda f: f.image(lambda d: np.stack([d, d])[:, :, :, None] * np.ones(4))), "4-D series"),
    "4-D mask": (
        extra("--moving-mask", lambda f: f.image(lambda d: np.stack([d, d])[:, :, :, None] * np.ones(4))),
        "4-D series",
    ),
    "a displacement field": (moving(lambda f: f.flat / "result" / "warp.nii.gz"), "vectors"),
    "NaN": (fixed(lambda f: f.voxel(np.nan)), "1 NaN or infinite, the first at (5, 7)"),
    "infinity": (fixed(lambda f: f.voxel(np.inf)), "1 NaN or infinite"),
    "constant": (fixed(lambda f: f.image(np.ones_like)), "constant 1"),
    "empty mask": (extra("--fixed-mask", lambda f: f.mask(np.zeros((96, 96)))), "mask with voxels above 0"),
    "mask of the other image": (
        extra("--fixed-mask", lambda f: f.flat / "moving_mask.nii.gz"),
        "expected a mask on the grid of",
    ),
    "mask of another size": (extra("--moving-mask", lambda f: f.mask(np.ones((9, 9)), f.moving)), "on the grid of"),
    "3-D mask": (extra("--fixed-mask", lambda f: f.solid / "fixed_mask.nii.gz"), "on the grid of"),
    "2-D with 3-D": (moving(lambda f: f.solid / "moving.nii.gz"), "2-D"),
    "zero affine": (fixed(lambda f: f.header()), "singular"),
    "singular affine": (fixed(lambda f: f.header(x=[1, 2, 0, 0], y=[1, 2, 0, 0], z=[0, 0, 1, 0])), "singular"),
    "NaN in the affine": (fixed(lambda f: f.header(x=[np.nan, 0, 0, 0], y=[0, 1, 0, 0], z=[0, 0, 1, 0])), "NaN"),
    "a slice upright": (fixed(lambda f: f.header(x=[1, 0, 0, 0], y=[0, 0, 1, 0], z=[0, 1, 0, 0])), "x-y plane"),
    "missing initial": (extra("--initial", lambda f: f.folder / "no.tfm"), "no such file"),
    "initial no transform": (extra("--initial", lambda f: f.bytes("bad.tfm", b"hello")), "`name: value`"),
    "initial an image": (extra("--initial", lambda f: f.fixed), "displacement field"),
    "initial a deformation": (
        extra("--initial", lambda f: f.flat / "result" / "warp.nii.gz"),
        "--initial: expected an affine transform",
    ),
    "initial a deformable .nephi": (
        extra("--initial", lambda f: f.flat / "result" / "transform.nephi"),
        "--initial: expected an affine transform",
    ),
    "initial cut short": (
        extra(
            "--initial",
            lambda f: f.bytes("bad.nephi", (f.flat / "result" / "transform.nephi").read_bytes()[:-9]),
        ),
        ".nephi",
    ),
    "initial a pickle": (extra("--initial", lambda f: f.bytes("bad.nephi", pickle.dumps(nephi.Grid))), ".nephi"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(name: str, call: Call, files: Files, flat_result: Path, tmp_path: Path) -> None:
    make, message = BAD[name]
    options, path = make(files)
    out = tmp_path / "a" / "out"
    outcome = call("register", *options, "-o", out, "--config", files.flat / "brief.toml")
    assert (outcome.code, outcome.out) == (DATA, ""), outcome.err
    assert outcome.err.startswith("nephi: error: ") and outcome.err.count("\n") == 1
    assert str(path) in outcome.err and message in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


def test_error_names_both_images(call: Call, files: Files, tmp_path: Path) -> None:
    options = ["-o", tmp_path / "out", "--config", files.flat / "brief.toml"]
    outcome = call("register", "-f", files.fixed, "-m", files.solid / "moving.nii.gz", *options)
    assert f"got {files.fixed} (2-D) and {files.solid / 'moving.nii.gz'} (3-D)" in outcome.err
    far = files.far()
    outcome = call("register", "-f", files.fixed, "-m", far, "--initial", "none", *options)
    assert outcome.code == DATA and outcome.err.count("\n") == 1
    assert str(files.fixed) in outcome.err and str(far) in outcome.err and "overlap" in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


@pytest.mark.parametrize(
    "region",
    [
        "a mask in the background",
        "a mask of one voxel",
    ],
)
def test_unusual_masks_cause_no_traceback(region: str, call: Call, files: Files, tmp_path: Path) -> None:
    """The command writes results, or prints one line of error."""
    mask_values = np.zeros((96, 96))
    mask_values[(slice(2, 9), slice(2, 9)) if "background" in region else (40, 40)] = 1
    image = files.image(lambda d: d * (voxels(files.flat / "fixed_mask.nii.gz") > 0))
    options = ["--fixed-mask", files.mask(mask_values), "--config", files.flat / "brief.toml", "-q"]
    outcome = call("register", "-f", image, "-m", files.moving, "-o", tmp_path / "out", *options)
    assert outcome.code in (0, DATA)
    assert outcome.err.count("\n") == (outcome.code == DATA)
    assert (tmp_path / "out").exists() == (outcome.code == 0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--preset", "liver"], "lung-ct"),
        (["--similarity", "ssd"], "lncc2"),
        (["--device", "gpu"], "cuda:N"),
        (["--device", "cuda:77"], "--device cpu"),
        (["--window", "5", "5"], "image.window"),
        (["--window", "nan", "1"], "image.window"),
        (["--outside", "nan"], "image.outside"),
        (["--initial", "centres"], "auto, auto-mirrored, moments, centers, none, landmarks or a file"),
    ],
)
def test_wrong_values(options: list[str], named: str, call: Call, files: Files, tmp_path: Path) -> None:
    arguments = ["-f", files.fixed, "-m", files.moving, "-o", tmp_path / "out", *options]
    outcome = call("register", *arguments)
    assert (outcome.code, outcome.out) == (USAGE, "")
    assert outcome.err.startswith("nephi: error: ") and outcome.err.count("\n") == 1 and named in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--transform", "bspline"], "deformable"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "99999999999999999999"], "--seed"),
        (["--seed", "x"], "--seed"),
        (["--threads", "-1"], "--threads"),
        (["--window", "1"], "--window"),
        (["--outside", "dark"], "--outside"),
        (["--fixed_mask", "m.nii"], "--fixed-mask"),
        (["extra.nii"], "extra.nii"),
    ],
)
def test_errors_of_click(options: list[str], named: str, call: Call, files: Files, tmp_path: Path) -> None:
    arguments = ["-f", files.fixed, "-m", files.moving, "-o", tmp_path / "out", *options]
    outcome = call("register", *arguments)
    assert (outcome.code, outcome.out) == (USAGE, "")
    assert named in outcome.err and "Traceback" not in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


def test_missing_options_are_named(call: Call) -> None:
    for arguments, named in ((["register"], "--fixed"), (["apply"], "--transform"), (["info"], "FILE")):
        outcome = call(*arguments)
        assert outcome.code == USAGE and named in outcome.err
    assert call("regster").code == USAGE


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[optimization]\nrat = 1\n", "optimization.rat"),
        ("[optimization]\nrate = 'fast'\n", "optimization.rate"),
        ("rate = 1\n", "rate: unknown setting"),
        ("[fit\n", "expected TOML, found an error"),
        ("[objective]\nsimilarity = 'ssd'\n", "lncc2"),
    ],
)
def test_wrong_settings_files(text: str, named: str, call: Call, files: Files, tmp_path: Path) -> None:
    config = files.bytes("bad.toml", text.encode())
    arguments = ["-f", files.fixed, "-m", files.moving, "-o", tmp_path / "out", "--config", config]
    outcome = call("register", *arguments)
    assert outcome.code == USAGE
    assert outcome.err.startswith(f"nephi: error: {config}: ") and named in outcome.err
    assert outcome.err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


def test_folders_that_cannot_be_written(call: Call, files: Files, tmp_path: Path) -> None:
    """The folder is checked before any file is read: the images do not exist."""
    file = files.bytes("file", b"mine")
    missing = files.folder / "no.nii"
    for out in (file, file / "sub", file / "sub" / "sub"):
        outcome = call("register", "-f", missing, "-m", missing, "-o", out)
        assert outcome.code == DATA
        assert outcome.err.startswith(f"nephi: error: {out}: ") and outcome.err.count("\n") == 1
    assert file.read_bytes() == b"mine"


def test_a_folder_without_permission(call: Call, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, because root, who may run the tests, ignores permissions."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", denied)
    out = tmp_path / "a" / "out"
    outcome = call("register", "-f", files.fixed, "-m", files.moving, "-o", out)
    assert outcome.code == DATA
    assert outcome.err == f"nephi: error: {out}: cannot write results into this folder: Permission denied\n"
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_malicious_file_executes_nothing(call: Call, files: Files, tmp_path: Path) -> None:
    """Files of torch are pickles, which can execute code; .nephi files are read by safetensors."""
    path, executed = files.folder / "hostile.nephi", files.folder / "sprung"
    pickle.loads(pickle.dumps(Trap(executed)))
    executed.unlink()  # the trap does work
    out = tmp_path / "out.nii"
    for write in (
        lambda: path.write_bytes(pickle.dumps(Trap(executed))),
        lambda: torch.save({"affine": Trap(executed)}, path),
        lambda: path.write_bytes(b"\xff" * 8 + pickle.dumps(Trap(executed))),
    ):
        write()
        for arguments in (
            ["info", path],
            ["apply", "-t", path, "-i", files.moving, "-r", files.fixed, "-o", out],
            ["register", "-f", files.fixed, "-m", files.moving, "-o", out, "--initial", path],
        ):
            outcome = call(*arguments)
            assert outcome.code == DATA
            assert outcome.err.startswith(f"nephi: error: {path}: ") and outcome.err.count("\n") == 1
    assert not executed.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["input"]


@pytest.mark.parametrize("kept", [0, 5, 8, 200, -1])
def test_truncated_nephi_file(kept: int, call: Call, files: Files, flat_result: Path, tmp_path: Path) -> None:
    whole = (flat_result / "transform.nephi").read_bytes()
    path = files.bytes("cut.nephi", whole[:kept])
    for arguments in (
        ["points", "-t", path, "-i", files.flat / "fixed_points.csv", "-o", tmp_path / "o.csv"],
        ["jacobian", "-t", path, "-r", files.fixed, "-o", tmp_path / "o.nii"],
        ["evaluate", "-t", path, "--landmarks", files.flat / "landmarks.csv"],
        ["info", path],
    ):
        outcome = call(*arguments)
        assert (outcome.code, outcome.out) == (DATA, "")
        assert outcome.err.startswith(f"nephi: error: {path}: ") and outcome.err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["input"]
