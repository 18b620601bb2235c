"""Test the report page in a real browser: no errors, all pictures, working controls."""

from pathlib import Path

from .browser import Browser

FLICKERING = ".frame[data-flickers]"


def test_opens_without_errors_and_network_requests(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title").endswith("nephi")


def test_every_picture_is_drawn(browser: Browser, page: Path, flat_page: Path) -> None:
    for path, pictures in ((page, 3 * 9), (flat_page, 8)):
        browser.open(path)
        widths = browser.run("[...document.images].map(i => i.complete ? i.naturalWidth : -1)")
        assert len(widths) == pictures
        assert min(widths) > 8
        areas = browser.run("[...document.querySelectorAll('.frame')].map(f => f.clientWidth * f.clientHeight)")
        assert min(areas) > 2000
    assert browser.errors == []


def test_the_slider_moves_every_picture_of_its_view(browser: Browser, page: Path) -> None:
    browser.open(page)
    tile = """(() => {
      const image = document.querySelector('#deformation .stage[data-view=coronal] img');
      const frame = image.closest('.frame');
      const [a, b] = [image.getBoundingClientRect(), frame.getBoundingClientRect()];
      return [Math.round((b.x - a.x) / b.width), Math.round((b.y - a.y) / b.height)];
    })()"""
    label = "document.querySelector('#images input[data-slides=coronal]').closest('label').innerText"
    axial = "document.querySelector('.stage[data-view=axial]').style.cssText"
    before, axial_before = (browser.run(tile), browser.run(label)), browser.run(axial)
    browser.press("#images input[data-slides=coronal]", "ArrowRight", 39)
    after = browser.run(tile), browser.run(label)
    columns = browser.run("Number(document.querySelector('[data-view=coronal]').style.getPropertyValue('--columns'))")
    planes = [row * columns + column for column, row in (before[0], after[0])]
    assert planes[1] == planes[0] + 1
    assert before[1] != after[1] and "mm" in after[1]
    assert browser.run("document.querySelector('#deformation input[data-slides=coronal]').value") == str(planes[1])
    assert browser.run(axial) == axial_before


def test_pointing_at_a_picture_starts_the_flicker(browser: Browser, page: Path) -> None:
    browser.open(page)
    visibility = f"getComputedStyle(document.querySelector('{FLICKERING} .over')).visibility"
    changes = f"""new Promise(done => {{
      const states = [];
      const watch = new MutationObserver(() => {{
        states.push({visibility});
        if (states.length > 2) {{ watch.disconnect(); done(states); }}
      }});
      watch.observe(document.querySelector('{FLICKERING}'), {{attributes: true, attributeFilter: ['class']}});
    }})"""
    assert browser.run(visibility) == "visible"
    browser.point_at(FLICKERING)
    assert browser.run(visibility) == "hidden"  # the fixed image lies below
    assert set(browser.run(changes)) == {"visible", "hidden"}
    browser.point_at("h1")
    assert browser.run(visibility) == "visible"


def test_comparison_modes_change_the_picture(browser: Browser, page: Path) -> None:
    browser.open(page)
    over = f"getComputedStyle(document.querySelector('{FLICKERING} .over'))"
    style = f"(style => [style.maskImage.includes('conic'), style.mixBlendMode])({over})"
    hint = "[...document.querySelectorAll('.hint')].filter(h => h.offsetHeight).map(h => h.dataset.hint)"
    for mode, expected in (
        ("checkerboard", [True, "normal"]),
        ("difference", [False, "difference"]),
        ("flicker", [False, "normal"]),
    ):
        browser.click(f"input[value={mode}]")
        assert browser.run(style) == expected
        assert browser.run(hint) == [mode]


def test_landmarks_nearest_to_the_plane_are_highlighted(browser: Browser, page: Path) -> None:
    browser.open(page)
    near = "[...document.querySelectorAll('[data-view=axial] circle.near')].map(c => Number(c.dataset.plane))"
    slider = "document.querySelector('#landmarks input[data-slides=axial]')"
    for plane in (9, 10):
        browser.run(f"{slider}.value = {plane}; {slider}.dispatchEvent(new Event('input'))")
        assert set(browser.run(near)) == {plane}
    marks = browser.run("document.querySelectorAll('[data-view=axial] circle').length")
    assert marks > 10


def test_html_in_file_names_is_shown_as_text(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert "<img src=x onerror=alert(1)>" in browser.run("document.querySelector('.names').innerText")
