"""Test the viewer in a real browser: pictures, controls, and values at the crosshair."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from nephi.geometry import PointPairs, determinant, interpolate
from nephi.images import Image
from nephi.io import write_image
from nephi.phantoms import PhantomPair
from nephi.report import Viewer
from nephi.report.viewer import pages
from nephi.results import Registration

from .browser import SOFTWARE_WEBGL, TIMEOUT, Browser, find_browser
from .conftest import HOSTILE
from .viewers import require_niivue, save_with_images, serving

Pixels = NDArray[np.int16]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests: starting one with software WebGL takes longer than a test."""
    require_niivue()
    executable = find_browser()
    if executable is None:
        pytest.skip("needs a Chromium to open the page; none is on the PATH")
    opened = Browser(executable, tmp_path_factory.mktemp("profile"), SOFTWARE_WEBGL)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def viewer(fitted: Registration, lungs: PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    require_niivue()
    with serving(save_with_images(fitted, tmp_path_factory.mktemp("lungs")), landmarks=lungs.landmarks) as server:
        yield server


@pytest.fixture
def page(browser: Browser, viewer: Viewer) -> Browser:
    return open_viewer(browser, viewer)


def open_viewer(browser: Browser, viewer: Viewer) -> Browser:
    browser.errors.clear()
    browser.requests.clear()
    browser.open(viewer.url)
    browser.wait_for("document.body.dataset.ready || document.querySelector('#status.wrong')")
    browser.wait_for("document.body.dataset.point !== undefined")
    assert browser.run("document.getElementById('status').textContent") == ""
    return browser


def picture(browser: Browser, canvas: str = "canvas") -> Pixels:
    """Return the pixels of a canvas, `(height, width, 3)`."""
    box = f"(b => [b.left, b.top, b.right, b.bottom])(document.getElementById('{canvas}').getBoundingClientRect())"
    screen = Picture.open(io.BytesIO(browser.screenshot())).convert("RGB")
    return np.asarray(screen.crop([round(n) for n in browser.run(box)]), np.int16)


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one - other).mean())


def wait_for(browser: Browser, condition: Callable[[Pixels], bool]) -> Pixels:
    """Return the first picture that fulfils `condition`; drawing is asynchronous."""
    deadline = time.monotonic() + TIMEOUT
    while not condition(current := picture(browser)):
        assert time.monotonic() < deadline, "the picture does not fulfil the condition"
    return current


def wait_for_change(browser: Browser, before: Pixels) -> Pixels:
    """Return the picture once it differs from `before` and stays: two scenes may be drawn one after the other."""
    changed = wait_for(browser, lambda current: difference(current, before) > 0.5)
    deadline = time.monotonic() + TIMEOUT
    while True:
        time.sleep(0.2)
        if difference(current := picture(browser), changed) < 0.01:
            return current
        assert time.monotonic() < deadline, "the picture does not settle"
        changed = current


def wait_for_picture(browser: Browser, expected: Pixels) -> Pixels:
    return wait_for(browser, lambda current: difference(current, expected) < 0.1)


def point(browser: Browser) -> list[float]:
    return json.loads(browser.run("document.body.dataset.point"))


def shown_value(browser: Browser, name: str) -> float:
    return float(browser.run(f"document.getElementById('value-{name}').textContent"))


def set_slider(browser: Browser, selector: str, value: int) -> None:
    slider = f"document.querySelector('{selector}')"
    browser.run(f"{slider}.value = {value}; {slider}.dispatchEvent(new Event('input'))")


def value_at(image: Image, points: torch.Tensor) -> float:
    return float(interpolate(image.data, image.grid.world_to_voxel_points(points))[0])


def test_opens_without_errors_and_requests_to_other_hosts(page: Browser, viewer: Viewer) -> None:
    assert page.errors == []
    assert {url for url in page.requests if not url.startswith((viewer.url, "data:", "blob:"))} == set()
    assert page.run("document.title").endswith("nephi")
    shown = picture(page)
    assert shown.std() > 30 and (shown.max(axis=-1) > 100).mean() > 0.1


