"""Test the report page as text: contents, escaped names, no references to other files or hosts."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import PointPairs
from nephi.metrics import landmark_errors
from nephi.phantoms import PhantomPair
from nephi.report import write_report
from nephi.report.page import page_html
from nephi.results import Registration
from nephi.settings import settings_toml

from .conftest import COMMAND, HOSTILE

VOID = {"br", "img", "input", "link", "meta"}
LOADING = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "background"}


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text; fails for tags that are not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def parsed(page: Path) -> Page:
    return Page(page)


def test_page_refers_to_no_other_file_or_host(page: Path, flat_page: Path, hostile_page: Path) -> None:
    for path in (page, flat_page, hostile_page):
        content = Page(path)
        for tag, attributes in content.elements:
            for name in LOADING & attributes.keys():
                assert (attributes[name] or "").startswith("data:"), (tag, name)
        assert not content.all("iframe") and not content.all("object") and not content.all("base")
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|@import|url\(", text)


def test_page_is_small(page: Path) -> None:
    assert page.stat().st_size < 1_500_000


def test_every_picture_has_a_description(parsed: Page) -> None:
    images = parsed.all("img")
    assert all("alt" in image for image in images)
    assert sum(bool(image["alt"]) for image in images) >= 3 * 5  # covered pictures have an empty one
    assert all(svg.get("aria-label") for svg in parsed.all("svg"))
    assert "Fixed image, axial, R on the left, A at the top" in {image["alt"] for image in images}


def test_ids_are_unique_and_copies_have_a_source(parsed: Page) -> None:
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["data-copy-of"] for a in parsed.all("img") if "data-copy-of" in a} <= set(ids)
    assert {a["aria-labelledby"] for _, a in parsed.elements if "aria-labelledby" in a} <= set(ids)


def test_page_contains_the_measures(parsed: Page, page: Path, fitted: Registration, lungs: PhantomPair) -> None:
    report = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    errors = landmark_errors(fitted.transform, lungs.landmarks).summary()
    expected = [f"{errors['mean']:.2f} mm", f"{errors['before']:.2f} mm before", f"{errors['max']:.2f} mm"]
    expected += [f"{report['inside_mask']['smallest']:.3f}", f"{report['unrefined_inverse_mm']:.4f} mm"]
    expected += [f"{report['usage']['peak_memory_mb']:.0f} MB", COMMAND]
    expected += [f"{stage['cpu_s']:.2f}" for stage in report["usage"]["stages"].values()]
    expected += [f"{report[region]['folding_percent']:.4f} %" for region in ("inside_mask", "whole_grid")]
    expected += ["folding at voxel centres", f"{report['dice']['mean']:.3f}", f"{report['dice']['before']:.3f} before"]
    for key in ("labels", "labels_before"):
        expected += [f"{value:.3f}" for value in report["dice"][key].values()]
    expected += [report["usage"]["date"].replace("T", " "), "inverse consistency"]
    expected += [*report["versions"].values(), "jinja2", "Radiological orientation"]
    for text in expected:
        assert text in parsed.text, text
    settings = re.sub(r"\s+", " ", settings_toml(fitted.settings)).strip()
    assert settings in parsed.text


def test_the_main_measures_leave_out_the_refined_inverse(page: Path) -> None:
    """It is solved to 0.001 mm whatever the registration: 0.0000 mm says nothing about it."""
    cards = page.read_text(encoding="utf-8").split('<dl class="figures">')[1].split("</dl>")[0]
    assert "folding at voxel centres" in cards and "inverse" not in cards


def test_grids_and_masks_of_both_images_are_listed(parsed: Page, fitted: Registration, lungs: PhantomPair) -> None:
    for image, mask in ((lungs.fixed, fitted.pair.fixed_mask), (lungs.moving, fitted.pair.moving_mask)):
        assert mask is not None
        voxels = int((mask.data > 0).sum())
        for text in (
            " × ".join(map(str, image.grid.shape)),
            f"{voxels} voxels, {100 * voxels / image.grid.size:.3g} %",
        ):
            assert text in parsed.text, text


def test_volume_change_is_smoothed_only_where_the_jacobian_jumps(parsed: Page, flat_page: Path) -> None:
    assert "smoothed for the eye, by a Gaussian with a standard deviation of 4 mm" in parsed.text  # cells of 8 mm
    assert "smoothed for the eye" not in Page(flat_page).text  # affine


def test_every_landmark_is_in_every_view(parsed: Page, lungs: PhantomPair) -> None:
    assert len(parsed.all("circle")) == 3 * len(lungs.landmarks)
    for circle in parsed.all("circle"):
        assert float(circle["cx"] or -1) > 0 and float(circle["cy"] or -1) > 0


def test_loss_curve_has_both_levels(parsed: Page) -> None:
    assert "level 1" in parsed.text and "level 2" in parsed.text
    assert len(parsed.all("polyline")) == 2 * 2  # each with its running mean


def test_page_of_a_2d_affine_registration(flat_page: Path) -> None:
    content = Page(flat_page)
    assert content.all("input") and not [a for a in content.all("input") if a.get("type") == "range"]
    assert "the transform of this registration is affine" in content.text
    assert not content.all("circle") and "Command" not in content.text


def test_names_are_escaped(hostile_page: Path) -> None:
    content = Page(hostile_page)
    assert HOSTILE in content.text
    assert not [a for _, a in content.elements if "onerror" in a]
    assert [a for a in content.all("img") if not (a.get("src") or "data:").startswith("data:")] == []
    assert len(content.all("script")) == 1
    assert [circle.get("class") for circle in content.all("circle")] == ["near"] * 3  # in 2-D, all
    assert "&lt;img src=x onerror=alert(1)&gt;" in hostile_page.read_text(encoding="utf-8")


def test_folded_pixels_are_counted(fitted: Registration, lungs: PhantomPair, page: Path, tmp_path: Path) -> None:
    """A reflection folds at every pixel."""
    from nephi.transforms import AffineTransform

    report = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]).double())
    stored = replace(fitted.stored, affine=AffineTransform(flip), steps=())
    (tmp_path / "page.html").write_text(page_html(replace(fitted, stored=stored), report), encoding="utf-8")
    counts = [a["data-folds"] for _, a in Page(tmp_path / "page.html").elements if "data-folds" in a]
    assert len(counts) == 3
    assert all(int(count) > 100 for numbers in counts for count in (numbers or "0").split())


def test_a_folder_without_results_is_refused(fitted: Registration, tmp_path: Path) -> None:
    for content in (None, "{}", "[1]", "{"):
        if content is not None:
            (tmp_path / "report.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"report\.json: .*expected the report of a saved registration"):
            write_report(fitted, tmp_path)
        assert not (tmp_path / "report.html").exists()


def test_landmarks_of_another_dimension_are_refused(fitted: Registration, page: Path) -> None:
    before = page.read_bytes()
    with pytest.raises(DataError, match="expected 3-D"):
        write_report(fitted, page.parent, landmarks=PointPairs.from_coordinates(torch.zeros(1, 2), torch.zeros(1, 2)))
    assert page.read_bytes() == before


def test_a_full_disk_leaves_the_existing_page_unchanged(
    fitted: Registration, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.json").write_bytes((page.parent / "report.json").read_bytes())
    (tmp_path / "report.html").write_text("existing", encoding="utf-8")

    def failing(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(DataError, match="No space left"):
        write_report(fitted, tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "existing"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]
