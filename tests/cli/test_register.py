"""`nephi register`: its results, their reproducibility, and its options."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import nephi

from .conftest import Call, invoke, itk_field, itk_resample, pair_options, voxels

FILES = ["inverse_warp.nii.gz", "report.html", "report.json", "transform.nephi", "warp.nii.gz", "warped.nii.gz"]


def written(folder: Path) -> dict[str, bytes]:
    """Contents of the result files that equal runs share: not the page and the times in the report."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "report.html"}
    report = json.loads(files.pop("report.json"))
    del report["usage"]
    return {**files, "report": json.dumps(report).encode()}


def test_writes_six_files(flat_result: Path) -> None:
    assert sorted(p.name for p in flat_result.iterdir()) == FILES


def test_recovers_the_motion(flat: Path, flat_result: Path) -> None:
    pairs = nephi.read_point_pairs(flat / "landmarks.csv")
    errors = nephi.landmark_errors(nephi.read_transform(flat_result / "transform.nephi"), pairs).summary()
    assert errors["before"] > 3
    assert errors["mean"] < 0.8  # half a voxel; the affine part alone leaves 1.9


def test_warped_image_matches_simpleitk(flat: Path, flat_result: Path) -> None:
    field = itk_field(flat_result / "warp.nii.gz")
    expected = itk_resample(flat / "moving.nii.gz", flat / "fixed.nii.gz", field, sitk.sitkLinear, 0.0)
    actual = voxels(flat_result / "warped.nii.gz").T
    assert actual.dtype == np.int16
    # Displacements are rounded to 1/1024 mm and voxels to whole numbers.
    assert np.abs(actual - expected).max() <= 2
    assert np.abs(actual - expected).mean() < 0.3


def test_inverse_warp_is_on_the_moving_grid(flat: Path, flat_result: Path) -> None:
    field, moving = nibabel.load(flat_result / "inverse_warp.nii.gz"), nibabel.load(flat / "moving.nii.gz")
    np.testing.assert_allclose(field.affine, moving.affine, atol=1e-4)
    assert field.shape == (*moving.shape, 1, 1, 2)
    inverse, forward = (itk_field(flat_result / f"{n}.nii.gz") for n in ("inverse_warp", "warp"))
    pairs = nephi.read_point_pairs(flat / "landmarks.csv", "ras")  # coordinates as in the file: LPS
    gaps = [np.subtract(inverse.TransformPoint(forward.TransformPoint(p)), p) for p in pairs.fixed.coordinates.tolist()]
    assert np.linalg.norm(gaps, axis=1).mean() < 0.2


