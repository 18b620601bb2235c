"""`nephi import-model`: published weights become a model that registers, and is described."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import nephi
from nephi.cli import import_model
from nephi.models import SOURCES
from nephi.models.alignments import WEIGHTINGS
from nephi.models.input_settings import MASKS
from nephi.models.published.icon_weights import ANATOMIES, MODALITIES

from .conftest import Call

GOLDEN = Path(__file__).parents[1] / "models" / "published" / "gradicon-2d.safetensors"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tensors = load_file(GOLDEN)
    state = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    torch.save(state, tmp_path / "Step_2_final.trch")
    return tmp_path / "Step_2_final.trch"


def test_choices_are_those_of_the_library() -> None:
    assert tuple(SOURCES) == import_model.SOURCES
    assert tuple(MODALITIES) == import_model.MODALITIES
    assert tuple(ANATOMIES) == import_model.ANATOMIES
    assert import_model.MASKS == MASKS
    assert import_model.WEIGHTINGS == WEIGHTINGS


def test_published_weights_register_a_pair(weights: Path, tmp_path: Path, succeed: Call) -> None:
    model = tmp_path / "model.safetensors"
    arguments = ("import-model", "unigradicon", weights, "-o", model, "--modality", "ct", "--shape", "21x16")
    printed = succeed(*arguments).out
    assert printed == f"{model}: unigradicon, 4143 parameters, input of 16 x 21 voxels\n"
    assert succeed(*arguments, "--quiet").out == ""
    printed = succeed("info", model).out
    assert "tall-unet" in printed and "imported from" in printed and "Step_2_final.trch" in printed
    assert "-1000 to 1000" in printed and "of the image, scaled to the input" in printed
    generator = torch.Generator().manual_seed(0)
    for name in ("fixed", "moving"):
        grid = nephi.Grid.from_spacing((30, 24), (1.5, 2.0))
        nephi.write_image(
            nephi.Image(400 * torch.randn(grid.shape, generator=generator), grid), tmp_path / f"{name}.nii"
        )
    images = ("-f", tmp_path / "fixed.nii", "-m", tmp_path / "moving.nii")
    succeed("register", *images, "--model", model, "-o", tmp_path / "result", "--quiet")
    assert "displacement" in succeed("info", tmp_path / "result" / "transform.nephi").out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--modality", "ct"), 2, "input.shape: expected at least 5 voxels"),
        (("--shape", "20"), 2, "expected numbers of voxels such as 80x192x192, got '20'"),
        (("--shape", "20x-3"), 2, "expected numbers of voxels such as 80x192x192, got '20x-3'"),
        (("--modality", "ct", "--align", "rigid"), 2, "align: expected none for this source, got 'rigid'"),
        ((), 2, "modality: expected one of ct, mri, got none"),
        (("--modality", "ct", "--shape", "20x20x20"), 3, "expected weights of a 3-D network for shape (20, 20, 20)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    options: tuple[str, ...], code: int, message: str, weights: Path, tmp_path: Path, call: Call
) -> None:
    shape = () if "--shape" in options else ("--shape", "4x4")
    outcome = call("import-model", "unigradicon", weights, "-o", tmp_path / "m.safetensors", *shape, *options)
    assert outcome.code == code and message in outcome.err
    assert not (tmp_path / "m.safetensors").exists()


def test_outputs_are_model_files(weights: Path, tmp_path: Path, call: Call) -> None:
    outcome = call("import-model", "gradicon", weights, "-o", tmp_path / "model.pt")
    assert outcome.code == 2 and "expected a file name that ends with .safetensors, got" in outcome.err
    outcome = call("import-model", "gradicon", tmp_path, "-o", tmp_path / "model.safetensors", "--shape", "20x20")
    assert outcome.code == 3 and "a folder; expected a file of published weights" in outcome.err
