"""The viewer in a real browser: it shows something, everything can be clicked, and the values are nephi's own."""

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
from nephi.phantoms import PhantomPair
from nephi.report import Viewer
from nephi.report.viewer import pages
from nephi.results import Registration

from .browser import PATIENCE, SOFTWARE_WEBGL, Browser, find_browser
from .conftest import HOSTILE
from .viewers import keep, require_niivue, serving

Pixels = NDArray[np.int16]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all: starting one with software WebGL takes longer than a test."""
    require_niivue()
    executable = find_browser()
    if executable is None:
        pytest.skip("needs a Chromium to open the page in; none is on the PATH")
    found = Browser(executable, tmp_path_factory.mktemp("profile"), SOFTWARE_WEBGL)
    yield found
    found.close()


@pytest.fixture(scope="module")
def viewer(fitted: Registration, lungs: PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    require_niivue()
    with serving(keep(fitted, tmp_path_factory.mktemp("lungs")), landmarks=lungs.landmarks) as found:
        yield found


@pytest.fixture
def page(browser: Browser, viewer: Viewer) -> Browser:
    return opened(browser, viewer)


def opened(browser: Browser, viewer: Viewer) -> Browser:
    browser.errors.clear()
    browser.requests.clear()
    browser.open(viewer.url)
    browser.wait_for("document.body.dataset.ready || document.querySelector('#status.wrong')")
    browser.wait_for("document.body.dataset.point !== undefined")
    assert browser.run("document.getElementById('status').textContent") == ""
    return browser


def picture(browser: Browser) -> Pixels:
    """What the canvas shows, `(height, width, 3)`."""
    place = "(b => [b.left, b.top, b.right, b.bottom])(document.getElementById('canvas').getBoundingClientRect())"
    seen = Picture.open(io.BytesIO(browser.screenshot())).convert("RGB")
    return np.asarray(seen.crop([round(n) for n in browser.run(place)]), np.int16)


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one - other).mean())


def wait_for(browser: Browser, condition: Callable[[Pixels], bool]) -> Pixels:
    """Return the first picture of which `condition` holds; drawing takes a while."""
    until = time.monotonic() + PATIENCE
    while not condition(now := picture(browser)):
        assert time.monotonic() < until, "the picture does not become what it should"
    return now


def wait_for_change(browser: Browser, before: Pixels) -> Pixels:
    return wait_for(browser, lambda now: difference(now, before) > 0.5)


def wait_for_likeness(browser: Browser, wanted: Pixels) -> Pixels:
    return wait_for(browser, lambda now: difference(now, wanted) < 0.1)


def point(browser: Browser) -> list[float]:
    return json.loads(browser.run("document.body.dataset.point"))


def told(browser: Browser, name: str) -> float:
    return float(browser.run(f"document.getElementById('value-{name}').textContent"))


def move(browser: Browser, selector: str, value: int) -> None:
    slider = f"document.querySelector('{selector}')"
    browser.run(f"{slider}.value = {value}; {slider}.dispatchEvent(new Event('input'))")


def value(image: Image, points: torch.Tensor) -> float:
    return float(interpolate(image.data, image.grid.world_to_voxel_points(points))[0])


def test_opens_without_an_error_and_asks_nobody_else(page: Browser, viewer: Viewer) -> None:
    assert page.errors == []
    assert {url for url in page.requests if not url.startswith((viewer.url, "data:", "blob:"))} == set()
    assert page.run("document.title").endswith("nephi")
    shown = picture(page)
    assert shown.std() > 30 and (shown.max(axis=-1) > 100).mean() > 0.1


def test_the_slider_blends(page: Browser) -> None:
    half = picture(page)
    move(page, "#blend", 0)
    fixed = wait_for_change(page, half)
    move(page, "#blend", 100)
    warped = wait_for_change(page, fixed)
    move(page, "#blend", 50)
    wait_for_likeness(page, half)
    assert difference(half, (fixed + warped) // 2) < difference(fixed, warped)
    assert page.errors == []


def test_the_buttons_of_images(page: Browser) -> None:
    seen = [picture(page)]
    for name in ("moving", "warped", "fixed"):
        page.click(f"[data-image={name}]")
        seen.append(wait_for_change(page, seen[-1]))
        assert page.run("document.querySelector('#images [aria-pressed=true]').textContent") == name
    assert difference(seen[1], seen[3]) > difference(seen[2], seen[3])  # warped is nearer to fixed than moving was
    assert page.errors == []


def test_the_buttons_of_maps(page: Browser) -> None:
    plain = picture(page)
    assert coloured(plain) < 0.05
    for name in ("jacobian", "displacement"):
        before = picture(page)
        page.click(f"[data-map={name}]")
        wait_for(page, lambda now, before=before: difference(now, before) > 0.5 and coloured(now) > 0.2)
        marks = page.run("document.getElementById('marks').innerText").split()
        assert len(marks) == 5 and float(marks[0]) < float(marks[-1])
    page.click("[data-map=none]")
    wait_for_likeness(page, plain)
    assert page.errors == []


def test_the_map_that_was_clicked_last_is_shown(
    browser: Browser, flat_affine: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = threading.Event(), pages.deformation_maps
    monkeypatch.setattr(pages, "deformation_maps", lambda *given: made.wait(PATIENCE) and make(*given))
    with serving(keep(flat_affine, tmp_path)) as viewer:
        page = opened(browser, viewer)
        plain = picture(page)
        page.click("[data-map=jacobian]")
        page.wait_for("document.getElementById('status').textContent.startsWith('Computing')")
        page.click("[data-map=none]")
        page.wait_for("document.getElementById('status').textContent === ''")
        made.set()
        page.run("fetch('maps.json').then(() => new Promise((done) => setTimeout(done, 1000)))")
        assert page.run("document.querySelector('#maps [aria-pressed=true]').textContent") == "none"
        assert page.run("document.getElementById('legend').hidden")
        assert difference(picture(page), plain) < 0.1
        assert page.errors == []


def coloured(pixels: Pixels) -> float:
    return float((np.ptp(pixels, axis=-1) > 25).mean())


def test_a_click_moves_the_crosshair_and_tells_its_values(page: Browser, fitted: Registration) -> None:
    before, picture_before = point(page), picture(page)
    box = page.run("(b => [b.x, b.y, b.width, b.height])(document.getElementById('canvas').getBoundingClientRect())")
    page.click_at(box[0] + 0.18 * box[2], box[1] + 0.3 * box[3])
    page.wait_for(f"document.body.dataset.point !== '{json.dumps(before, separators=(',', ':'))}'")
    wait_for_change(page, picture_before)
    now = point(page)
    assert sum(abs(a - b) > 1 for a, b in zip(now, before, strict=True)) == 2  # a click is in one plane
    points = torch.tensor([now], dtype=torch.float64)
    moved, jacobian = fitted.transform.value_and_jacobian(points)
    assert told(page, "fixed") == pytest.approx(value(fitted.pair.fixed, points), abs=0.06)
    assert told(page, "warped") == pytest.approx(value(fitted.pair.moving, moved), abs=0.2)
    assert told(page, "jacobian") == pytest.approx(float(determinant(jacobian)), abs=2e-3)
    assert told(page, "displacement") == pytest.approx(float((moved - points).norm()), abs=0.02)
    assert page.run("document.getElementById('point').textContent") == ", ".join(f"{n:.1f}" for n in now)


def test_landmarks_are_shown_and_a_click_goes_there(page: Browser, fitted: Registration, lungs: PhantomPair) -> None:
    landmarks = lungs.landmarks
    gaps = (fitted.transform(landmarks.fixed.coordinates) - landmarks.moving.coordinates).norm(dim=-1)
    worst = int(gaps.argmax())
    listed = page.run("document.querySelector('#landmark-list button').innerText").split()
    assert listed == [landmarks.fixed.ids[worst], f"{float(gaps[worst]):.2f}", "mm"]
    before = page.run("document.body.dataset.point")
    page.click("#landmark-list button")
    page.wait_for(f"document.body.dataset.point !== '{before}'")
    assert point(page) == pytest.approx(landmarks.fixed.coordinates[worst].tolist(), abs=0.01)
    shown = picture(page)
    page.click("#landmarks-shown")
    wait_for(page, lambda now: coloured(now) < coloured(shown))
    before = page.run("document.body.dataset.point")
    page.click("[data-image=moving]")
    page.wait_for("document.getElementById('landmarks-note').textContent.includes('takes')")
    page.click("#landmark-list button")
    page.wait_for(f"document.body.dataset.point !== '{before}'")
    assert point(page) == pytest.approx(landmarks.moving.coordinates[worst].tolist(), abs=0.01)
    assert page.errors == []


def test_a_flat_registration(browser: Browser, flat_affine: Registration, tmp_path: Path) -> None:
    with serving(keep(flat_affine, tmp_path)) as viewer:
        page = opened(browser, viewer)
        assert picture(page).std() > 30
        assert page.run("document.getElementById('landmarks').offsetHeight") == 0
        before = page.run("document.body.dataset.point")
        x, y = page.run("(b => [b.x + 0.4 * b.width, b.y + 0.3 * b.height])(canvas.getBoundingClientRect())")
        page.click_at(x, y)
        page.wait_for(f"document.body.dataset.point !== '{before}'")
        points = torch.tensor([point(page)[:2]], dtype=torch.float64)
        assert told(page, "fixed") == pytest.approx(value(flat_affine.pair.fixed, points), abs=0.06)
        page.click("[data-map=displacement]")
        wait_for(page, lambda now: coloured(now) > 0.2)
        assert page.errors == []


def test_hostile_names_stay_text(
    browser: Browser, flat_affine: Registration, flat: PhantomPair, tmp_path: Path
) -> None:
    keep(flat_affine, tmp_path, (HOSTILE, f"'\"{HOSTILE}"))
    points = [side.coordinates[:2] for side in (flat.landmarks.fixed, flat.landmarks.moving)]
    pairs = PointPairs.from_coordinates(*points, [HOSTILE, '"><script>alert(1)</script>'])
    places = {"fixed": tmp_path / HOSTILE, "moving": tmp_path / f"'\"{HOSTILE}"}
    with serving(tmp_path, landmarks=pairs, **places) as viewer:
        page = opened(browser, viewer)
        assert page.errors == []
        assert page.run("document.querySelectorAll('img').length") == 0
        assert page.run("document.getElementById('fixed-name').textContent").endswith(HOSTILE)
        assert HOSTILE in page.run("document.getElementById('landmark-list').textContent")
