"""Files of a registration: written all or none, and consistent with independent measurements."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from isal import igzip

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.io import read_displacement, read_image, write_image
from nephi.io.fields import displacement_writer
from nephi.metrics import StreamingFoldingStatistics, evaluate, inverse_consistency_error
from nephi.optimize import register
from nephi.phantoms import PhantomPair, lung_phantom
from nephi.report import PAGE
from nephi.results import OUTPUTS, Registration, check_output_folder, require_exportable
from nephi.runtime import registration_threads
from nephi.settings import Settings, preset, settings_from_table

FILES = tuple(OUTPUTS.values())

Change = Callable[..., Settings]


@pytest.fixture(scope="session")
def report(saved: Path) -> dict[str, Any]:
    return json.loads((saved / "report.json").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Simulate a full disk after a number of compressed writes: those of an image, and one of each field."""
    written = 0

    def failing(write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal written
            written += 1
            if written > after:
                raise OSError(28, "No space left on device")
            return write(*arguments)

        return counted

    monkeypatch.setattr(igzip.IGzipFile, "write", failing(igzip.IGzipFile.write))
    monkeypatch.setattr(displacement_writer, "compress", failing(displacement_writer.compress))


def test_exactly_the_documented_files_are_written(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == sorted(FILES)
    assert set(FILES) == {"transform.nephi", "warp.nii.gz", "inverse_warp.nii.gz", "warped.nii.gz", "report.json"}


def test_selected_outputs(fitted: Registration, saved: Path, tmp_path: Path) -> None:
    """Only what they need is measured, earlier results are deleted, and unknown names write nothing."""
    fitted.save(tmp_path, overwrite=True)
    report = fitted.save(tmp_path, overwrite=True, outputs=["inverse", "transform"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inverse_warp.nii.gz", "transform.nephi"]
    assert "whole_grid" not in report and "settings" in report
    for name in ("inverse_warp.nii.gz", "transform.nephi"):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()
    measured = fitted.save(tmp_path / "report", outputs=("report",))
    assert measured["whole_grid"] == json.loads((saved / "report.json").read_text(encoding="utf-8"))["whole_grid"]
    for outputs, message in ((["warp", "wrap"], "found wrap"), ((), "found none")):
        with pytest.raises(UsageError, match=f"expected some of transform, warp, inverse, warped, report, {message}"):
            fitted.save(tmp_path / "none", outputs=outputs)
    assert not (tmp_path / "none").exists()


def test_warped_file_equals_warp(fitted: Registration, saved: Path, shapes: PhantomPair) -> None:
    image = read_image(saved / "warped.nii.gz")
    assert torch.equal(image.data, fitted.warp(shapes.moving).data)
    assert image.grid.same_as(shapes.fixed.grid, 1e-4)
    assert image.voxel_type == "int16"


def test_fields_contain_the_transform_and_its_inverse(fitted: Registration, saved: Path, shapes: PhantomPair) -> None:
    for name, transform, grid in (
        ("warp", fitted.transform, shapes.fixed.grid),
        ("inverse_warp", fitted.inverse, shapes.moving.grid),
    ):
        field = read_displacement(saved / f"{name}.nii.gz")
        assert field.grid.same_as(grid, 1e-4)
        points = grid.voxel_centres()
        # Components are rounded to 1/1024 mm.
        torch.testing.assert_close(field(points), transform(points), rtol=0, atol=6e-4)


def test_transform_undoes_the_inverse_field_at_every_voxel(fitted: Registration, saved: Path) -> None:
    """To 0.001 mm, including the rounding in the file."""
    inverse = read_displacement(saved / "inverse_warp.nii.gz")
    points = inverse.grid.voxel_centres().double()
    error = fitted.transform(points + inverse.displacement.double()) - points
    assert float(error.norm(dim=-1).max()) < 1e-3


def test_results_must_not_replace_an_input(shapes: PhantomPair, brief: Settings, tmp_path: Path) -> None:
    """For example if a result is registered again."""
    path = tmp_path / "warped.nii.gz"
    write_image(shapes.fixed, path)
    result = register(path, shapes.moving, settings=brief)
    for outputs in (("transform",), ("warped",)):
        with pytest.raises(DataError, match=r"warped\.nii\.gz: is an input, and would be overwritten by a result"):
            result.save(tmp_path, overwrite=True, outputs=outputs)
    with pytest.raises(DataError, match="choose another output folder"):
        check_output_folder(tmp_path, True, [tmp_path / "." / "report.json"])
    assert [p.name for p in tmp_path.iterdir()] == ["warped.nii.gz"]


def test_report_agrees_with_evaluate(
    report: dict[str, Any], fitted: Registration, saved: Path, shapes: PhantomPair
) -> None:
    measures = evaluate(
        fitted.transform,
        mask=shapes.fixed_mask,
        inverse=fitted.inverse,
        unrefined_inverse=fitted.stored.unrefined_inverse,
    )
    assert measures.regularity is not None
    rounding = 4 * 2**-24 * 80  # mm: four float32 operations on coordinates of 80 mm
    assert report["inverse_consistency_mm"] == pytest.approx(measures.inverse_consistency, rel=1e-4, abs=rounding)
    assert report["unrefined_inverse_mm"] == pytest.approx(measures.unrefined_inverse, rel=1e-4, abs=rounding)
    inside = report["inside_mask"]
    assert inside["points"] == measures.regularity.points == int((shapes.fixed_mask.data > 0).sum())
    assert inside["folding_percent"] == measures.regularity.folding_percent == 0
    assert inside == vars(measures.regularity)  # one definition of each measure


def test_folding_in_the_report_equals_that_of_the_file(
    report: dict[str, Any], saved: Path, shapes: PhantomPair
) -> None:
    folding = StreamingFoldingStatistics(shapes.fixed.grid, shapes.fixed_mask)
    folding.add(read_displacement(saved / "warp.nii.gz").displacement, last=True)
    for statistics, name in (
        (folding.inside_mask.result(), "inside_mask"),
        (folding.whole_grid.result(), "whole_grid"),
    ):
        assert report[name] == pytest.approx(vars(statistics), abs=2e-3)
    assert report["whole_grid"]["points"] == shapes.fixed.grid.size


def test_report_contains_settings_environment_and_history(report: dict[str, Any], fitted: Registration) -> None:
    assert settings_from_table(report["settings"], "report") == fitted.settings
    assert report["seed"] == 0 and report["device"] == "cpu"
    assert report["usage"]["threads"] == registration_threads(0)
    assert report["fixed"] == "fixed phantom" and report["moving"] == "moving phantom"
    assert report["affine_matrix_ras"] == fitted.stored.affine.matrix.tolist()
    assert report["history"]["loss"] == [row["loss"] for row in fitted.history]
    usage = report["usage"]
    assert set(usage["stages"]) == {"prepare", "affine", "fit", "quality", "export"}
    assert usage["affine_and_fit_cpu_s"] == pytest.approx(sum(usage["stages"][s]["cpu_s"] for s in ("affine", "fit")))
    assert usage["peak_memory_mb"] is None or usage["peak_memory_mb"] > 50
    assert usage["peak_gpu_memory_mb"] is None


def test_report_is_standard_json(saved: Path) -> None:
    """Without NaN and Infinity, which other languages refuse."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads((saved / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_save_returns_the_written_report(fitted: Registration, tmp_path: Path) -> None:
    report = fitted.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == report


def test_landmark_errors_are_added_to_the_report(fitted: Registration, shapes: PhantomPair, tmp_path: Path) -> None:
    report = fitted.save(tmp_path / "out", landmarks=shapes.landmarks)
    assert report["tre_mm"] == evaluate(fitted.transform, landmarks=shapes.landmarks).table()["tre_mm"]
    three_dimensional = PointPairs.from_coordinates(torch.zeros(2, 3), torch.zeros(2, 3))
    none = PointPairs.from_coordinates(torch.zeros(0, 2), torch.zeros(0, 2))
    for landmarks in (three_dimensional, none):
        with pytest.raises(DataError, match="expected 2-D pairs"):
            fitted.save(tmp_path / "refused", landmarks=landmarks)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_earlier_page_is_deleted(fitted: Registration, tmp_path: Path) -> None:
    (tmp_path / PAGE).write_text("of an earlier result", encoding="utf-8")
    fitted.save(tmp_path, overwrite=True)
    assert set(contents(tmp_path)) == set(FILES)


def test_saving_twice_gives_the_same_bytes(fitted: Registration, saved: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    first, second = contents(saved), contents(tmp_path)
    reports = [json.loads(folder.pop("report.json")) for folder in (first, second)]
    assert first == second
    for entry in reports:
        del entry["usage"]
    assert reports[0] == reports[1]


def test_missing_folders_are_created(fitted: Registration, tmp_path: Path) -> None:
    fitted.save(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b" / "transform.nephi").is_file()


def test_checking_a_folder_leaves_no_files(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b", overwrite=False)
    check_output_folder(tmp_path, overwrite=False)
    assert contents(tmp_path) == {} and list(tmp_path.iterdir()) == []


def test_folder_with_files_is_refused_without_overwrite(fitted: Registration, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"not empty.*--overwrite"):
        fitted.save(tmp_path)
    assert contents(tmp_path) == {"notes.txt": b"mine"}
    fitted.save(tmp_path, overwrite=True)
    assert contents(tmp_path)["notes.txt"] == b"mine"
    assert set(contents(tmp_path)) == {"notes.txt", *FILES}


def test_file_instead_of_a_folder_is_refused(fitted: Registration, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    for folder in (tmp_path / "out", tmp_path / "out" / "sub"):
        with pytest.raises(DataError, match=str(folder)):
            fitted.save(folder, overwrite=True)
    assert contents(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize("after", [0, 1, 3])
def test_full_disk_leaves_no_files(
    after: int, fitted: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, after)
    with pytest.raises(DataError, match="No space left"):
        fitted.save(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_earlier_result(
    fitted: Registration, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in contents(saved).items():
        (tmp_path / name).write_bytes(data)
    full_disk(monkeypatch, 2)
    with pytest.raises(DataError, match="No space left"):
        fitted.save(tmp_path, overwrite=True)
    monkeypatch.undo()
    assert contents(tmp_path) == contents(saved)
    assert len(list(tmp_path.iterdir())) == len(FILES)


def test_error_for_a_full_disk_names_the_folder(
    fitted: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the OSError names no file, as for writing to an open one."""

    def failing(self: Path, *_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    for method in ("write_bytes", "write_text"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, failing)
            with pytest.raises(DataError, match=f"{tmp_path / 'out'}.*No space left"):
                fitted.save(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


def test_folder_named_like_a_result_is_refused_before_files_are_replaced(fitted: Registration, tmp_path: Path) -> None:
    for name in ("warped.nii.gz", PAGE):
        (tmp_path / name / "mine").mkdir(parents=True)
        with pytest.raises(DataError, match=name):
            fitted.save(tmp_path, overwrite=True)
        assert contents(tmp_path) == {}
        (tmp_path / name / "mine").rmdir()
        (tmp_path / name).rmdir()


def test_interrupt_leaves_no_files(fitted: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(igzip.IGzipFile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_sheared_grid_is_refused_by_name(shapes: PhantomPair, brief: Settings, tmp_path: Path) -> None:
    """As of a tilted gantry: no displacement field can be written on its grid. Registering it in memory works."""
    affine = shapes.fixed.grid.affine.clone()
    affine[:2, 1] += 0.3 * affine[:2, 0]
    sheared = Image(shapes.fixed.data, Grid(shapes.fixed.grid.shape, affine), name="tilted.nii")
    with pytest.raises(DataError, match=r"tilted\.nii.*perpendicular"):
        require_exportable(sheared)
    with pytest.raises(DataError, match=r"tilted\.nii.*perpendicular"):
        register(shapes.moving, sheared, settings=brief).save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dtype", "outside", "expected"),
    [("uint8", -5.0, 0), ("int16", -1024.0, -1024), ("int16", 1e9, 32767), ("float32", -1.5, -1.5)],
)
def test_warped_voxels_keep_their_type(
    dtype: str, outside: float, expected: float, shapes: PhantomPair, brief: Settings, changed: Change, tmp_path: Path
) -> None:
    """And the value of voxels outside is clamped to its range."""
    middle = (slice(25, 70),) * 2
    affine = shapes.moving.grid.affine.clone()
    affine[:2, 2] = shapes.moving.grid.voxel_to_world_points(torch.tensor([25.0, 25.0]).double())
    data = shapes.moving.data[middle].clamp(min=0)
    data = (data // 5).to(torch.uint8) if dtype == "uint8" else data.to(getattr(torch, dtype))
    moving = Image(data, Grid((45, 45), affine), name="moving")
    settings = changed(brief, image={"outside": outside})
    register(shapes.fixed, moving, settings=settings).save(tmp_path)
    warped = read_image(tmp_path / "warped.nii.gz")
    assert warped.voxel_type == dtype
    assert warped.data[0, 0].item() == expected


def test_affine_result_is_saved_like_a_deformable_one(
    shapes: PhantomPair, brief: Settings, changed: Change, tmp_path: Path
) -> None:
    result = register(shapes.fixed, shapes.moving, settings=changed(brief, transform="affine"))
    report = result.save(tmp_path)
    assert report["history"] == {}
    assert report["inside_mask"] is None
    determinant = float(torch.linalg.det(result.stored.affine.matrix[:2, :2]))
    assert report["whole_grid"]["smallest"] == pytest.approx(determinant, abs=1e-3)
    assert report["inverse_consistency_mm"] < 1e-3 and report["unrefined_inverse_mm"] is None
    warp = read_displacement(tmp_path / "warp.nii.gz")
    points = shapes.fixed.grid.voxel_centres()
    torch.testing.assert_close(warp(points), result.transform(points), rtol=0, atol=6e-4)


def test_3d_ct_end_to_end(tmp_path: Path, changed: Change) -> None:
    """With segmented masks, different and oblique grids, and air outside the moving image."""
    pair = lung_phantom(seed=2, motion=15.0, shape=(72, 56, 60))
    settings = preset("lung-ct")
    levels = settings.levels[:2]
    result = register(pair.fixed, pair.moving, settings=changed(settings, levels=levels))
    result.save(tmp_path)
    warp, inverse = (read_displacement(tmp_path / f"{name}.nii.gz") for name in ("warp", "inverse_warp"))
    measures = evaluate(warp, landmarks=pair.landmarks, mask=pair.fixed_mask).table()
    assert measures["tre_mm"]["before"] > 4
    assert measures["tre_mm"]["mean"] < 1.0  # voxels are 4 to 5 mm
    assert measures["regularity"]["folding_percent"] == 0
    error = inverse_consistency_error(warp, inverse, pair.fixed.grid, pair.fixed_mask, domain=inverse.grid)
    assert error < 0.5
    warped = read_image(tmp_path / "warped.nii.gz")
    assert int(warped.data.min()) >= -1200 and warped.voxel_type == "int16"
    assert result.pair.fixed_mask is not None


def test_links_to_a_missing_folder_are_refused_before_the_registration(tmp_path: Path) -> None:
    (tmp_path / "warp.nii.gz").symlink_to("disk/warp.nii.gz")
    with pytest.raises(DataError, match=r"warp\.nii\.gz: cannot write into the folder .*disk"):
        check_output_folder(tmp_path, overwrite=True)
    (tmp_path / "disk").mkdir()
    check_output_folder(tmp_path, overwrite=True)
    assert list((tmp_path / "disk").iterdir()) == []


def test_page_is_written_with_the_results(fitted: Registration, tmp_path: Path) -> None:
    report = fitted.save(tmp_path / "out", page=lambda report: f"{len(report)} \udcff")
    assert (tmp_path / "out" / PAGE).read_bytes() == f"{len(report)} \\udcff".encode()


def test_file_names_that_are_not_utf8_give_valid_json(fitted: Registration, tmp_path: Path) -> None:
    moving = replace(fitted.pair.moving, name="/data/\udcff.nii")
    result = replace(fitted, pair=replace(fitted.pair, moving=moving))
    result.save(tmp_path / "out")
    text = (tmp_path / "out" / "report.json").read_bytes().decode("utf-8")
    assert json.loads(text)["moving"] == "/data/\udcff.nii"
