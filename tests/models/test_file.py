"""Model files: round trips, equal bytes of equal models, one line for each kind of damage, files of version 1."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from nephi.errors import DataError
from nephi.fields import FieldSettings, TensorFile
from nephi.models import (
    AutoDecoderSettings,
    DisplacementUNetSettings,
    EncoderSettings,
    InputSettings,
    ModelSettings,
    NephiSettings,
    StoredModel,
    build_model,
    input_grid,
    model_bytes,
    model_tensors,
    read_model,
    write_model,
)
from nephi.settings import TrainingObjectiveSettings

FIELD = FieldSettings(spacings=(12.0, 6.0), channels=2, hidden=8, global_codes=3, local_codes=2, code_spacing=9.0)
ENCODER = EncoderSettings(filters=(4, 8), pooled=2, features=8)
ARCHITECTURES: dict[str, ModelSettings] = {
    "nephi": NephiSettings((2, 1), FIELD, ENCODER),
    "forces": NephiSettings((2, 1), FIELD, replace(ENCODER, forces=True)),
    "fourier": NephiSettings(field=replace(FIELD, encoding="fourier", frequencies=4), encoder=ENCODER),
    "auto-decoder": AutoDecoderSettings(pairs=5, field=FIELD),
    "unet": DisplacementUNetSettings((4, 4)),
}
INPUTS = {2: InputSettings((20, 14), (2.0, 3.0)), 3: InputSettings((12, 14, 10), (2.0, 3.0, 4.0))}


def stored(name: str, dimension: int) -> StoredModel:
    settings = INPUTS[dimension]
    model = build_model(ARCHITECTURES[name], input_grid(settings), torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01  # away from the identity
    return StoredModel(model, settings, TrainingObjectiveSettings(gradicon=1.25), {"seed": 4})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_is_read_as_it_was_written(name: str, dimension: int, tmp_path: Path) -> None:
    model = stored(name, dimension)
    write_model(model, tmp_path / "m.safetensors")
    read = read_model(tmp_path / "m.safetensors")
    assert (read.settings, read.input, read.objective) == (model.settings, model.input, model.objective)
    assert read.about == {"seed": 4} and not read.model.training
    images = [torch.rand(2, 1, *model.input.shape) for _ in range(2)]
    points = 10 * torch.rand(2, 5, dimension)
    assert torch.equal(read.model(*images).forward(points), model.model(*images).forward(points))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equal_models_have_equal_bytes(name: str) -> None:
    assert model_bytes(stored(name, 2)) == model_bytes(stored(name, 2))


def test_predicted_values_are_not_stored() -> None:
    names = model_tensors(stored("nephi", 2).model)
    assert [n for n in names if "table" in n or "codes" in n] == []
    assert [n for n in names if "decoder" in n] and [n for n in names if "encoder" in n]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_model(stored("nephi", 2), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def change(path: Path, **entries: object) -> None:
    """Replace entries in the header of the file."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as handle:
        header = json.loads(handle.metadata()["nephi"])
        del header["checksum"]  # as in older files
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    path.write_bytes(save(tensors, metadata={"nephi": json.dumps({**header, **entries})}))


def test_a_missing_file_and_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors: no such file; expected a model, as nephi train"):
        read_model(tmp_path / "none.safetensors")
    with pytest.raises(
        DataError, match=": a folder; expected a model, a file that nephi train or nephi import-model wr"
    ):
        read_model(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(
        DataError, match=r"text: not a model, or cut short \(.*\); expected one that .* import-model wrote"
    ):
        read_model(tmp_path / "text")
    (tmp_path / "other").write_bytes(save({"a": torch.zeros(3)}))
    with pytest.raises(DataError, match="other: a safetensors file, but not a model"):
        read_model(tmp_path / "other")


def test_a_truncated_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match="not a model, or cut short"):
        read_model(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"version": 3}, "model of version 3, this nephi reads 1 and 2; update nephi"),
        ({"model": {"kind": "other"}}, "damaged model: model.kind: expected one of nephi, auto-decoder"),
        ({"model": {"kind": ["nephi"]}}, "damaged model: model.kind: expected one of nephi, auto-decoder"),
        ({"model": None}, "damaged model: model: expected a table"),
        ({"model": {"depth": 3}}, "damaged model: model.depth: unknown setting"),
        ({"model": {}}, "damaged model: its tensors"),
        ({"model": {"encoder": {"filters": [10**6, 10**6]}}}, "smaller than its settings require"),
        ({"input": {"shape": [20, 14, 3], "spacing": [1.0, 1.0]}}, "damaged model: input.spacing: expected"),
        ({"input": None}, "damaged model: input: expected a table"),
        ({"about": 3}, "damaged model: TypeError"),
    ],
)
def test_a_header_with_errors(path: Path, entries: dict[str, object], message: str) -> None:
    change(path, **entries)
    with pytest.raises(DataError, match=message) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    model = stored("unet", 2)
    with torch.no_grad():
        next(model.model.parameters()).fill_(torch.nan)
    write_model(model, tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="holds NaN or infinite values"):
        read_model(tmp_path / "m.safetensors")


