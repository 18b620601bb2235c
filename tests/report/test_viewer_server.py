"""Test the viewer's server: responses, and refused requests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io import write_image
from nephi.metrics import jacobian_image
from nephi.phantoms import PhantomPair
from nephi.report import Viewer
from nephi.report.viewer import server as server_module
from nephi.report.viewer import viewer as viewer_module
from nephi.report.viewer.maps import deformation_maps, map_grid
from nephi.report.viewer.pages import Pages
from nephi.results import Registration
from nephi.transforms import AffineTransform

from .viewers import request, require_niivue, save_with_images, serving


@pytest.fixture(scope="module")
def folder(flat_affine: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_niivue()
    return save_with_images(flat_affine, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def viewer(folder: Path, flat: PhantomPair) -> Iterator[Viewer]:
    with serving(folder, landmarks=flat.landmarks) as server:
        yield server


def test_all_files_of_the_page_are_served(viewer: Viewer, flat: PhantomPair) -> None:
    names = ("viewer", "scene", "partner", "keyboard", "lines", "landmarks")
    scripts = [(f"{name}.js", "text/javascript") for name in names]
    for path, kind in (("", "text/html"), ("viewer.css", "text/css"), *scripts):
        reply = request(viewer, path)
        assert reply.status == 200 and reply.headers["Content-Type"].startswith(kind) and reply.body
    study = json.loads(request(viewer, "study.json").body)
    assert study["dimension"] == 2
    assert len(study["landmarks"]) == len(flat.landmarks)
    assert set(json.loads(request(viewer, "maps.json").body)) == {"jacobian", "displacement", "local"}
    picture = request(viewer, "lines.png?view=plane&position=0&kinds=grid,contours")
    assert picture.headers["Content-Type"] == "image/png" and picture.body.startswith(b"\x89PNG")
    for query in ("view=axial&position=0", "view=plane&position=nan", "view=plane&position=0&kinds=x"):
        assert request(viewer, f"lines.png?{query}").status == 400


def test_every_response_has_headers_against_access_by_other_sites(viewer: Viewer) -> None:
    for path in ("", "study.json", "nothing"):
        headers = request(viewer, path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "http" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "path",
    [
        "../report.json",
        "../../etc/passwd",
        "%2e%2e/report.json",
        "%2e%2e%2freport.json",
        "..%5creport.json",
        "/etc/passwd",
        "//etc/passwd",
        "/../../../etc/passwd",
        "files/report.json",
        "report.json",
        "link.nii",
        "viewer.js%00.html",
        "fixed.nii/../viewer.js",
        "./viewer.js",
        "static/viewer.js",
        "/",
        "/viewer.js",
        "/study.json",
        "http://example.org/study.json",
    ],
)
def test_paths_other_than_routes_are_not_found(viewer: Viewer, folder: Path, path: str) -> None:
    link = folder / "result" / "link.nii"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    reply = request(viewer, path)
    assert (reply.status, reply.body) == (404, b"not found")


@pytest.mark.parametrize("host", ["example.org", "example.org:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"])
def test_other_hosts_are_refused(viewer: Viewer, host: str) -> None:
    """Against DNS rebinding: a request with the host name of another site is refused."""
    port = viewer.url.split(":")[2].split("/")[0]
    assert request(viewer, "study.json", host=host.format(port=port)).status == 403
    assert request(viewer, "study.json", host=f"localhost:{port}").status == 200


def test_hosts_without_the_default_port_are_accepted(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(viewer.url.split(":")[2].split("/")[0])
    monkeypatch.setattr(server_module, "DEFAULT_PORT", port)  # listening on 80 needs privileges
    for host in ("127.0.0.1", "localhost", f"localhost:{port}"):
        assert request(viewer, "study.json", host=host).status == 200
    assert request(viewer, "study.json", host="example.org").status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(viewer: Viewer, method: str) -> None:
    reply = request(viewer, "study.json", method)
    assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD"


def test_head_is_get_without_the_body(viewer: Viewer) -> None:
    reply = request(viewer, "fixed.nii", "HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) == len(request(viewer, "fixed.nii").body)


def test_listens_on_the_loopback_address_only(viewer: Viewer, folder: Path) -> None:
    assert viewer.url.startswith("http://127.0.0.1:")
    port = int(viewer.url.split(":")[2].split("/")[0])
    with socket.socket() as other:  # reaches a server that listens on all addresses
        assert other.connect_ex(("127.0.0.2", port)) != 0
    with serving(folder) as second:
        assert second.url.rsplit("/", 2)[1] != viewer.url.rsplit("/", 2)[1]
    with pytest.raises(UsageError, match=rf"port: expected a port that is available, got {port} "):
        Viewer(folder / "result", fixed=folder / "fixed.nii.gz", moving=folder / "moving.nii.gz", port=port)


def test_served_volumes_are_the_images(viewer: Viewer, flat_affine: Registration) -> None:
    image = nibabel.Nifti1Image.from_bytes(request(viewer, "moving.nii").body)
    moving = flat_affine.pair.moving
    np.testing.assert_array_equal(np.squeeze(np.asarray(image.dataobj)), moving.data.numpy())
    np.testing.assert_allclose(image.affine[:2, :2], moving.grid.affine[:2, :2], atol=1e-4)


def test_a_warped_image_that_was_not_saved_is_computed(viewer: Viewer, folder: Path) -> None:
    """As after `nephi register --save transform,report`."""
    saved = request(viewer, "warped.nii").body
    path = folder / "result" / "warped.nii.gz"
    renamed = path.rename(folder / "renamed.nii.gz")
    try:
        with serving(folder) as other:
            assert request(other, "warped.nii").body == saved
    finally:
        renamed.rename(path)


@pytest.mark.parametrize("query", ["", "point=", "point=1", "point=1,2,3", "point=a,b", "point=nan,1", "point=1,inf"])
def test_invalid_points_are_refused(viewer: Viewer, query: str) -> None:
    reply = request(viewer, f"values?{query}")
    assert reply.status == 400 and b"2 numbers" in reply.body


def test_values_are_evaluated_at_the_point(viewer: Viewer, flat_affine: Registration) -> None:
    point = torch.tensor([[7.3, -11.9]], dtype=torch.float64)
    displaced, jacobian = flat_affine.transform.value_and_jacobian(point)
    values = json.loads(request(viewer, "values?point=7.3,-11.9").body)
    assert values["displacement"] == pytest.approx(float((displaced - point).norm()), abs=1e-3)
    assert values["jacobian"] == pytest.approx(float(torch.linalg.det(jacobian)[0]), abs=1e-4)
    assert values["moved"] == pytest.approx(displaced[0].tolist(), abs=1e-3)
    outside = json.loads(request(viewer, "values?point=9000,0").body)
    assert set(outside.values()) == {None}


def test_values_that_are_not_finite_are_none(flat_affine: Registration, tmp_path: Path) -> None:
    require_niivue()
    pair = flat_affine.pair
    data = pair.fixed.data.float()
    data[tuple(slice(n // 2 - 3, n // 2 + 3) for n in data.shape)] = torch.nan
    registration = replace(flat_affine, pair=replace(pair, fixed=pair.fixed.with_data(data)))
    point = ",".join(str(number) for number in pair.fixed.grid.centre_world().tolist())
    with serving(save_with_images(registration, tmp_path)) as viewer:
        values = json.loads(request(viewer, f"values?point={point}").body)
        assert values["fixed"] is None and values["displacement"] is not None
        assert request(viewer, "study.json").status == 200


def test_unexpected_errors_are_one_line(
    viewer: Viewer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(Pages, "respond", broken)
    reply = request(viewer, "study.json")
    assert (reply.status, reply.body) == (500, b"RuntimeError: first second")
    assert capfd.readouterr().err == ""


def test_map_grid_covers_the_same_box(grid: Grid) -> None:
    coarse = map_grid(grid, grid.size // 3)
    assert coarse.size <= grid.size // 3
    for corner in (-0.5, 0.0):
        outer = [
            g.voxel_to_world_points(torch.tensor([corner if corner else n - 0.5 for n in g.shape]))
            for g in (coarse, grid)
        ]
        assert torch.allclose(*outer, atol=1e-6)
    assert map_grid(grid, grid.size).same_as(grid)


def test_maps_show_volume_change_displacement_and_folds(grid: Grid) -> None:
    d = grid.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[0, 0], matrix[0, -1] = 1.3, 4.0
    maps = deformation_maps(AffineTransform(matrix), grid)
    determinants = jacobian_image(AffineTransform(matrix), grid).data
    assert torch.allclose(maps["jacobian"].image.data, determinants.log(), atol=1e-5)
    centres = grid.voxel_centres()
    assert torch.allclose(maps["displacement"].image.data, (0.3 * centres[..., 0] + 4).abs(), atol=1e-3)
    matrix[0, 0] = -1.0
    folded = deformation_maps(AffineTransform(matrix), grid)["jacobian"]
    assert torch.allclose(folded.image.data, torch.tensor(folded.low))
    assert folded.colours[0].tolist() == [255, 0, 255]


def test_images_are_read_from_the_recorded_or_given_path(flat_affine: Registration, tmp_path: Path) -> None:
    require_niivue()
    paths = {role: tmp_path / f"{role}.nii.gz" for role in ("fixed", "moving")}
    images = {role: replace(getattr(flat_affine.pair, role), name=str(path)) for role, path in paths.items()}
    for role, path in paths.items():
        write_image(images[role], path)
    replace(flat_affine, pair=replace(flat_affine.pair, **images)).save(tmp_path / "out")
    Viewer(tmp_path / "out").close()
    paths["moving"].rename(tmp_path / "elsewhere.nii.gz")
    with pytest.raises(DataError, match=r"moving\.nii\.gz: the moving image no longer exists; .* --moving"):
        Viewer(tmp_path / "out")
    Viewer(tmp_path / "out", moving=tmp_path / "elsewhere.nii.gz").close()
    with pytest.raises(DataError, match=r"fixed\.nii\.gz: not the moving image of this registration"):
        Viewer(tmp_path / "out", moving=paths["fixed"])


def test_images_are_found_after_the_study_was_moved(
    flat_affine: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative inputs, as on the command line; the results lie two folders deeper than the current one."""
    require_niivue()
    (tmp_path / "study" / "ct").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "study")
    images = {r: replace(getattr(flat_affine.pair, r), name=f"ct/{r}.nii.gz") for r in ("fixed", "moving")}
    for image in images.values():
        write_image(image, image.name)
    folder = Path("results", "p1")
    report = replace(flat_affine, pair=replace(flat_affine.pair, **images)).save(folder)
    assert {role: report["files"][role] for role in images} == {r: f"../../ct/{r}.nii.gz" for r in images}
    assert report["fixed"] == "ct/fixed.nii.gz"
    (tmp_path / "study").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    Viewer(tmp_path / "moved" / folder).close()
    (tmp_path / "moved" / "ct").rename(tmp_path / "gone")
    with pytest.raises(DataError, match=f"^{tmp_path}/moved/ct/fixed.nii.gz: the fixed image no longer exists; give"):
        Viewer(tmp_path / "moved" / folder)


def test_folders_without_results_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "has_niivue", lambda: True)
    with pytest.raises(DataError, match="no such folder"):
        Viewer(tmp_path / "none")
    with pytest.raises(DataError, match=r"transform\.nephi: no such file"):
        Viewer(tmp_path)
    monkeypatch.setattr(viewer_module, "has_niivue", lambda: False)
    with pytest.raises(DataError, match=r"the viewer needs @niivue/niivue@.*; install npm"):
        Viewer(tmp_path)
