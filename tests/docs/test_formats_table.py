"""The table of transform formats in docs/reference/formats.md: what it claims can be written and read, and no more.

tests/interop tests the agreement with each tool; this file tests that those tests exist for every tool in the table.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import nephi
from nephi.cli.main import main

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "formats.md"
# The files of the cells: row, format of `nephi export`, suffix, `--transform-format` for reading.
WRITTEN = [
    *(("displacement field, LPS mm", "itk", suffix, "") for suffix in (".nii.gz", ".nii", ".mha", ".nrrd")),
    ("displacement field, LPS mm", "nrrd", ".nrrd", ""),
    ("displacement field of 3-D Slicer", "slicer", ".nii.gz", ""),
    *(("ITK composite", "h5", suffix, "") for suffix in (".h5", ".tfm")),
    *(("affine", "itk", suffix, "") for suffix in (".mat", ".tfm", ".txt")),
    ("FSL relative warp", "fsl", ".nii.gz", "fsl"),
    ("Learn2Reg", "learn2reg", ".nii.gz", "learn2reg"),
]
# For each row the claims in the cells "read by" and "tested with", word for word, and the tests of each claim.
SITK, ANTS, GREEDY = "interop/test_simpleitk.py", "interop/test_ants.py", "interop/test_greedy.py"
FIELDS, LINEAR, FSL = "interop/test_displacement_fields.py", "interop/test_transforms.py", "interop/test_fsl.py"
NITRANSFORMS, ELASTIX = "interop/test_nitransforms.py", "interop/test_elastix.py"
FOREIGN, MATRICES = "io/fields/test_foreign_fields.py", "interop/test_affine_text.py"
POSITIONS = [
    f"{FOREIGN}::test_the_intent_name_gives_the_convention",
    f"{FOREIGN}::test_undefined_voxels_get_the_nearest_displacement",
]
FORMULA = [
    "io/fields/test_conventions.py::test_fields_are_read_by_the_users_convention",
    "io/test_export.py::test_layouts",
]
EVIDENCE: dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]] = {
    "displacement field, LPS mm": (
        {"yes": [f"{SITK}::test_fields_of_simpleitk", f"{FIELDS}::test_a_field_that_itk_wrote"]},
        {
            "SimpleITK": [f"{SITK}::test_exports", f"{FIELDS}::test_points_are_mapped_as_by_itk"],
            "ANTs": [f"{ANTS}::test_exports", f"{ANTS}::test_registrations_of_ants"],
            "greedy": [f"{GREEDY}::test_exports", f"{GREEDY}::test_fields_of_greedy"],
            "nitransforms (`.nii.gz`, 3-D)": [
                f"{NITRANSFORMS}::test_exports",
                f"{NITRANSFORMS}::test_fields_of_nitransforms",
            ],
        },
    ),
    "displacement field of 3-D Slicer": (
        {"yes": [f"{SITK}::test_exports"]},
        {
            "SimpleITK": [f"{SITK}::test_exports"],
            "ANTs": [f"{ANTS}::test_exports"],
            "greedy": [f"{GREEDY}::test_exports"],
        },
    ),
    "ITK composite": (
        {
            "affine maps": [f"{LINEAR}::test_linear_classes"],
            "fields": [f"{SITK}::test_fields_of_simpleitk", f"{LINEAR}::test_a_displacement_field_transform"],
            "B-splines": [f"{SITK}::test_splines_of_simpleitk"],
            "chains": [f"{SITK}::test_chains_of_simpleitk", f"{ANTS}::test_registrations_of_ants"],
        },
        {
            "SimpleITK": [f"{SITK}::test_exports", f"{SITK}::test_affine_exports_stay_affine"],
            "ANTs": [f"{ANTS}::test_exports", f"{ANTS}::test_affine_exports"],
        },
    ),
    "affine": (
        {"yes": [f"{LINEAR}::test_linear_classes"]},
        {
            "SimpleITK": [f"{LINEAR}::test_itk_reads_our_affine", f"{SITK}::test_affine_exports_stay_affine"],
            "ANTs (`.mat`)": [f"{ANTS}::test_affine_exports", f"{LINEAR}::test_the_matrix_file_of_ants"],
        },
    ),
    "FSL relative warp": (
        {"`--transform-format fsl`": [f"{FSL}::test_fields_of_fslpy"]},
        {"fslpy": [f"{FSL}::test_exports", f"{FSL}::test_fields_of_fslpy"]},
    ),
    "Learn2Reg": ({"`--transform-format learn2reg`": FORMULA}, {"closed forms": FORMULA}),
    "elastix": (
        {
            "yes": [
                f"{ELASTIX}::test_transforms_of_elastix",
                "io/transforms/test_elastix.py::test_transforms_in_files_of_itk",
            ]
        },
        {"elastix": [f"{ELASTIX}::test_transforms_of_elastix"]},
    ),
    "SPM": ({"yes": [f"{FOREIGN}::test_the_intent_name_gives_the_convention"]}, {"closed forms": POSITIONS}),
    "NiftyReg deformation": (
        {"yes": [f"{FOREIGN}::test_the_intent_name_gives_the_convention"]},
        {"closed forms": [*POSITIONS, f"{FOREIGN}::test_cubic_splines_of_niftyreg"]},
    ),
    "FLIRT": (
        {"with `--fsl-fixed` and `--fsl-moving`": ["cli/test_foreign_transforms.py::test_a_matrix_of_flirt"]},
        {"fslpy": [f"{MATRICES}::test_flirt"]},
    ),
    "greedy, c3d": (
        {"`--transform-format greedy`": ["io/transforms/test_affine_text.py::test_fixed_to_moving_in_ras"]},
        {"greedy": [f"{MATRICES}::test_greedy"]},
    ),
    "reg_aladin": (
        {"`--transform-format niftyreg`": ["io/transforms/test_affine_text.py::test_fixed_to_moving_in_ras"]},
        {"closed forms": ["io/transforms/test_affine_text.py::test_fixed_to_moving_in_ras"]},
    ),
    "FreeSurfer": (
        {"yes": ["io/transforms/test_affine_text.py::test_lta_in_closed_form"]},
        {"files of `lta_convert`": [f"{MATRICES}::test_freesurfer"]},
    ),
}


def rows() -> dict[str, list[str]]:
    text = PAGE.read_text(encoding="utf-8").split("## Transforms")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert cells[0] == ["format", "read by `-t`", "written by `nephi export --format`", "tested with"]
    return {row[0]: row[1:] for row in cells[2:]}


@pytest.fixture(scope="module")
def pair() -> nephi.phantoms.PhantomPair:
    grid = nephi.Grid.from_spacing((20, 18, 16), (3.0, 3.5, 4.0), (-30.0, -20.0, 10.0))
    return nephi.phantoms.lung_phantom(motion=12.0, fixed_grid=grid, moving_grid=grid)


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(argument) for argument in arguments])


@pytest.mark.parametrize(("row", "format", "suffix", "convention"), WRITTEN)
def test_written_and_read(
    pair: nephi.phantoms.PhantomPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    format: str,
    suffix: str,
    convention: str,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source, out, reference = tmp_path / "source.nii.gz", tmp_path / f"out{suffix}", tmp_path / "fixed.nii.gz"
    nephi.write_image(pair.fixed, reference)
    if row == "affine":
        source = tmp_path / "source.mat"
        nephi.io.write_affine(source, nephi.AffineTransform.translation(torch.tensor([3.0, -2.0, 1.0])))
    else:
        nephi.export_transform(pair.transform, pair.fixed.grid, source, "itk")
    run("export", "-t", source, "-r", reference, "--format", format, "-o", out)
    points = nephi.Points(pair.fixed.grid.voxel_centres().double()[3:-3, 3:-3, 3:-3].reshape(-1, 3)[::7])
    nephi.write_points(tmp_path / "in.csv", points)
    named = ("--transform-format", convention) if convention else ()
    run("points", "-t", out, *named, "-i", tmp_path / "in.csv", "-o", tmp_path / "moved.csv")
    moved, expected = nephi.read_points(tmp_path / "moved.csv"), points.mapped(nephi.read_transform(source))
    torch.testing.assert_close(moved.coordinates, expected.coordinates, rtol=0, atol=1e-3)
    assert (moved.coordinates - points.coordinates).norm(dim=-1).max() > 1


def test_the_table_lists_the_written_formats() -> None:
    table = rows()
    for name, (read, written, _) in table.items():
        claims = [claim for claim in WRITTEN if name.startswith(claim[0])]
        if not claims:
            assert (bool(read), written) == (True, ""), name
            continue
        named = set(re.findall(r"--transform-format (\w+)", read))
        assert {claim[3] for claim in claims} - {""} == named, name
        assert {f"`{claim[1]}`" for claim in claims} == set(re.findall(r"`\w+`", written)), name
        suffixes = {s for s in re.findall(r"`(\.[\w.]+)`", name)} or {".nii.gz"}
        assert {claim[2] for claim in claims} == suffixes, name
        assert read, name
    assert all(any(name.startswith(claim[0]) for name in table) for claim in WRITTEN)
    assert set(nephi.io.FORMATS) == {claim[1] for claim in WRITTEN}


def claims(cell: str) -> list[str]:
    """Split a cell at commas and semicolons outside of parentheses."""
    return re.split(r"[,;] (?![^()]*\))", cell)


@pytest.mark.parametrize("row", EVIDENCE)
def test_claims_have_tests(row: str) -> None:
    (texts,) = [cells for name, cells in rows().items() if name.startswith((f"{row} ", f"{row}:", f"{row},"))]
    read, tested = EVIDENCE[row]
    assert (claims(texts[0]), claims(texts[2])) == (list(read), list(tested))
    for test in [test for tests in (*read.values(), *tested.values()) for test in tests]:
        file, _, function = test.partition("::")
        module = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert function in [node.name for node in module.body if isinstance(node, ast.FunctionDef)], test


def test_every_row_has_evidence() -> None:
    assert len(EVIDENCE) == len(rows())