def test_the_same_call_gives_the_same_bytes(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    succeed("register", *pair_options(flat), "-o", tmp_path / "again", "--config", flat / "quick.toml")
    assert written(tmp_path / "again") == written(flat_result)


def test_another_seed_gives_another_result(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    options = ["--config", flat / "quick.toml", "--seed", 1]
    succeed("register", *pair_options(flat), "-o", tmp_path / "other", *options)
    first, other = written(flat_result), written(tmp_path / "other")
    assert all(first[name] != other[name] for name in first)


def test_the_python_api_gives_the_same_bytes(flat: Path, flat_result: Path, tmp_path: Path) -> None:
    settings = nephi.read_settings(flat / "quick.toml", "generic")
    nephi.register(flat / "fixed.nii.gz", flat / "moving.nii.gz", settings=settings).save(tmp_path)
    assert written(tmp_path) == written(flat_result)


def test_printed_settings_give_the_same_bytes(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    printed = succeed("info", flat_result / "transform.nephi", "--settings").out
    (tmp_path / "again.toml").write_text(printed, encoding="utf-8")
    # The preset has no effect, as the printed settings are complete.
    options = ["--preset", "lung-ct", "--config", tmp_path / "again.toml"]
    succeed("register", *pair_options(flat), "-o", tmp_path / "again", *options)
    assert written(tmp_path / "again") == written(flat_result)


def test_prints_the_measures(succeed: Call, flat: Path, tmp_path: Path) -> None:
    masks = ["--fixed-mask", flat / "fixed_mask.nii.gz", "--moving-mask", flat / "moving_mask.nii.gz"]
    options = [*pair_options(flat), *masks, "--config", flat / "brief.toml"]
    printed = succeed("register", *options, "-o", tmp_path / "a").out
    for expected in ("det J <= 0, inside the mask", "whole grid", "inverse consistency", "CPU s", str(tmp_path / "a")):
        assert expected in printed
    assert "[objective]" not in printed
    printed = succeed("register", *options, "-o", tmp_path / "b", "-v").out
    assert "[objective]" in printed and "Stages" in printed and "affine" in printed
    assert succeed("register", *options, "-o", tmp_path / "c", "-q").out == ""
    report = json.loads((tmp_path / "a" / "report.json").read_text(encoding="utf-8"))
    assert report["inside_mask"]["points"] == int((voxels(flat / "fixed_mask.nii.gz") > 0).sum())
    assert written(tmp_path / "a") == written(tmp_path / "b") == written(tmp_path / "c")


def test_page_contains_the_command(succeed: Call, flat: Path, tmp_path: Path) -> None:
    options = [*pair_options(flat), "-o", tmp_path / "a b", "--config", flat / "brief.toml", "--seed", 7, "-q"]
    succeed("register", *options)
    page = (tmp_path / "a b" / "report.html").read_text(encoding="utf-8")
    assert f'<pre id="command">nephi register -f {flat / "fixed.nii.gz"} -m ' in page
    assert f"-o &#39;{tmp_path / 'a b'}&#39; --config" in page and "--seed 7 -q</pre>" in page


def test_malicious_file_name_is_escaped(succeed: Call, flat: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>.nii.gz"
    hostile.write_bytes((flat / "fixed.nii.gz").read_bytes())
    options = ["-f", hostile, "-m", flat / "moving.nii.gz", "--config", flat / "brief.toml", "-o", tmp_path / "out"]
    succeed("register", *options)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;.nii.gz") >= 2  # as a name, and in the command


@pytest.mark.parametrize(
    ("save", "files"),
    [
        ("transform,warp,inverse,warped,report", [name for name in FILES if name != "report.html"]),
        (" transform ", ["transform.nephi"]),
        ("inverse,inverse", ["inverse_warp.nii.gz"]),
        ("page,report", ["report.html", "report.json"]),
        ("warped", ["warped.nii.gz"]),
    ],
)
def test_save_selects_the_results(
    save: str, files: list[str], succeed: Call, flat: Path, brief_result: Path, tmp_path: Path
) -> None:
    """Other results of an earlier run are deleted, other files stay, and the bytes do not depend on `--save`."""
    for name in ("report.html", "warp.nii.gz", "notes.txt"):
        (tmp_path / name).write_text("of an older result", encoding="utf-8")
    options = [*pair_options(flat), "-o", tmp_path, "--config", flat / "brief.toml", "--overwrite", "--save", save]
    succeed("register", *options)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["notes.txt", *files])
    for name in set(files) - {"report.html", "report.json"}:
        assert (tmp_path / name).read_bytes() == (brief_result / name).read_bytes()


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("warp,wrap", "expected names among transform,warp,inverse,warped,report,page, got 'wrap'"),
        ("page", "page requires report"),
        ("", "got ''"),
    ],
)
def test_unknown_results_are_rejected(save: str, message: str, call: Call, flat: Path, tmp_path: Path) -> None:
    outcome = call("register", *pair_options(flat), "-o", tmp_path / "out", "--save", save)
    assert outcome.code == 2 and message in outcome.err
    assert not (tmp_path / "out").exists()


def test_landmarks_do_not_influence_the_registration(succeed: Call, flat: Path, tmp_path: Path) -> None:
    options = [*pair_options(flat), "--config", flat / "quick.toml"]
    ras = tmp_path / "ras.csv"
    nephi.write_point_pairs(ras, nephi.read_point_pairs(flat / "landmarks.csv"), "ras")
    succeed("register", *options, "-o", tmp_path / "plain")
    printed = succeed("register", *options, "-o", tmp_path / "lps", "--landmarks", flat / "landmarks.csv").out
    succeed("register", *options, "-o", tmp_path / "ras", "--landmarks", ras, "--frame", "ras")
    plain, lps, again = (
        json.loads((tmp_path / n / "report.json").read_text(encoding="utf-8")) for n in ("plain", "lps", "ras")
    )
    assert "tre_mm" not in plain
    assert lps["tre_mm"] == again["tre_mm"]
    assert (tmp_path / "plain" / "warp.nii.gz").read_bytes() == (tmp_path / "lps" / "warp.nii.gz").read_bytes()
    measured = succeed("evaluate", "-t", tmp_path / "lps" / "transform.nephi", "--landmarks", flat / "landmarks.csv")
    assert f"{lps['tre_mm']['mean']:.4f} mm" in measured.out
    assert f"{lps['tre_mm']['mean']:.3f} mm ({lps['tre_mm']['before']:.3f} before)" in printed
    assert "<circle" in (tmp_path / "lps" / "report.html").read_text(encoding="utf-8")


def test_landmarks_of_another_dimension_are_refused(call: Call, flat: Path, solid: Path, tmp_path: Path) -> None:
    options = [*pair_options(flat), "--config", flat / "brief.toml", "--landmarks", solid / "landmarks.csv"]
    outcome = call("register", *options, "-o", tmp_path / "out")
    assert outcome.code == 3
    assert "landmarks.csv: expected 2-D landmarks, the dimension of the images, got 3-D" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_progress_bar_needs_a_terminal(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nephi.cli.printing import progress_bar

    with progress_bar(quiet=False) as show:
        show(nephi.optimize.Progress("affine", 20, 100, 0.5))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress_bar(quiet=True) as show:
        show(nephi.optimize.Progress("affine", 20, 100, 0.5))


def test_non_empty_folder_is_rejected(call: Call, flat: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    outcome = call("register", *pair_options(flat), "-o", tmp_path, "--config", flat / "brief.toml")
    assert outcome.code == 3
    assert (
        outcome.err == f"nephi: error: {tmp_path}: the output folder is not empty; "
        "choose another, or give --overwrite (Python: overwrite=True)\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_overwrite_replaces_only_results(succeed: Call, flat: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "warp.nii.gz").write_text("old", encoding="utf-8")
    succeed("register", *pair_options(flat), "-o", tmp_path, "--config", flat / "brief.toml", "--overwrite")
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "notes.txt"])
    assert (tmp_path / "warp.nii.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_empty_folder_is_accepted(succeed: Call, flat: Path, tmp_path: Path) -> None:
    succeed("register", *pair_options(flat), "-o", tmp_path, "--config", flat / "brief.toml", "-q")
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES


def test_options_override_the_file_which_overrides_the_preset(succeed: Call, flat: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        (flat / "brief.toml").read_text(encoding="utf-8")
        + "[image]\noutside = -5\nwindow = [0, 900]\n[objective]\npoints = 99\n"
    )
    options = ["--preset", "ct", "--config", tmp_path / "own.toml"]
    options += ["--outside", -7, "--similarity", "mind", "--transform", "deformable", "--threads", 1]
    succeed("register", *pair_options(flat), "-o", tmp_path / "out", *options)
    settings = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["settings"]
    assert settings["image"]["outside"] == -7
    assert settings["image"]["window"] == [0, 900]
    assert settings["objective"]["points"] == 99
    assert settings["objective"]["similarity"] == "mind" and settings["objective"]["radius"] == 2
    assert settings["affine"]["similarity"] == "nmi"
    assert settings["optimization"] == json.loads(json.dumps(nephi.preset("ct").optimization.__dict__))


def test_a_window_may_be_negative(succeed: Call, flat: Path, tmp_path: Path) -> None:
    options = ["--window", -1000, -200.5, "--outside", -1024, "--config", flat / "brief.toml", "--initial", "centers"]
    (tmp_path / "ct").mkdir()
    for name in ("fixed", "moving"):
        path = flat / f"{name}.nii.gz"
        nibabel.save(
            nibabel.Nifti1Image(voxels(path) - np.int16(1000), nibabel.load(path).affine), tmp_path / "ct" / path.name
        )
    succeed("register", *pair_options(tmp_path / "ct"), "-o", tmp_path / "out", *options)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["settings"]["image"]["window"] == [-1000.0, -200.5]


def test_ct_presets_pad_with_air(solid: Path) -> None:
    """Voxels outside the moving image are -1024, all others interpolated."""
    field = itk_field(solid / "result" / "warp.nii.gz")
    expected = itk_resample(solid / "moving.nii.gz", solid / "fixed.nii.gz", field, sitk.sitkLinear, -1024.0)
    actual = voxels(solid / "result" / "warped.nii.gz").T
    assert actual.dtype == np.int16
    difference = np.abs(actual - expected)
    assert np.quantile(difference, 0.999) <= 2  # one voxel in a thousand may lie across the border by 1/1024 mm
    reached = itk_resample(solid / "moving_mask.nii.gz", solid / "fixed.nii.gz", field, sitk.sitkLinear, -1.0) >= 0
    assert (actual[~reached] == -1024).mean() > 0.99


def test_registers_ct_without_masks(solid: Path) -> None:
    report = json.loads((solid / "result" / "report.json").read_text(encoding="utf-8"))
    assert report["inside_mask"]["points"] > 1000  # the lungs were found
    assert report["files"].keys() == {"fixed", "moving"}  # masks that were found have no files
    pairs = nephi.read_point_pairs(solid / "landmarks.csv")
    errors = nephi.landmark_errors(nephi.read_transform(solid / "result" / "transform.nephi"), pairs).summary()
    assert errors["before"] > 4
    assert errors["mean"] < 1.2  # voxels are 6 to 7 mm


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_recovers_a_known_matrix(kind: str, succeed: Call, flat: Path, tmp_path: Path) -> None:
    angle = 0.12
    c, s = np.cos(angle), np.sin(angle)
    fixed = nibabel.load(flat / "moving.nii.gz")
    true = np.eye(4)
    true[:2, :2] = [[c, -s], [s, c]]
    true[:2, 3] = [7.0, -5.0]
    if kind == "affine":  # along the voxel axes, as displacement fields cannot lie on a sheared grid
        axes = fixed.affine[:2, :2] / np.linalg.norm(fixed.affine[:2, :2], axis=0)
        true[:2, :2] = true[:2, :2] @ axes @ np.diag([1.06, 0.94]) @ axes.T
    nibabel.save(nibabel.Nifti1Image(np.asarray(fixed.dataobj), true @ fixed.affine), tmp_path / "moving.nii.gz")
    options = ["--transform", kind, "--config", flat / "quick.toml", "-o", tmp_path / "out"]
    succeed("register", "-f", flat / "moving.nii.gz", "-m", tmp_path / "moving.nii.gz", *options)
    affine = nephi.read_transform(tmp_path / "out" / "transform.nephi")
    assert isinstance(affine, nephi.AffineTransform)
    rim = torch.tensor([[60.0, 0.0], [0.0, 60.0], [-60.0, 0.0], [0.0, -60.0]]).double()
    truth = nephi.AffineTransform(torch.tensor(true[np.ix_([0, 1, 3], [0, 1, 3])]))
    assert float((affine(rim) - truth(rim)).norm(dim=-1).max()) < 0.5
    warped, original = voxels(tmp_path / "out" / "warped.nii.gz"), voxels(flat / "moving.nii.gz")
    inside = original > 200
    assert np.abs(warped.astype(float) - original)[inside].mean() < 0.3 * np.std(original[inside])


class TestInitial:
    """`--initial`, with all later steps reduced to almost nothing."""

    @pytest.fixture
    def start_only(self, tmp_path: Path) -> Path:
        path = tmp_path / "start.toml"
        path.write_text("[affine]\nkind = 'none'\nrotations = 1\n[optimization]\nrate = 1e-9\n[[levels]]\nsteps = 1\n")
        return path

    def affine_of(self, succeed: Call, flat: Path, config: Path, *options: object) -> np.ndarray:
        output = config.parent / "out"
        succeed("register", *pair_options(flat), "-o", output, "--config", config, "--overwrite", *options)
        return np.array(json.loads((output / "report.json").read_text(encoding="utf-8"))["affine_matrix_ras"])

    def test_none(self, succeed: Call, flat: Path, start_only: Path) -> None:
        np.testing.assert_array_equal(self.affine_of(succeed, flat, start_only, "--initial", "none"), np.eye(3))

    def test_centers(self, succeed: Call, flat: Path, start_only: Path) -> None:
        fixed, moving = (
            nephi.read_image(flat / f"{n}.nii.gz").grid.centre_world().numpy() for n in ("fixed", "moving")
        )
        affine = self.affine_of(succeed, flat, start_only, "--initial", "centers")
        np.testing.assert_allclose(affine[:2, 2], moving - fixed, atol=1e-9)

    def test_moments(self, succeed: Call, flat: Path, start_only: Path) -> None:
        masks = [nephi.read_image(flat / f"{n}_mask.nii.gz") for n in ("fixed", "moving")]
        middles = [m.grid.voxel_centres()[m.data > 0].double().mean(dim=0).numpy() for m in masks]
        options = ["--initial", "moments"]
        for name in ("fixed", "moving"):
            options += [f"--{name}-mask", flat / f"{name}_mask.nii.gz"]
        affine = self.affine_of(succeed, flat, start_only, *options)
        np.testing.assert_allclose(affine[:2, 2], middles[1] - middles[0], atol=1e-3)

    def test_a_file_of_itk(self, succeed: Call, flat: Path, start_only: Path) -> None:
        """The file is in LPS and maps fixed to moving points, as initial transforms of ANTs do."""
        affine = sitk.AffineTransform(2)
        affine.SetMatrix([1.02, 0.1, -0.05, 0.98])
        affine.SetTranslation([3.0, -4.0])
        affine.SetCenter([10.0, 5.0])
        path = start_only.parent / "start.tfm"
        sitk.WriteTransform(affine, str(path))
        matrix = self.affine_of(succeed, flat, start_only, "--initial", path)
        lps = np.array([7.0, -11.0])
        expected = affine.TransformPoint(lps.tolist())
        np.testing.assert_allclose(-(matrix[:2, :2] @ -lps + matrix[:2, 2]), expected, atol=1e-9)

    def test_an_affine_registration(self, succeed: Call, flat: Path, start_only: Path) -> None:
        """An affine registration as the initial alignment of another."""
        first = start_only.parent / "affine"
        succeed("register", *pair_options(flat), "-o", first, "--transform", "affine", "--config", flat / "quick.toml")
        matrix = json.loads((first / "report.json").read_text(encoding="utf-8"))["affine_matrix_ras"]
        affine = self.affine_of(succeed, flat, start_only, "--initial", first / "transform.nephi")
        np.testing.assert_array_equal(affine, matrix)


def test_interrupted_run_writes_nothing(
    call: Call, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nephi.optimize.registration.fit_fields", interrupted)
    outcome = call("register", *pair_options(flat), "-o", tmp_path / "out", "--config", flat / "brief.toml")
    assert outcome.code == 130
    assert outcome.err.strip() == "nephi: interrupted; incomplete files were not written"
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(call: Call, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isal import igzip

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(igzip.IGzipFile, "write", full)
    outcome = call("register", *pair_options(flat), "-o", tmp_path / "a" / "out", "--config", flat / "brief.toml")
    assert outcome.code == 3
    assert "No space left" in outcome.err and str(tmp_path / "a" / "out") in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_names_with_spaces_and_brackets(flat: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Jörg's [bold] pair"
    folder.mkdir()
    for name in ("fixed", "moving"):
        (folder / f"{name}.nii.gz").write_bytes((flat / f"{name}.nii.gz").read_bytes())
    printed = invoke(
        "register",
        *pair_options(folder),
        "-o",
        folder / "out [1]",
        "--config",
        flat / "brief.toml",
        "--transform",
        "rigid",
    )
    assert "out [1]" in printed
    assert (folder / "out [1]" / "warped.nii.gz").is_file()