def version_1(model: StoredModel) -> bytes:
    """Return the file that the previous version wrote for a model: settings of all kinds, other names."""
    kind = model.settings.kind
    own = asdict(model.settings)
    defaults = {"field": asdict(FieldSettings()), "encoder": asdict(EncoderSettings()), "pairs": 0}
    table = {**defaults, **own, "system": kind, "thinning": own.get("downsampling", (1,))}
    table["unet"] = {"filters": own.get("filters", (16, 32))}
    for name in ("downsampling", "filters"):
        table.pop(name, None)
    objective = asdict(ObjectiveSettingsOfVersion1())
    header = {"model": table, "frame": asdict(model.input), "objective": objective, "about": model.about}
    tensors = {
        n.replace(".global_code.", ".everywhere.").replace(".encoder.global_codes", ".encoder.everywhere"): t
        for n, t in model_tensors(model.model).items()
    }
    return TensorFile("nephi-model", (1,), "model", "nephi train").to_bytes(header, tensors)


@dataclass(frozen=True)
class ObjectiveSettingsOfVersion1:
    similarity: str = "ncc"
    contrast: float = 0.2
    points: int = 2000
    radius: int = 0
    spacing: float = 4.0
    regular_points: int = 64
    gradicon: float = 0.3
    codes: float = 0.01
    landmarks: float = 0.0
    landmark_points: int = 200
    diffusion: float = 0.1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_files_of_version_1_are_read(name: str, tmp_path: Path) -> None:
    """Weights that its objective ignored become 0; the rest has the same values under other names."""
    model = stored(name, 2)
    (tmp_path / "m.safetensors").write_bytes(version_1(model))
    read = read_model(tmp_path / "m.safetensors")
    assert (read.settings, read.input, read.about) == (model.settings, model.input, model.about)
    assert (read.objective.variance_floor, read.objective.background_points) == (0.2, 64)
    ignored = ("gradicon", "codes") if name == "unet" else ("diffusion",)
    weights = {each: getattr(read.objective, each) for each in ("gradicon", "codes", "diffusion")}
    assert weights == {"gradicon": 0.3, "codes": 0.01, "diffusion": 0.1, **dict.fromkeys(ignored, 0.0)}
    images = [torch.rand(2, 1, *model.input.shape) for _ in range(2)]
    points = 10 * torch.rand(2, 5, 2)
    assert torch.equal(read.model(*images).forward(points), model.model(*images).forward(points))


@pytest.mark.parametrize("prefix", ["", "network."])
def test_displacement_unets_of_earlier_files_are_read(prefix: str, tmp_path: Path) -> None:
    """Their tensors had other names, their vectors were in voxels, and the first settings no `finest`."""
    model = stored("unet", 2)
    tensors = {n.replace("network.unet.", prefix): t for n, t in model_tensors(model.model).items()}
    tenths = (torch.tensor(model.input.shape) - 1) / 10
    for name in (f"{prefix}last.weight", f"{prefix}last.bias"):
        tensors[name] = tensors[name] * tenths.reshape(-1, *[1] * (tensors[name].ndim - 1))
    header = {
        "model": {"kind": "unet", "filters": list(model.settings.filters)},
        "input": asdict(model.input),
        "objective": asdict(model.objective),
        "about": model.about,
    }
    path = tmp_path / "m.safetensors"
    path.write_bytes(TensorFile("nephi-model", (2,), "model", "nephi train").to_bytes(header, tensors))
    read = read_model(path)
    assert read.settings == model.settings
    for name, tensor in model_tensors(model.model).items():
        torch.testing.assert_close(model_tensors(read.model)[name], tensor, rtol=1e-6, atol=0)