def test_the_slider_blends_images(page: Browser) -> None:
    half = picture(page)
    set_slider(page, "#blend", 0)
    fixed = wait_for_change(page, half)
    set_slider(page, "#blend", 100)
    warped = wait_for_change(page, fixed)
    set_slider(page, "#blend", 50)
    wait_for_picture(page, half)
    assert difference(half, (fixed + warped) // 2) < difference(fixed, warped)
    assert page.errors == []


def test_image_buttons_show_one_image(page: Browser) -> None:
    pictures = [picture(page)]
    for name in ("moving", "warped", "fixed"):
        page.click(f"[data-image={name}]")
        pictures.append(wait_for_change(page, pictures[-1]))
        assert page.run("document.querySelector('#images [aria-pressed=true]').textContent") == name
    _, moving, warped, fixed = pictures
    assert difference(moving, fixed) > difference(warped, fixed)
    assert page.errors == []


KEYS = {
    "1": 49,
    "2": 50,
    "3": 51,
    " ": 32,
    "b": 66,
    "c": 67,
    "s": 83,
    "j": 74,
    "0": 48,
    "g": 71,
    "m": 77,
    "l": 76,
    "ArrowLeft": 37,
    "PageUp": 33,
}


def press(browser: Browser, key: str) -> None:
    browser.press("body", key, KEYS[key])


def pressed(browser: Browser, group: str) -> str | None:
    return browser.run(f"document.querySelector('#{group} [aria-pressed=true]')?.textContent")


def test_keys_do_what_buttons_do(page: Browser) -> None:
    line = page.run("document.getElementById('keys').innerText")
    assert all(label in line for label in ("1", "space", "checkerboard", "side by side", "Jacobian", "crosshair"))
    for key, name in (("2", "moving"), ("1", "fixed"), (" ", "moving"), ("3", "warped"), (" ", "fixed"), ("b", None)):
        press(page, key)
        assert pressed(page, "images") == name
    for key, layout in (("c", "checkerboard"), ("s", "side by side"), ("b", "blend")):
        press(page, key)
        assert pressed(page, "layouts") == layout
    for key, name in (("j", "Jacobian"), ("0", "none")):
        press(page, key)
        assert pressed(page, "maps") == name
    page.run("document.querySelector('[data-window=fixed]').closest('details').open = true")
    page.press("[data-window=fixed]", "2", KEYS["2"])  # typed into a field
    assert pressed(page, "images") is None
    assert page.errors == []


def test_arrow_keys_move_the_crosshair_by_a_voxel(page: Browser, fitted: Registration) -> None:
    step = float(fitted.pair.fixed.grid.spacing.min())
    start = point(page)
    for key, axis in (("ArrowLeft", 0), ("PageUp", 2)):
        before = point(page)
        press(page, key)
        page.wait_for(f"document.body.dataset.point !== '{json.dumps(before, separators=(',', ':'))}'")
        expected = [value + step * (i == axis) for i, value in enumerate(before)]
        assert point(page) == pytest.approx(expected, abs=0.02 * step)
    assert point(page) != start


def test_side_by_side_shows_both_images_at_the_same_point(page: Browser, fitted: Registration) -> None:
    press(page, "s")
    page.wait_for("document.getElementById('partner').width > 100 && document.getElementById('partner').height > 100")
    wait_for(page, lambda _: picture(page, "partner").std() > 30)
    fixed, warped = picture(page), picture(page, "partner")
    assert fixed.shape == warped.shape
    page.run("document.getElementById('landmarks-shown').click()")
    wait_for(page, lambda _: coloured(picture(page)) < 0.02)
    x, y = page.run("(b => [b.x + 0.15 * b.width, b.y + 0.35 * b.height])(partner.getBoundingClientRect())")
    before = page.run("document.body.dataset.point")
    page.click_at(x, y)  # in the other image: the crosshair of both moves
    page.wait_for(f"document.body.dataset.point !== '{before}'")
    points = torch.tensor([point(page)], dtype=torch.float64)
    assert shown_value(page, "fixed") == pytest.approx(value_at(fitted.pair.fixed, points), abs=0.06)
    wait_for(page, lambda _: crosshair_difference(picture(page), picture(page, "partner")) < 0.02)
    assert page.errors == []


def crosshair_difference(one: Pixels, other: Pixels) -> float:
    """Return the fraction of pixels that belong to the crosshair, in its colour, in one picture only."""
    crosshairs = [(p[..., 1] - p[..., 0] > 60) & (p[..., 2] - p[..., 0] > 60) for p in (one, other)]
    assert all(crosshair.mean() > 0.001 for crosshair in crosshairs)
    return float((crosshairs[0] != crosshairs[1]).sum() / crosshairs[0].sum())


def test_a_checkerboard_shows_the_other_image_in_every_second_square(page: Browser) -> None:
    page.run("document.getElementById('landmarks-shown').click()")
    pictures = {}
    for key in ("1", "3", "c"):
        before = picture(page)
        press(page, key)
        pictures[key] = wait_for_change(page, before)
    fixed, warped = pictures["1"], pictures["3"]
    near = {key: np.abs(pictures["c"] - image).max(axis=-1) < 12 for key, image in (("f", fixed), ("w", warped))}
    differ = np.abs(fixed - warped).max(axis=-1) > 40
    shares = [float((near[key] & differ).sum() / differ.sum()) for key in ("f", "w")]
    assert sum(shares) > 0.9 and min(shares) > 0.25  # each pixel is one of both, and both occur
    rows, columns = (np.arange(n) // 48 for n in fixed.shape[:2])  # squares of 48 pixels
    square = (rows[:, None] + columns) % 2 == 0
    one, other = (near["w"] & ~near["f"])[square].sum(), (near["w"] & ~near["f"])[~square].sum()
    assert min(one, other) < 0.1 * max(one, other)
    assert page.errors == []


def test_contours_lie_where_they_belong(browser: Browser, fitted: Registration, tmp_path: Path) -> None:
    """A click on a contour of the fixed mask moves the crosshair to the border of that mask."""
    folder = save_with_images(fitted, tmp_path)
    mask = fitted.pair.fixed_mask
    assert mask is not None
    write_image(mask, folder / "mask.nii.gz")
    with serving(folder, fixed_labels=folder / "mask.nii.gz") as shown:
        page = open_viewer(browser, shown)
        press(page, "m")
        page.wait_for("document.getElementById('lines').dataset.drawn === 'contours'")
        green = np.argwhere(is_green(wait_for(page, lambda current: is_green(current).sum() > 50)))
        row, column = green[len(green) // 2]
        box = page.run("(b => [b.x, b.y])(document.getElementById('canvas').getBoundingClientRect())")
        before = page.run("document.body.dataset.point")
        page.click_at(box[0] + float(column), box[1] + float(row))
        page.wait_for(f"document.body.dataset.point !== '{before}'")
        near = mask.grid.world_to_voxel_points(torch.tensor(point(page), dtype=torch.float64)).round().long()
        block = mask.data[tuple(slice(max(0, int(n) - 1), int(n) + 2) for n in near)]
        assert bool((block > 0).any()) and bool((block == 0).any())
        press(page, "g")
        page.wait_for("document.getElementById('lines').dataset.drawn === 'contours grid'")
        assert page.errors == []


def is_green(pixels: Pixels) -> NDArray[np.bool_]:
    """Return which pixels have the colour of contours of the fixed image."""
    return (pixels[..., 1] - pixels[..., 0] > 60) & (pixels[..., 1] - pixels[..., 2] > 50)


def test_map_buttons_overlay_a_map(page: Browser) -> None:
    plain = picture(page)
    assert coloured(plain) < 0.05
    for name in ("jacobian", "displacement"):
        before = picture(page)
        page.click(f"[data-map={name}]")
        wait_for(page, lambda shown, before=before: difference(shown, before) > 0.5 and coloured(shown) > 0.2)
        marks = page.run("document.getElementById('marks').innerText").split()
        assert len(marks) == 5 and float(marks[0]) < float(marks[-1])
    page.click("[data-map=none]")
    wait_for_picture(page, plain)
    assert page.errors == []


def test_the_map_clicked_last_is_shown(
    browser: Browser, flat_affine: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, compute = threading.Event(), pages.deformation_maps
    monkeypatch.setattr(pages, "deformation_maps", lambda *inputs: released.wait(TIMEOUT) and compute(*inputs))
    with serving(save_with_images(flat_affine, tmp_path)) as viewer:
        page = open_viewer(browser, viewer)
        plain = picture(page)
        page.click("[data-map=jacobian]")
        page.wait_for("document.getElementById('status').textContent.startsWith('Computing')")
        page.click("[data-map=none]")
        page.wait_for("document.getElementById('status').textContent === ''")
        released.set()
        page.run("fetch('maps.json').then(() => new Promise((done) => setTimeout(done, 1000)))")
        assert page.run("document.querySelector('#maps [aria-pressed=true]').textContent") == "none"
        assert page.run("document.getElementById('legend').hidden")
        assert difference(picture(page), plain) < 0.1
        assert page.errors == []


def coloured(pixels: Pixels) -> float:
    return float((np.ptp(pixels, axis=-1) > 25).mean())


def test_a_click_moves_the_crosshair_and_shows_its_values(page: Browser, fitted: Registration) -> None:
    before, picture_before = point(page), picture(page)
    box = page.run("(b => [b.x, b.y, b.width, b.height])(document.getElementById('canvas').getBoundingClientRect())")
    page.click_at(box[0] + 0.18 * box[2], box[1] + 0.3 * box[3])
    page.wait_for(f"document.body.dataset.point !== '{json.dumps(before, separators=(',', ':'))}'")
    wait_for_change(page, picture_before)
    after = point(page)
    assert sum(abs(a - b) > 1 for a, b in zip(after, before, strict=True)) == 2  # within the plane of the click
    points = torch.tensor([after], dtype=torch.float64)
    displaced, jacobian = fitted.transform.value_and_jacobian(points)
    assert shown_value(page, "fixed") == pytest.approx(value_at(fitted.pair.fixed, points), abs=0.06)
    assert shown_value(page, "warped") == pytest.approx(value_at(fitted.pair.moving, displaced), abs=0.2)
    assert shown_value(page, "jacobian") == pytest.approx(float(determinant(jacobian)), abs=2e-3)
    assert shown_value(page, "displacement") == pytest.approx(float((displaced - points).norm()), abs=0.02)
    assert page.run("document.getElementById('point').textContent") == ", ".join(f"{n:.1f}" for n in after)


def test_landmarks_are_shown_and_selected_by_a_click(page: Browser, fitted: Registration, lungs: PhantomPair) -> None:
    landmarks = lungs.landmarks
    errors = (fitted.transform(landmarks.fixed.coordinates) - landmarks.moving.coordinates).norm(dim=-1)
    worst = int(errors.argmax())
    listed = page.run("document.querySelector('#landmark-list button').innerText").split()
    assert listed == [landmarks.fixed.ids[worst], f"{float(errors[worst]):.2f}", "mm"]
    before = page.run("document.body.dataset.point")
    page.click("#landmark-list button")
    page.wait_for(f"document.body.dataset.point !== '{before}'")
    assert point(page) == pytest.approx(landmarks.fixed.coordinates[worst].tolist(), abs=0.01)
    shown = picture(page)
    page.click("#landmarks-shown")
    wait_for(page, lambda current: coloured(current) < coloured(shown))
    before = page.run("document.body.dataset.point")
    page.click("[data-image=moving]")
    page.wait_for("document.getElementById('landmarks-note').textContent.includes('mapped')")
    page.click("#landmark-list button")
    page.wait_for(f"document.body.dataset.point !== '{before}'")
    assert point(page) == pytest.approx(landmarks.moving.coordinates[worst].tolist(), abs=0.01)
    assert page.errors == []


def test_viewer_of_a_2d_registration(browser: Browser, flat_affine: Registration, tmp_path: Path) -> None:
    with serving(save_with_images(flat_affine, tmp_path)) as viewer:
        page = open_viewer(browser, viewer)
        assert picture(page).std() > 30
        assert page.run("document.getElementById('landmarks').offsetHeight") == 0
        before = page.run("document.body.dataset.point")
        x, y = page.run("(b => [b.x + 0.4 * b.width, b.y + 0.3 * b.height])(canvas.getBoundingClientRect())")
        page.click_at(x, y)
        page.wait_for(f"document.body.dataset.point !== '{before}'")
        points = torch.tensor([point(page)[:2]], dtype=torch.float64)
        assert shown_value(page, "fixed") == pytest.approx(value_at(flat_affine.pair.fixed, points), abs=0.06)
        page.click("[data-map=displacement]")
        wait_for(page, lambda current: coloured(current) > 0.2)
        assert page.errors == []


def test_html_in_names_is_shown_as_text(
    browser: Browser, flat_affine: Registration, flat: PhantomPair, tmp_path: Path
) -> None:
    save_with_images(flat_affine, tmp_path, (HOSTILE, f"'\"{HOSTILE}"))
    points = [side.coordinates[:2] for side in (flat.landmarks.fixed, flat.landmarks.moving)]
    pairs = PointPairs.from_coordinates(*points, [HOSTILE, '"><script>alert(1)</script>'])
    images = {"fixed": tmp_path / HOSTILE, "moving": tmp_path / f"'\"{HOSTILE}"}
    with serving(tmp_path, landmarks=pairs, **images) as viewer:
        page = open_viewer(browser, viewer)
        assert page.errors == []
        assert page.run("document.querySelectorAll('img').length") == 0
        assert page.run("document.getElementById('fixed-name').textContent").endswith(HOSTILE)
        assert HOSTILE in page.run("document.getElementById('landmark-list').textContent")
