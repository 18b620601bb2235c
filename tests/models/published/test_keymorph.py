"""KeyMorph's published networks, and the maps from their keypoints.

`keymorph.safetensors` holds random weights of small networks, two images of low resolution, and the keypoints and maps
that keymorph 2.0.1 computed for them (`tests/interop/published_keymorph.py small`).
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import nephi
from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.models import ImportOptions, build_model, import_published, read_model, write_model
from nephi.models.published.keypoint_backbones import ConvBackbone, UNetBackbone, conv_parameters, unet_parameters
from nephi.models.published.published_keymorph import PublishedKeyMorphSettings, centres_of_mass

GOLDEN = load_file(Path(__file__).parent / "keymorph.safetensors")
SHAPE = (32, 36, 40)
OPTIONS = ImportOptions(shape=SHAPE)
FILTERS = PublishedKeyMorphSettings().filters
BACKBONES = {"conv": ("conv", (8,) * 8, 0), "truncatedunet": ("unet", (8, 16, 16), 1)}


def weights_of(name: str) -> dict[str, Tensor]:
    prefix = f"{name}.weights."
    return {key.removeprefix(prefix): tensor for key, tensor in GOLDEN.items() if key.startswith(prefix)}


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "epoch1_trained_model.pth.tar")
    return folder / "epoch1_trained_model.pth.tar"


def voxels_of(normalized: Tensor) -> Tensor:
    """Return positions from -1 (first voxel centre) to 1 (last) in voxels."""
    return (normalized.double() + 1) / 2 * (torch.tensor(SHAPE) - 1)


@pytest.mark.parametrize(("dimension", "keypoints", "count"), [(2, 64, 2_637_568), (3, 128, 8_794_496)])
def test_the_number_of_parameters_of_conv_is_the_published_one(dimension: int, keypoints: int, count: int) -> None:
    assert conv_parameters(dimension, (*FILTERS, keypoints), "instance") == count
    with torch.device("meta"):
        network = ConvBackbone(dimension, (*FILTERS, keypoints), "instance")
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(("levels", "millions"), [(4, 4.0), (5, 16.4), (6, 65.9)])
def test_the_number_of_parameters_of_brainmorph(levels: int, millions: float) -> None:
    """Variants S, M and L."""
    filters = [32 * 2**level for level in range(levels)]
    count = unet_parameters(3, filters, 1, 128 * 2 ** (levels - 4))
    assert count / 1e6 == pytest.approx(millions, abs=0.06)
    with torch.device("meta"):
        network = UNetBackbone(3, filters, 1, 128 * 2 ** (levels - 4))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", BACKBONES)
def test_keypoints_and_maps_are_those_of_the_published_program(name: str, tmp_path: Path) -> None:
    stored = import_published("keymorph", saved(weights_of(name), tmp_path), OPTIONS)
    backbone, filters, left_out = BACKBONES[name]
    assert stored.settings == PublishedKeyMorphSettings(
        8, filters, weighting="equal", backbone=backbone, normalization="group", left_out=left_out
    )
    images = nn.functional.interpolate(GOLDEN["images"], size=SHAPE, mode="trilinear").split(1)
    grid = stored.model.grid
    with torch.no_grad():
        points = [grid.world_to_voxel_points(stored.model.keypoints(image).points) for image in images]
        maps = stored.model.alignments(*images, ["affine", "tps:0.1"])
    torch.testing.assert_close(torch.cat(points).double(), voxels_of(GOLDEN[f"{name}.points"]), rtol=0, atol=1e-4)
    nodes = grid.voxel_centres().double()[::8, ::8, ::8].reshape(1, -1, 3)
    for ours, theirs in (("affine", "affine"), ("tps:0.1", "tps_0.1")):
        expected = voxels_of(GOLDEN[f"{name}.{theirs}"].flip(-1).reshape(1, -1, 3))
        mapped = grid.world_to_voxel_points(maps[ours].forward(nodes))
        torch.testing.assert_close(mapped, expected, rtol=0, atol=2e-4)
        assert float((expected - grid.world_to_voxel_points(nodes)).abs().max()) > 0.5


@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 5)])
def test_centres_of_mass_are_0_and_1_at_the_outermost_cells(shape: tuple[int, ...]) -> None:
    heat = torch.zeros(1, 4, *shape)
    heat[(0, 0, *(0 for _ in shape))] = 3.0
    heat[(0, 1, *(n - 1 for n in shape))] = 0.5
    heat[(0, 2, *(0 for _ in shape))] = heat[(0, 2, *(n - 1 for n in shape))] = 1.0
    centres, sums = centres_of_mass(heat)
    expected = torch.tensor([0.0, 1.0, 0.5, 0.0]).double()[:, None].expand(-1, len(shape))
    torch.testing.assert_close(centres[0], expected, rtol=0, atol=1e-7)
    assert sums.tolist() == [[3.0, 0.5, 2.0, 0.0]]


def test_an_imported_model_registers_and_is_stored(tmp_path: Path) -> None:
    checkpoint = {"epoch": 1, "state_dict": {f"module.{k}": t for k, t in weights_of("conv").items()}, "optimizer": {}}
    options = ImportOptions(shape=SHAPE, align="rigid", weighting="power")
    stored = import_published("keymorph", saved(checkpoint, tmp_path), options)
    write_model(stored, tmp_path / "model.safetensors")
    read = read_model(tmp_path / "model.safetensors")
    assert (read.settings.align, read.settings.weighting) == ("rigid", "power")
    assert (read.input.extent, read.input.smoothing, read.input.percentiles) == ("image", "none", (0.0, 100.0))
    edges = {(n - 1) * s for n, s in zip(read.input.shape, read.input.spacing, strict=True)}
    assert max(edges) - min(edges) < 1e-9  # a cube, the coordinates of the network
    grid = Grid.from_spacing((40, 30, 44), (1.5, 2.0, 1.2))
    voxels = nn.functional.interpolate(GOLDEN["images"], size=grid.shape, mode="trilinear")
    fixed, moving = (Image(image[0], grid) for image in voxels)
    result = nephi.predict(fixed, moving, model=read)
    points = grid.voxel_centres().double()[::7, ::7, ::7]
    torch.testing.assert_close(result.inverse(result.transform(points)), points, rtol=0, atol=1e-3)


def test_brainmorph_sees_cubes_of_256_mm_and_weights_keypoints(tmp_path: Path) -> None:
    stored = import_published("brainmorph", saved(weights_of("truncatedunet"), tmp_path))
    assert (stored.input.shape, stored.input.spacing, stored.input.extent) == ((256,) * 3, (1.0,) * 3, "fixed")
    assert (stored.settings.weighting, stored.settings.align) == ("power", "affine")


def test_what_the_file_does_not_say_is_read_from_its_arguments(tmp_path: Path) -> None:
    plain = {name: t for name, t in weights_of("conv").items() if ".norm." not in name}
    for arguments, expected in (
        ({}, "instance"),
        ({"norm_type": "none"}, "none"),
        ({"norm_type": "instance"}, "instance"),
    ):
        stored = import_published("keymorph", saved({"args": arguments, "state_dict": plain}, tmp_path), OPTIONS)
        assert stored.settings.normalization == expected
    with pytest.raises(DataError, match="norm_type: expected one of instance, none, group, batch, got 'layer'"):
        import_published("keymorph", saved({"args": {"norm_type": "layer"}, "state_dict": plain}, tmp_path), OPTIONS)


def test_every_tensor_is_needed_and_used(tmp_path: Path) -> None:
    for name, missing, superfluous in (
        ("conv", "block4.conv.bias", "block10.conv.bias"),
        ("truncatedunet", "decoders.0.basic_module.SingleConv1.conv.weight", "encoders.3.basic_module.SingleConv1.x"),
    ):
        weights = weights_of(name)
        for key, change in (
            (missing, {k: t for k, t in weights.items() if k != missing}),
            (superfluous, {**weights, superfluous: torch.zeros(2)}),
            (missing, {**weights, missing: torch.zeros(5)}),
        ):
            with pytest.raises(DataError, match=f"epoch1_trained_model.pth.tar: .*{key}"):
                import_published("keymorph", saved(change, tmp_path), OPTIONS)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("keymorph", {"modality": "ct"}, "modality: expected none for this source, got 'ct'"),
        ("brainmorph", {"shape": (64, 64, 64)}, r"shape: expected none for this source, got \(64, 64, 64\)"),
        ("keymorph", {"shape": (64,)}, "shape: expected 2 or 3 numbers of voxels of at least 2"),
        ("keymorph", {"shape": (16, 36, 40)}, "input.shape: expected at least 32 voxels along each axis"),
        ("keymorph", {"align": "elastic"}, "model.align: expected rigid, similarity, affine"),
        ("keymorph", {"weighting": "variance"}, "model.weighting: expected"),
        ("gradicon", {"align": "affine"}, "align: expected none for this source, got 'affine'"),
    ],
)
def test_unsuitable_options_are_refused(source: str, options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        import_published(source, saved(weights_of("conv"), tmp_path), ImportOptions(**options))  # type: ignore[arg-type]


def test_weights_of_another_project_are_refused(tmp_path: Path) -> None:
    for source, message in (("keymorph", "not a network of KeyMorph"), ("gradicon", "is not a tensor of GradICON's")):
        with pytest.raises(DataError, match=message):
            import_published(source, saved({"unet.weight": torch.zeros(3)}, tmp_path), ImportOptions(shape=SHAPE))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"keypoints": 8, "filters": (8, 16)}, False),
        ({"keypoints": 6, "filters": (8, 16)}, True),
        ({"keypoints": 8, "filters": (4, 8)}, True),
        ({"backbone": "unet", "filters": (8, 16)}, False),
        ({"backbone": "unet", "filters": (4, 4)}, False),  # 4 channels are one group
        ({"backbone": "unet", "filters": (4, 8)}, True),  # 12 channels of the upward path
    ],
)
def test_channels_that_are_no_groups_are_refused(changes: dict[str, Any], refused: bool) -> None:
    grid = Grid.from_spacing((16, 16), (1.0, 1.0))
    values: dict[str, Any] = {"keypoints": 5, "normalization": "group", **changes}
    if refused:
        with pytest.raises(UsageError, match=r"model\.filters, model\.keypoints: expected multiples of 8"):
            PublishedKeyMorphSettings(**values)
    else:
        build_model(PublishedKeyMorphSettings(**values), grid, torch.Generator().manual_seed(0))
