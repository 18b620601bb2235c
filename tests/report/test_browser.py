"""Test the report page in a real browser: no errors, all pictures, working controls."""

import re
from pathlib import Path

from .browser import Browser

FLICKERING = ".frame[data-flickers]"


def test_opens_without_errors_and_network_requests(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title").endswith("nephi")


def test_every_picture_is_drawn(browser: Browser, page: Path, flat_page: Path) -> None:
    for path, pictures in ((page, 3 * 10), (flat_page, 9)):
        browser.open(path)
        widths = browser.run("[...document.images].map(i => i.complete ? i.naturalWidth : -1)")
        assert len(widths) == pictures
        assert min(widths) > 8
        areas = browser.run("[...document.querySelectorAll('.frame')].map(f => f.clientWidth * f.clientHeight)")
        assert min(areas) > 2000
    assert browser.errors == []


def test_the_fixed_image_is_always_seen(browser: Browser, page: Path, flat_page: Path) -> None:
    """Each view has a picture of the fixed image alone, which no mode and no pointer covers."""
    for path, views in ((page, 3), (flat_page, 1)):
        browser.open(path)
        fixed = "[...document.querySelectorAll('#images .stage')].filter(s => !s.querySelector('.over'))"
        sources = f"{fixed}.map(s => s.querySelectorAll('img').length == 1 && s.querySelector('img').id)"
        for mode in ("flicker", "checkerboard", "difference"):
            browser.click(f"input[value={mode}]")
            assert [name.split("-")[1] for name in browser.run(sources)] == ["fixed"] * views
            assert min(browser.run(f"{fixed}.map(s => s.querySelector('img').getBoundingClientRect().height)")) > 60


def test_pictures_fill_the_card_and_nothing_is_cut(browser: Browser, page: Path, flat_page: Path) -> None:
    width = """[...document.querySelectorAll('#images, #deformation')].map(card => {
      const boxes = [...card.querySelectorAll('.frame')].map(f => f.getBoundingClientRect());
      const style = getComputedStyle(card), inner = card.clientWidth - 2 * parseFloat(style.paddingLeft);
      return (Math.max(...boxes.map(b => b.right)) - Math.min(...boxes.map(b => b.left))) / inner;
    })"""
    cut = """[...document.querySelectorAll('header *, main *')].filter(e => !e.closest('.frame, pre, svg, .scroll')
      && e.getBoundingClientRect().right > document.body.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    for path in (page, flat_page):
        for size in ((1920, 1080), (1280, 800), (400, 850)):
            browser.emulate(*size)
            browser.open(path)
            assert min(browser.run(width)) > 0.85, size
            assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert size[0] == 400 or browser.run(cut) == []


def test_numbers_do_not_break(browser: Browser, page: Path) -> None:
    lines = """[...document.querySelectorAll('.number, .figures dd:not(.more), td:not(.text)')].map(e => {
      const range = document.createRange();
      range.selectNodeContents(e);
      return [e.innerText, new Set([...range.getClientRects()].map(r => Math.round(r.top / 8))).size];
    }).filter(([text, count]) => /\\d/.test(text) && count > 1)"""
    for width in (1280, 400):
        browser.emulate(width, 850)
        browser.open(page)
        assert browser.run(lines) == []


def test_the_page_follows_the_colour_scheme_and_prints_in_light_colours(browser: Browser, page: Path) -> None:
    browser.open(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    colours = []
    for media, scheme in (("", "light"), ("", "dark"), ("print", "dark")):
        browser.emulate(1240, 1000, media, scheme)
        colours.append(browser.run(ground))
    light, dark, paper = ([int(n) for n in re.findall(r"\d+", colour)[:3]] for colour in colours)
    assert min(light) > 240 and max(dark) < 40 and paper == [255] * 3


def test_it_prints_on_a4_with_no_section_cut(browser: Browser, page: Path, flat_page: Path) -> None:
    width, height = (round((paper - margins) / 25.4 * 96) for paper, margins in ((210, 24), (297, 30)))
    beyond = f"[...document.querySelectorAll('header, section')].filter(e => e.scrollWidth > {width}).map(e => e.id)"
    tall = f"[...document.querySelectorAll('section:not(.long)')].filter(e => e.offsetHeight > {height}).map(e => e.id)"
    for path, pages in ((page, 8), (flat_page, 6)):
        browser.open(path)
        browser.emulate(width, height, "print")
        assert browser.run(beyond) == [] and browser.run(tall) == []  # so that `break-inside: avoid` holds
        assert browser.run("document.getElementById('settings').offsetHeight") > 200
        printed = browser.pdf()
        boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
        assert {tuple(round(float(n)) for n in box) for box in boxes} == {(595, 842)}  # A4 in points
        assert 3 <= len(re.findall(rb"/Type /Page\b", printed)) <= pages


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
