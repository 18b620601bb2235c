"""The page in a real browser: nothing is amiss, every picture is there, and what can be moved moves."""

from pathlib import Path

from .browser import Browser

HELD = ".frame[data-flickers]"


def test_opens_without_an_error_or_a_request(browser: Browser, page: Path) -> None:
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
        seen = browser.run("[...document.querySelectorAll('.frame')].map(f => f.clientWidth * f.clientHeight)")
        assert min(seen) > 2000
    assert browser.errors == []


def test_the_slider_moves_every_picture_of_its_view(browser: Browser, page: Path) -> None:
    browser.open(page)
    place = """(() => {
      const image = document.querySelector('#deformation .stage[data-view=coronal] img');
      const frame = image.closest('.frame');
      const [a, b] = [image.getBoundingClientRect(), frame.getBoundingClientRect()];
      return [Math.round((b.x - a.x) / b.width), Math.round((b.y - a.y) / b.height)];
    })()"""
    told = "document.querySelector('#images input[data-slides=coronal]').closest('label').innerText"
    still = "document.querySelector('.stage[data-view=axial]').style.cssText"
    before, other = (browser.run(place), browser.run(told)), browser.run(still)
    browser.press("#images input[data-slides=coronal]", "ArrowRight", 39)
    after = browser.run(place), browser.run(told)
    columns = browser.run("Number(document.querySelector('[data-view=coronal]').style.getPropertyValue('--columns'))")
    planes = [row * columns + column for column, row in (before[0], after[0])]
    assert planes[1] == planes[0] + 1
    assert before[1] != after[1] and "mm" in after[1]
    assert browser.run("document.querySelector('#deformation input[data-slides=coronal]').value") == str(planes[1])
    assert browser.run(still) == other


def test_resting_on_a_picture_flickers(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = f"getComputedStyle(document.querySelector('{HELD} .over')).visibility"
    changes = f"""new Promise(done => {{
      const seen = [];
      const watch = new MutationObserver(() => {{
        seen.push({shown});
        if (seen.length > 2) {{ watch.disconnect(); done(seen); }}
      }});
      watch.observe(document.querySelector('{HELD}'), {{attributes: true, attributeFilter: ['class']}});
    }})"""
    assert browser.run(shown) == "visible"
    browser.point_at(HELD)
    assert browser.run(shown) == "hidden"  # the fixed image lies below
    assert set(browser.run(changes)) == {"visible", "hidden"}
    browser.point_at("h1")
    assert browser.run(shown) == "visible"


def test_the_ways_to_compare(browser: Browser, page: Path) -> None:
    browser.open(page)
    over = f"getComputedStyle(document.querySelector('{HELD} .over'))"
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


def test_landmarks_of_the_plane_shown_stand_out(browser: Browser, page: Path) -> None:
    browser.open(page)
    near = "[...document.querySelectorAll('[data-view=axial] circle.near')].map(c => Number(c.dataset.plane))"
    slider = "document.querySelector('#landmarks input[data-slides=axial]')"
    for plane in (9, 10):
        browser.run(f"{slider}.value = {plane}; {slider}.dispatchEvent(new Event('input'))")
        assert set(browser.run(near)) == {plane}
    marks = browser.run("document.querySelectorAll('[data-view=axial] circle').length")
    assert marks > 10


def test_a_hostile_name_stays_text(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert "<img src=x onerror=alert(1)>" in browser.run("document.querySelector('.names').innerText")
