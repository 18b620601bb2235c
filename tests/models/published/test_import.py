"""Weights by their published names become the published maps; anything else is refused in one line.

`gradicon-2d.safetensors` and `gradicon-3d.safetensors` hold random weights of small networks, two images, and the maps
that icon-registration 1.1.9 computed with them (`tests/interop/published_icon.py small`).
"""

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import nephi
from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.inference import Refinement
from nephi.models import ImportOptions, TallUNetSettings, import_published, model_bytes, read_model, write_model
from nephi.models.input_settings import input_grid

GOLDEN = Path(__file__).parent
PREFIX = "weights."


def golden(dimension: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return images and maps of the published program, and the weights by their published names."""
    tensors = load_file(GOLDEN / f"gradicon-{dimension}d.safetensors")
    weights = {name.removeprefix(PREFIX): t for name, t in tensors.items() if name.startswith(PREFIX)}
    return tensors, weights


def options(dimension: int, **given: object) -> ImportOptions:
    shape = tuple(golden(dimension)[0]["fixed"].shape[2:])
    return ImportOptions(**{"shape": shape, "window": (0.0, 1.0), **given})  # type: ignore[arg-type]


def saved(weights: object, folder: Path) -> Path:
    torch.save(weights, folder / "weights.trch")
    return folder / "weights.trch"


def array_image(array: Tensor, grid: Grid) -> Image:
    """Return an array of ITK's order (z, y, x; of LPS axes) as an image of world axes."""
    return Image(array.permute(*reversed(range(array.ndim))).flip(0, 1).contiguous(), grid)


@pytest.mark.parametrize("source", ["gradicon", "unigradicon"])
def test_predictions_are_those_of_the_published_program(dimension: int, source: str, tmp_path: Path) -> None:
    expected, weights = golden(dimension)
    stored = import_published(source, saved(weights, tmp_path), options(dimension))
    assert stored.settings == TallUNetSettings((1, 0, 0), (4, 8), (3, 4))
    grid = Grid.from_spacing(stored.input.shape, (1.5, 2.0, 0.7)[:dimension], (30.0, -20.0, 5.0)[:dimension])
    fixed, moving = (array_image(expected[name][0, 0], grid) for name in ("fixed", "moving"))
    result = nephi.predict(fixed, moving, model=stored)
    phi = expected["phi"][0]  # (D, z, y, x), components z, y, x from 0 to 1, towards superior, posterior, left
    voxels = torch.stack([phi[-1 - axis] * (grid.shape[axis] - 1) for axis in range(dimension)], dim=-1)
    voxels = voxels.permute(*reversed(range(dimension)), dimension).flip(0, 1)
    last = torch.tensor(grid.shape) - 1
    voxels = torch.cat([last[:2] - voxels[..., :2], voxels[..., 2:]], dim=-1)
    mapped = grid.world_to_voxel_points(result.transform(grid.voxel_centres().double()))
    assert float((mapped - voxels).abs().max()) < 1e-4
    identity = grid.world_to_voxel_points(grid.voxel_centres())
    assert 0.1 < float((mapped - identity).abs().max()) < 20


def test_images_of_any_orientation_are_registered_alike(tmp_path: Path) -> None:
    """The same voxels in another order of storage have the same transform."""
    expected, weights = golden(3)
    stored = import_published("gradicon", saved(weights, tmp_path), options(3))
    grid = Grid.from_spacing((13, 10, 12), (1.0, 2.0, 1.5))
    generator = torch.Generator().manual_seed(0)
    images = [Image(torch.rand(grid.shape, generator=generator), grid) for _ in range(2)]
    affine = grid.affine.clone()[:, [2, 0, 1, 3]]
    affine[:, -1] += 11 * affine[:, 0]
    affine[:, 0] *= -1
    turned = [Image(image.data.permute(2, 0, 1).flip(0).contiguous(), Grid((12, 13, 10), affine)) for image in images]
    points = grid.voxel_centres()
    values = [nephi.predict(*pair, model=stored).transform(points) for pair in (images, turned)]
    torch.testing.assert_close(*values, rtol=0, atol=1e-4)


def test_an_imported_model_is_like_any_other(tmp_path: Path) -> None:
    expected, weights = golden(2)
    stored = import_published("multigradicon", saved(weights, tmp_path), options(2, window=(), modality="mri"))
    write_model(stored, tmp_path / "model.safetensors")
    read = read_model(tmp_path / "model.safetensors")
    assert model_bytes(read) == model_bytes(stored)
    assert read.about["imported_from"] == "multigradicon" and read.about["weights"] == "weights.trch"
    grid = Grid.from_spacing((20, 26), (1.5, 2.0))
    fixed, moving = (Image(torch.rand(grid.shape, generator=torch.Generator().manual_seed(k)), grid) for k in (0, 1))
    objective = read.objective  # that of the published instance optimisation
    assert (objective.similarity, objective.window, objective.gradicon) == ("lncc2", 10.0, 0.375)  # 1.5 / (2 D)
    tuned = nephi.predict(fixed, moving, model=read, refinement=Refinement(1, "network"))
    assert list(tuned.history[0]) == ["level", "loss", "similarity", "gradicon"]
    result = nephi.predict(fixed, moving, model=read, refinement=Refinement(2))
    points = grid.voxel_centres()[5:-5, 5:-5]
    there_and_back = result.inverse(result.transform(points))
    assert float((there_and_back - points).norm(dim=-1).mean()) < 2.0


def test_modalities_set_the_windows_of_the_published_program(tmp_path: Path) -> None:
    path = saved(golden(3)[1], tmp_path)
    ct, mri = (import_published("unigradicon", path, options(3, window=(), modality=m)).input for m in ("ct", "mri"))
    assert (ct.window, ct.extent, ct.smoothing) == ((-1000.0, 1000.0), "image", "none")
    assert (mri.window, mri.percentiles, mri.percentiles_of) == ((), (0.0, 99.0), "image")
    assert import_published("unigradicon", path, options(3, window=(), modality="ct")).objective.gradicon == 0.25
    lung = import_published("gradicon", path, options(3, window=(), anatomy="lung")).input
    assert (lung.window, lung.mask, lung.outside_mask) == ((-1000.0, 0.0), "lungs", "dark")
    masked = import_published("unigradicon", path, options(3, percentiles=(1.0, 98.0), window=(), mask="given")).input
    assert (masked.percentiles, masked.mask, masked.outside_mask) == ((1.0, 98.0), "given", "dark")
    knee = import_published("gradicon", path, options(3, window=(), anatomy="knee", shape=(12, 16, 20))).input
    assert knee.shape == (20, 16, 12) and input_grid(knee).shape == knee.shape


def test_wrappers_and_checkpoints_are_read(tmp_path: Path) -> None:
    weights = golden(2)[1]
    plain = model_bytes(import_published("gradicon", saved(weights, tmp_path), options(2)))
    assert any(name.endswith("num_batches_tracked") for name in weights)
    wrapped = {f"module.regis_net.{name}": tensor for name, tensor in weights.items()}
    wrapped["module.regis_net.netPhi.identity_map"] = torch.zeros(1, 2, 3, 3)
    arguments = argparse.Namespace(batch=4, folder=Path("runs"), device=torch.device("cpu"))
    path = saved({"epoch": 3, "args": arguments, "state_dict": wrapped, "optimizer": {"state": {}}}, tmp_path)
    stored = import_published("gradicon", path, options(2))
    digest = {"weights_sha256": stored.about["weights_sha256"]}
    assert model_bytes(stored) != plain
    again = import_published("gradicon", saved(weights, tmp_path), options(2))
    again.about.update(digest)
    assert model_bytes(again) == model_bytes(stored)


def test_every_tensor_is_needed_and_used(tmp_path: Path) -> None:
    weights = golden(2)[1]
    missing = "netPsi.net.batchNorms.1.running_var"
    for name, change in (
        (missing, {name: t for name, t in weights.items() if name != missing}),
        ("netPsi.net.downConvs.2.bias", {**weights, "netPsi.net.downConvs.2.bias": torch.zeros(3)}),
        ("netPsi.net.lastConv.bias", {**weights, "netPsi.net.lastConv.bias": torch.zeros(3)}),
        ("netPsi.net.residues.0.weight", {**weights, "netPsi.net.residues.0.weight": torch.zeros(3)}),
        ("netPsi.net.lastConv.bias", {**weights, "netPsi.net.lastConv.bias": torch.tensor([0.0, torch.nan])}),
        ("netPsi.net.lastConv.bias", {**weights, "netPsi.net.lastConv.bias": "none"}),
    ):
        with pytest.raises(DataError, match=f"weights.trch: .*{name}"):
            import_published("gradicon", saved(change, tmp_path), options(2))


@pytest.mark.parametrize("arguments", [[1, 2], "text", 5, None, {1: 2}, argparse.Namespace()])
def test_arguments_of_any_kind_do_no_harm(arguments: object, tmp_path: Path) -> None:
    path = saved({"state_dict": golden(2)[1], "args": arguments}, tmp_path)
    assert import_published("gradicon", path, options(2)).settings == TallUNetSettings((1, 0, 0), (4, 8), (3, 4))


@pytest.mark.parametrize("bias", [torch.zeros(1).expand(10**12), torch.zeros(10**12, device="meta")])
def test_values_that_are_not_in_the_file_are_refused(bias: Tensor, tmp_path: Path) -> None:
    """A file of a few kilobytes would take terabytes of memory."""
    path = saved({**golden(2)[1], "netPsi.net.lastConv.bias": bias}, tmp_path)
    with pytest.raises(DataError, match=r"lastConv.bias: expected 10{12} stored values, found [01]"):
        import_published("gradicon", path, options(2))


def test_numbers_beyond_single_precision_are_refused(tmp_path: Path) -> None:
    """They would become infinite, and the model that was written could not be read."""
    large = torch.tensor([0.0, 1e300], dtype=torch.float64)
    path = saved({**golden(2)[1], "netPsi.net.lastConv.bias": large}, tmp_path)
    with pytest.raises(DataError, match=r"lastConv.bias holds NaN .* beyond those of float32"):
        import_published("gradicon", path, options(2))


def test_steps_are_told_from_their_names(tmp_path: Path) -> None:
    """A file of the first stage has no last step; single networks and lower resolutions work, others are refused."""
    weights = golden(2)[1]

    def kept(prefix: str, put: str = "") -> Path:
        part = {put + name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
        return saved(part, tmp_path)

    for prefix, put, steps in (
        ("netPhi.", "", (1, 0)),
        ("netPsi.", "", (0,)),
        ("netPsi.net.", "", (0,)),
        ("netPhi.", "net.", (2, 1)),
    ):
        stored = import_published("gradicon", kept(prefix, put), options(2, shape=(24, 24)))
        assert stored.settings == TallUNetSettings(steps, (4, 8), (3, 4))
    for prefix, put in (("netPsi.", "netPsi."), ("", "netnet."), ("netPsi.", "net." * 99)):
        with pytest.raises(DataError, match=r"weights.trch: expected .* another network"):
            import_published("gradicon", kept(prefix, put), options(2))


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    weights = golden(2)[1]
    for content in ({**weights, "netPhi": Code()}, {"state_dict": weights, "args": Code()}, torch.nn.Linear(2, 2)):
        with pytest.raises(DataError, match=r"weights.trch: expected weights only, found [\w.]+, which would run code"):
            import_published("gradicon", saved(content, tmp_path), options(2))
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(Code()))
    with pytest.raises(DataError, match=r"old.pkl: "):
        import_published("gradicon", tmp_path / "old.pkl", options(2))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = saved(golden(2)[1], tmp_path)
    (tmp_path / "cut.trch").write_bytes(path.read_bytes()[:5000])
    (tmp_path / "empty.trch").write_bytes(b"")
    (tmp_path / "text.trch").write_text("no weights")
    for name in ("cut.trch", "empty.trch", "text.trch"):
        with pytest.raises(DataError, match=f"{name}: not a weight file of torch.save, or cut short"):
            import_published("gradicon", tmp_path / name, options(2))
    with pytest.raises(DataError, match=": a folder; expected a file of published weights"):
        import_published("unigradicon", tmp_path, ImportOptions(modality="ct"))
    with pytest.raises(DataError, match=r"absent.trch: no such file; expected published weights"):
        import_published("gradicon", tmp_path / "absent.trch", options(2))
    for content, found in (({}, "an empty one"), ([torch.zeros(2)], "list"), ({"state_dict": 3}, "int")):
        with pytest.raises(DataError, match=f"weights.trch: expected a state dict of named tensors, found {found}"):
            import_published("gradicon", saved(content, tmp_path), options(2))


@pytest.mark.parametrize(
    ("source", "given", "error", "message"),
    [
        (
            "voxelmorph",
            {},
            UsageError,
            "source: expected one of unigradicon, multigradicon, gradicon.*, got 'voxelmorph'",
        ),
        ("unigradicon", {"window": ()}, UsageError, "modality: expected one of ct, mri, got none"),
        ("unigradicon", {"modality": "us"}, UsageError, "modality: expected one of ct, mri, got 'us'"),
        ("unigradicon", {"anatomy": "lung"}, UsageError, "anatomy: expected none for this source, got 'lung'"),
        ("gradicon", {"modality": "ct"}, UsageError, "modality: expected none for this source, got 'ct'"),
        ("gradicon", {"anatomy": "head"}, UsageError, "anatomy: expected one of lung, knee, brain, got 'head'"),
        ("gradicon", {"shape": (20,)}, UsageError, r"shape: expected 2 or 3 numbers of voxels \(z, y, x\), got"),
        ("gradicon", {"shape": (4, 4)}, UsageError, "input.shape: expected at least 5 voxels along each axis"),
        ("gradicon", {"shape": (20, 20, 20)}, DataError, "expected weights of a 3-D network .*, found 2-D"),
        ("gradicon", {"percentiles": (0.0, 99.0)}, UsageError, "percentiles: expected none with a window"),
        ("gradicon", {"percentiles": (0.0,), "window": ()}, UsageError, "percentiles: expected two numbers"),
        ("gradicon", {"mask": "brain"}, UsageError, "input.mask: expected one of"),
    ],
)
def test_unsuitable_options_are_refused(
    source: str, given: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        import_published(source, saved(golden(2)[1], tmp_path), options(2, **given))
