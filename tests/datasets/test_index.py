"""The index of a data set: lookups, reading and writing, and errors for invalid indices."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nephi.datasets import (
    DatasetImage,
    DatasetIndex,
    DatasetPair,
    DatasetSource,
    DatasetSplit,
    read_dataset_index,
    write_dataset_index,
)
from nephi.errors import DataError, UsageError

Table = dict[str, Any]


def entry(id: str, subject: str, **files: str) -> DatasetImage:
    return DatasetImage(id, subject, f"images/{id}.nii.gz", **files)


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    """Two training subjects with a rule, one test subject with a listed pair; all files exist, empty."""
    images = tuple(
        entry(f"{s}-{phase}", s, mask=f"masks/{s}-{phase}.nii.gz", modality="CT")
        for s in "abc"
        for phase in ("in", "ex")
    )
    pair = DatasetPair("c-in", "c-ex", "landmarks/c-in--c-ex.csv")
    index = DatasetIndex(
        name="lungs",
        dimension=3,
        images=images,
        splits={"train": DatasetSplit(("a", "b"), "within-subjects"), "test": DatasetSplit(("c",), (pair,))},
        source=DatasetSource("Someone et al., 2020", "CC BY 4.0", "https://example.org"),
        folder=tmp_path,
    )
    for _, relative in index.files():
        (tmp_path / relative).parent.mkdir(exist_ok=True)
        (tmp_path / relative).touch()
    return index


@pytest.fixture
def error_after(index: DatasetIndex, tmp_path: Path) -> Callable[[Callable[[Table], object]], str]:
    """Returns the error message of reading the index after a change to its JSON."""

    def message(change: Callable[[Table], object]) -> str:
        path = tmp_path / "dataset.json"
        write_dataset_index(index, path)
        table = json.loads(path.read_text(encoding="utf-8"))
        change(table)
        path.write_text(json.dumps(table))
        with pytest.raises(DataError) as caught:
            read_dataset_index(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and "\n" not in text
        return text.removeprefix(f"{path}: ")

    return message


def test_written_index_is_read_back(index: DatasetIndex, tmp_path: Path) -> None:
    write_dataset_index(index, tmp_path / "dataset.json")
    assert read_dataset_index(tmp_path / "dataset.json") == index
    assert read_dataset_index(tmp_path) == index


def test_folder_stands_for_its_dataset_json(index: DatasetIndex, tmp_path: Path) -> None:
    write_dataset_index(index, tmp_path)
    assert (tmp_path / "dataset.json").is_file()
    assert read_dataset_index(tmp_path) == index
    with pytest.raises(DataError, match=r"dataset.json: .*no file"):
        (tmp_path / index.images[0].image).unlink()
        write_dataset_index(index, str(tmp_path))


def test_equal_indices_give_equal_bytes(index: DatasetIndex, tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        write_dataset_index(replace(index), tmp_path / name)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_lookups(index: DatasetIndex, tmp_path: Path) -> None:
    assert [i.id for i in index.split_images("train")] == ["a-in", "a-ex", "b-in", "b-ex"]
    assert index.path(index.image("c-ex").image) == tmp_path / "images" / "c-ex.nii.gz"
    assert list(index.pairs("test")) == [DatasetPair("c-in", "c-ex", "landmarks/c-in--c-ex.csv")]
    with pytest.raises(UsageError, match="no image 'd'"):
        index.image("d")
    with pytest.raises(UsageError, match="no split 'val': choose one of train, test"):
        index.pairs("val")


@pytest.mark.parametrize("rule", ["within-subjects", "between-subjects"])
def test_rules_yield_every_ordered_pair_once(rule: str) -> None:
    """Subjects with one, two and three images in mixed order, against two nested loops."""
    subjects = "babcbac"
    images = (*(entry(f"{s}{k}", s) for k, s in enumerate(subjects)), entry("other", "d"))
    pairs = DatasetIndex("x", 2, images, {"train": DatasetSplit(tuple("abc"), rule)}).pairs("train")
    same = rule == "within-subjects"
    expected = {(a.id, b.id) for a in images[:-1] for b in images[:-1] if a != b and (a.subject == b.subject) == same}
    ids = [(pair.fixed, pair.moving) for pair in pairs]
    assert len(pairs) == len(ids) == len(expected)
    assert set(ids) == expected
    assert pairs[-1] == list(pairs)[-1] and pairs[1:3] == list(pairs)[1:3]
    with pytest.raises(IndexError):
        pairs[len(pairs)]


def test_pairs_of_a_rule_are_not_stored() -> None:
    images = tuple(entry(f"s{k}", f"s{k}") for k in range(3000))
    rule = DatasetSplit(tuple(i.subject for i in images), "between-subjects")
    pairs = DatasetIndex("x", 3, images, {"train": rule}).pairs("train")
    assert len(pairs) == 3000 * 2999
    assert pairs[3000 * 2999 - 1] == DatasetPair("s2999", "s2998")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(format="x"), "expected the index of a data set, with format 'nephi-dataset', found 'x'"),
        (lambda t: t.update(version=2), "version: expected 1, found 2"),
        (lambda t: t.update(dimension=4), "dimension: expected 2 or 3, found 4"),
        (lambda t: t.pop("dimension"), "dimension: expected 2 or 3, found None"),
        (lambda t: t.pop("name"), "name: expected a text, found nothing"),
        (lambda t: t.update(licence=""), "licence: unknown key; expected some of format, version"),
        (lambda t: t.update(images=[]), "images: expected at least one, found none"),
        (lambda t: t.update(images={}), r"images: expected a list, found \{\}"),
        (lambda t: t["images"][1].update(mask=3), r"images\[1\].mask: expected a text, found 3"),
        (
            lambda t: t["images"][1].pop("subject"),
            r"images\[1\]: expected id, subject, image, found no subject; add it",
        ),
        (lambda t: t["images"][1].update(lables=""), r"images\[1\].lables: unknown key; expected some of id, subject"),
        (lambda t: t["images"][1].update(id="a-in"), r"images\[1\].id: 'a-in' is already the id of images\[0\]"),
        (lambda t: t["images"][1].update(id="a--b"), r"images\[1\].id: expected letters, digits.*found 'a--b'"),
        (lambda t: t["images"][1].update(image="/a.nii"), r"images\[1\].image: expected a path relative.*'/a.nii'"),
        (lambda t: t["images"][1].update(image="C:\\a"), r"images\[1\].image: expected a path relative"),
        (
            lambda t: t["images"][0].update(mask="no.nii"),
            r"images\[0\].mask: no file no.nii in the folder of the index; add it",
        ),
        (lambda t: t.update(splits={}), "splits: expected at least one of train, val, test, found none"),
        (lambda t: t["splits"].update(tset=t["splits"].pop("test")), "splits.tset: expected train, val, test"),
        (lambda t: t["splits"]["train"].update(subjects=[]), "splits.train: expected at least one pair, found none"),
        (lambda t: t["splits"]["train"].update(subjects=["z"]), "splits.train.subjects: 'z' has no image"),
        (
            lambda t: t["splits"]["train"].update(subjects=["a", "a"]),
            "splits.train.subjects: 'a' is listed more than once",
        ),
        (lambda t: t["splits"]["train"].update(subjects=["c"]), "splits.test.subjects: 'c' is also in splits.train"),
        (
            lambda t: t["splits"]["train"].update(pairs="all"),
            "splits.train.pairs: expected a list, or one of within-sub",
        ),
        (lambda t: t["splits"]["test"].update(pairs=[]), "splits.test: expected at least one pair, found none"),
        (
            lambda t: t["splits"]["test"]["pairs"][0].update(moving="x"),
            r"pairs\[0\].moving: expected the id of an image",
        ),
        (
            lambda t: t["splits"]["test"]["pairs"][0].update(moving="a-in"),
            "'a-in' is an image of 'a'; add it to splits.test.sub",
        ),
        (
            lambda t: t["splits"]["test"]["pairs"][0].update(moving="c-in"),
            "expected two different images, found 'c-in' twice",
        ),
        (
            lambda t: t["splits"]["test"]["pairs"].append(t["splits"]["test"]["pairs"][0]),
            "are listed before; list each pair once",
        ),
        (
            lambda t: t["images"][1].update(id=t["images"][0]["id"].upper()),
            r"images\[1\].id: .* only in case",
        ),
        (lambda t: t["images"][1].update(id="x" * 99), r"images\[1\].id: expected at most 98 characters"),
        (lambda t: t["images"][1].update(id="nul.nii"), r"images\[1\].id: .* no name that Windows reserves"),
        (lambda t: t.update(name="\ud800"), r"name: expected a text in Unicode, found half of a surrogate pair"),
        (lambda t: t["images"][1].update(modality="\udcff"), r"images\[1\].modality: expected a text in Unicode"),
        (lambda t: t.update(name=[[[[[]]]]] * 1000), "name: expected a text, found .{1,70}$"),
        (lambda t: t.update(dimension=int("9" * 400)), "at most 300 digits"),
        (lambda t: t["images"][1].update(image="x" * 300 + ".nii"), r"images\[1\].image: no file x{300}"),
        (lambda t: t["images"][1].update(image="x\0y.nii"), r"images\[1\].image: no file x"),
        (lambda t: t["splits"]["test"]["pairs"][0].update(landmarks="x.csv"), r"pairs\[0\].landmarks: no file x.csv"),
    ],
)
def test_invalid_index_is_refused(error_after, change: Callable[[Table], object], message: str) -> None:
    text = error_after(change)
    assert re.search(message, text), text


def test_truncated_file_is_refused(index: DatasetIndex, tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    write_dataset_index(index, path)
    path.write_text(path.read_text(encoding="utf-8")[:200])
    with pytest.raises(DataError, match=r"expected JSON, found an error in line .* is the file complete"):
        read_dataset_index(path)


def test_missing_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; expected a data set's index"):
        read_dataset_index(tmp_path)


def test_missing_files_are_counted_and_no_index_is_written(index: DatasetIndex, tmp_path: Path) -> None:
    for image in index.images[:3]:
        index.path(image.image).unlink()
    with pytest.raises(DataError, match=r"images\[0\].image: no file .* \(2 more are missing\)"):
        write_dataset_index(index, tmp_path / "dataset.json")
    assert not (tmp_path / "dataset.json").exists()


def test_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/datasets.md").read_text(encoding="utf-8")
    (tmp_path / "dataset.json").write_text(page.split("```json\n")[1].split("```")[0])
    for name in re.findall(r'"((?:images|masks|labels|landmarks)/.*?)"', page):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    index = read_dataset_index(tmp_path)
    assert len(index.pairs("train")) == 2 and len(index.pairs("test")) == 1
