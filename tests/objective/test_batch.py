"""The objective of a training: points, images and landmarks of a batch, and what a few steps achieve."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.models import (
    DisplacementUNetSettings,
    EncoderSettings,
    ModelSettings,
    NephiSettings,
    build_model,
    model_class,
)
from nephi.objective import (
    ComparedImages,
    PairBatch,
    SamplePoints,
    compared_images,
    loss_terms,
    sample_points,
    training_terms,
)
from nephi.sampling import window_offsets
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import AffineMaps, MapPair

FIELD = FieldSettings(
    encoding="coordinates", hidden=8, layers=2, global_codes=3, local_codes=4, amplitude=1.0, amplitude_unit="edge"
)
MODELS = (
    NephiSettings(field=FIELD, encoder=EncoderSettings((4, 8, 8), features=16)),
    DisplacementUNetSettings((4, 8, 8)),
)
SETTINGS = TrainingObjectiveSettings(points=100, background_points=10)


def generators(count: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(count)]


@pytest.fixture(params=[2, 3])
def grid(request: pytest.FixtureRequest) -> Grid:
    """Oblique, with sizes that halve unevenly."""
    d = request.param
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:d, :d]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:d]
    return Grid((19, 14, 11)[:d], affine)


@pytest.fixture
def batch(grid: Grid) -> PairBatch:
    """Three pairs of noise."""
    generator = torch.Generator().manual_seed(1)
    return PairBatch(*(torch.rand(3, 1, *grid.shape, generator=generator) for _ in range(2)))


def translations(grid: Grid, *lengths: float) -> AffineMaps:
    """Translations along the first world axis, mm."""
    d = grid.dimension
    shifts = torch.zeros(len(lengths), d)
    shifts[:, 0] = torch.tensor(lengths)
    return AffineMaps(torch.eye(d).expand(len(lengths), d, d), shifts)


def predicted_terms(
    settings: ModelSettings, grid: Grid, batch: PairBatch, own: list[torch.Generator]
) -> dict[str, Tensor]:
    """The terms of a fresh model with its default weights."""
    model = build_model(settings, grid, torch.Generator().manual_seed(2))
    weights = replace(model_class(settings).default_objective, points=100, background_points=10)
    return training_terms(model(batch.fixed, batch.moving), batch, grid, weights, own)


def test_terms_of_the_identity(grid: Grid, batch: PairBatch) -> None:
    """Equal images that do not move: perfect correlation, perfect consistency."""
    terms = predicted_terms(MODELS[0], grid, PairBatch(batch.fixed, batch.fixed), generators())
    assert terms["similarity"].item() == pytest.approx(0, abs=0.05)
    assert terms["gradicon"].item() == pytest.approx(0, abs=1e-10)
    assert terms["codes"].item() > 0
    other = predicted_terms(MODELS[0], grid, batch, generators())
    assert other["similarity"].item() == pytest.approx(1, abs=0.3)  # noise and noise
    assert set(predicted_terms(MODELS[1], grid, batch, generators())) == {"similarity", "diffusion"}


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings.kind)
def test_terms_are_means_over_the_pairs(settings: ModelSettings, grid: Grid, batch: PairBatch) -> None:
    """The points of a pair do not depend on the batch: its parts on two machines add up to the whole."""
    whole = predicted_terms(settings, grid, batch, generators())
    parts = [
        predicted_terms(settings, grid, PairBatch(batch.fixed[k : k + 1], batch.moving[k : k + 1]), [generators()[k]])
        for k in range(3)
    ]
    for name, term in whole.items():
        torch.testing.assert_close(term, torch.stack([part[name] for part in parts]).mean())


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings.kind)
def test_training_lowers_the_loss(settings: ModelSettings, grid: Grid) -> None:
    """A pair that differs by a translation: a few steps align it."""
    points = grid.voxel_centres().float()
    middle, size = grid.centre_world().float(), float(grid.spacing.mean() * min(grid.shape))
    fixed, moving = (
        torch.exp(-(((points - middle - shift) / (0.25 * size)) ** 2).sum(dim=-1))[None, None]
        for shift in (0.0, 0.1 * size)
    )
    if isinstance(settings, NephiSettings):
        settings = replace(settings, field=replace(FIELD, amplitude=0.3))
    weights = replace(model_class(settings).default_objective, points=200, background_points=20, codes=0.0)
    weights = replace(weights, diffusion=min(weights.diffusion, 0.01))
    batch, own = PairBatch(fixed, moving), generators(1)
    model = build_model(settings, grid, torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(40):
        terms = training_terms(model(batch.fixed, batch.moving), batch, grid, weights, own)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_points_lie_in_the_masks(grid: Grid, batch: PairBatch) -> None:
    """In the whole grid where augmentation has moved a mask out of it; background points always."""
    masks = torch.zeros(3, 1, *grid.shape)
    masks[0, 0, :4], masks[1, 0, 5:7] = 1, 1
    points = sample_points(replace(batch, fixed_mask=masks), grid, SETTINGS, generators())
    first = grid.world_to_voxel_points(points.fixed.double())[..., 0]
    assert points.fixed.shape == points.moving.shape == (3, 100, grid.dimension)
    assert points.background.shape == (3, 10, grid.dimension)
    assert bool((first[0] <= 3.5).all()) and bool(((first[1] >= 4.5) & (first[1] <= 6.5)).all())
    assert float(first[2].max() - first[2].min()) > 12
    points = sample_points(batch, grid, SETTINGS, generators())
    assert float(grid.world_to_voxel_points(points.moving.double())[0, :, 0].max()) > 12


def test_points_lie_anywhere_or_at_voxel_centres(grid: Grid, batch: PairBatch) -> None:
    """As many draws of the generators are used by both, so that trainings with either see the same pairs."""
    states = []
    for sampling in ("random", "grid"):
        own = generators()
        points = sample_points(batch, grid, replace(SETTINGS, sampling=sampling), own)
        for each in (points.fixed, points.moving, points.background):
            voxels = grid.world_to_voxel_points(each.double())
            distance = (voxels - voxels.round()).abs().amax()
            assert (distance < 1e-3) == (sampling == "grid")
        states.append(torch.stack([generator.get_state() for generator in own]))
    assert torch.equal(*states)
    with pytest.raises(UsageError, match=r"^objective\.sampling: expected one of random, grid, got 'lattice'$"):
        replace(SETTINGS, sampling="lattice")


def test_masks_and_patches_count_in_the_similarity_of_every_model(grid: Grid, batch: PairBatch) -> None:
    """The images agree where the mask is, and nowhere else."""
    half = grid.shape[0] // 2
    moving = batch.moving.clone()
    moving[:, :, :half] = batch.fixed[:, :, :half]
    masks = torch.zeros_like(batch.fixed)
    masks[:, :, 3 : half - 3] = 1
    maps = MapPair(translations(grid, 0.0, 0.0, 0.0))
    settings = replace(SETTINGS, gradicon=0.0, codes=0.0, similarity="pooled", radius=1, spacing=0.5)
    pairs = PairBatch(batch.fixed, moving, masks, masks)
    inside = training_terms(maps, pairs, grid, settings, generators())["similarity"]
    whole = training_terms(maps, replace(pairs, fixed_mask=None), grid, settings, generators())["similarity"]
    assert float(inside) < 0.01 < 0.3 < float(whole)


@pytest.mark.parametrize("name", ["lncc", "lncc2"])
def test_windows_agree_with_a_dense_gaussian_correlation(name: str) -> None:
    """Against sums over all voxels in float64, for a translation by whole voxels; sampling leaves 0.01."""
    box = Grid.from_spacing((40, 33), (1.5, 2.0))
    centres = box.voxel_to_world_points(torch.cartesian_prod(*(torch.arange(12.0, 22.0, 3.0) for _ in range(2))))
    x, y = box.voxel_centres().double().unbind(dim=-1)
    fixed = (0.3 * x).sin() * (0.2 * y).cos() + 0.02 * x
    shifted = fixed + 0.8 * (0.25 * x + 0.15 * y).cos()
    moving = torch.zeros_like(fixed)
    moving[2:] = shifted[:-2]  # phi moves by two voxels, 3 mm
    sigma, epsilon = 5.0, 0.1**4
    expected = []
    for centre in centres.double():
        offset = box.voxel_centres().double() - centre
        weights = torch.exp(-offset.square().sum(dim=-1) / (2 * sigma**2)) * (offset.abs() <= 2 * sigma).all(dim=-1)
        weights /= weights.sum()
        f, m = (image - (weights * image).sum() for image in (fixed, shifted))
        cov, product = (weights * f * m).sum(), (weights * f * f).sum() * (weights * m * m).sum() + epsilon
        expected.append(cov / product.sqrt() if name == "lncc" else cov**2 / product)
    settings = replace(SETTINGS, similarity=name, variance_floor=0.1, window=sigma, window_samples=3000, codes=0.0)
    offsets = window_offsets((1, len(centres), 3000, 2), sigma, generators(1)[0])
    points = SamplePoints(centres[None].float(), centres[None].float(), centres[None, :0].float(), offsets)
    images = compared_images(PairBatch(*(i[None, None].float() for i in (fixed, moving))), box, settings)
    terms = loss_terms(MapPair(translations(box, 3.0)), images, points, replace(settings, gradicon=0.0))
    value = 1 - float(terms["similarity"])
    assert value == pytest.approx(float(torch.stack(expected).mean()), abs=0.01)
    assert 0.3 < value < 0.9


def test_samples_of_windows_outside_are_dark_one_by_one() -> None:
    """As in a moving image with zeros around it, also for windows whose centre is inside."""
    small, large = Grid.from_spacing((20, 20), (1.0, 1.0)), Grid.from_spacing((60, 60), (1.0, 1.0), (-20.0, -20.0))
    picture = 0.5 + 0.4 * (0.6 * small.voxel_centres()).sin().prod(dim=-1)
    padded = torch.zeros(60, 60)
    padded[20:40, 20:40] = picture
    settings = replace(SETTINGS, similarity="lncc", variance_floor=0.1, window=4.0, window_samples=500, outside="dark")
    centres = 20 * torch.rand(1, 60, 2, generator=generators(1)[0])
    offsets = window_offsets((1, 60, 500, 2), 4.0, generators(1)[0])
    points = SamplePoints(centres, centres, centres[:, :0], offsets)
    found = []
    maps = MapPair(translations(small, 8.0))
    for grid, image in ((small, picture), (large, padded)):
        fixed, moving = (ImageSampler(Image(*each)) for each in ((picture, small), (image, grid)))
        images = ComparedImages([fixed], [moving], torch.zeros(1, 2))
        terms = loss_terms(maps, images, points, replace(settings, gradicon=0.0, codes=0.0))
        found.append(float(terms["similarity"]))
    assert found[0] == pytest.approx(found[1], abs=0.02)


@pytest.mark.parametrize("outside", ["ignored", "dark"])
def test_windows_of_equal_images_are_equal_at_their_border(outside: str, grid: Grid) -> None:
    """Samples beyond the border are dark in both images, also where the images are bright there."""
    image = 0.5 + 0.5 * torch.rand(1, 1, *grid.shape, generator=generators(1)[0])
    settings = replace(SETTINGS, similarity="lncc", variance_floor=0.01, window=9.0, outside=outside, codes=0.0)
    maps = MapPair(translations(grid, 0.0), translations(grid, 0.0))
    terms = training_terms(maps, PairBatch(image, image), grid, settings, generators(1))
    assert terms["similarity"].item() == pytest.approx(0, abs=1e-3)


def test_windows_are_drawn_around_every_point(grid: Grid, batch: PairBatch) -> None:
    """New ones for each point and pair; all samples are mapped, so that nothing is linearised."""
    settings = replace(SETTINGS, window=6.0, window_samples=5, similarity="lncc", codes=0.0)
    windows = sample_points(batch, grid, settings, generators()).windows
    assert windows is not None and windows.shape == (3, 100, 5, grid.dimension)
    assert len(windows.reshape(-1, grid.dimension).unique(dim=0)) == 1500
    assert sample_points(batch, grid, SETTINGS, generators()).windows is None
    same = PairBatch(batch.fixed, batch.fixed)
    maps = MapPair(translations(grid, 0.0, 0.0, 0.0), translations(grid, 0.0, 0.0, 0.0))
    terms = training_terms(maps, same, grid, replace(settings, variance_floor=1e-4), generators())
    assert terms["similarity"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 1}, r"objective\.radius: expected 0 with objective\.window, got 1"),
        (
            {"similarity": "ncc"},
            r"objective\.window: expected 0, or a similarity with one of lncc, lncc2, pooled and w",
        ),
        ({"similarity": "lncc + mind"}, r"objective\.radius: similarity mind needs patches of radius 2, got 0"),
        ({"window": -1.0}, r"objective\.window: expected 0 or more, got -1\.0"),
        ({"window_samples": 1}, r"objective\.window_samples: expected 2 or more, got 1"),
        (
            {"window_samples": 10**5},
            r"objective\.window_samples: expected at most 1000000 samples of all points, got 100",
        ),
        ({"window": 0.0}, r"objective\.radius: similarity lncc needs a radius of at least 1, got 0"),
        ({"dice": -1.0}, r"objective\.dice: expected 0 or more"),
        ({"dice_labels": 0}, r"objective\.dice_labels: expected 1 or more"),
        (
            {"similarity_weight": 0.0},  # inverse consistency alone does not compare images
            r"objective\.similarity_weight: expected more than 0, or objective\.dice, objective\.landmarks or",
        ),
    ],
)
def test_windows_and_labels_that_cannot_be_compared(change: dict[str, Any], message: str) -> None:
    settings = replace(SETTINGS, window=6.0, similarity="lncc")
    with pytest.raises(UsageError, match=f"^{message}"):
        replace(settings, **change)


def test_labels_are_compared_instead_of_intensities(grid: Grid, batch: PairBatch) -> None:
    """The mean over both directions; pairs without labels in common count 0."""
    labels = torch.zeros(3, 1, *grid.shape, dtype=torch.int64)
    labels[:2, :, :6], labels[:2, :, 6:12] = 2, 9
    other = labels.clone()
    other[1] = 3  # other labels
    labelled = replace(batch, fixed_labels=labels, moving_labels=other)
    settings = replace(SETTINGS, similarity_weight=0.0, dice=2.0, gradicon=0.0, codes=0.0, points=400)
    identity = MapPair(translations(grid, 0.0, 0.0, 0.0), translations(grid, 0.0, 0.0, 0.0))
    terms = training_terms(identity, labelled, grid, settings, generators())
    assert list(terms) == settings.terms() == ["dice"]
    assert terms["dice"].item() == pytest.approx(0, abs=0.01)
    far = MapPair(translations(grid, 1e4, 1e4, 1e4), translations(grid, 1e4, 1e4, 1e4))
    assert training_terms(far, labelled, grid, settings, generators())["dice"].item() == pytest.approx(2 / 3, abs=0.01)
    one_way = MapPair(far.forward)
    assert training_terms(one_way, labelled, grid, settings, generators())["dice"].item() == pytest.approx(
        2 / 3, abs=0.01
    )
    assert training_terms(far, batch, grid, settings, generators())["dice"].item() == 0


def test_points_mapped_outside_do_not_count(grid: Grid, batch: PairBatch) -> None:
    """With all points outside the loss is that of no correlation, without a gradient that pulls there."""
    far = translations(grid, 1e4, 1e4, 1e4)
    settings = replace(SETTINGS, gradicon=0.0, codes=0.0)
    far.translations.requires_grad_(True)
    terms = training_terms(MapPair(far), batch, grid, settings, generators())
    terms["similarity"].backward()
    assert terms["similarity"].item() == 1 and far.translations.grad is not None
    assert not bool(far.translations.grad.any())


def test_points_mapped_outside_count_as_dark_if_asked(grid: Grid, batch: PairBatch) -> None:
    """NePhi's images are 0 outside: half of the points leave a white image, whose mean square is then one half."""
    white = torch.ones_like(batch.fixed)
    half = float((grid.affine[:-1, 0].norm() * grid.shape[0]) / 2)
    axis = grid.affine[:-1, 0].float() / grid.affine[:-1, 0].norm().float()
    maps = MapPair(AffineMaps(torch.eye(grid.dimension).expand(3, -1, -1), (half * axis).expand(3, -1)))
    pairs = PairBatch(white, white)
    settings = replace(SETTINGS, gradicon=0.0, codes=0.0, similarity="mse", points=4000)
    ignored, dark = (
        training_terms(maps, pairs, grid, replace(settings, outside=outside), generators())["similarity"]
        for outside in ("ignored", "dark")
    )
    assert float(ignored) == 0 and float(dark) == pytest.approx(0.5, abs=0.03)
    with pytest.raises(UsageError, match=r"^objective\.outside: expected one of ignored, dark, got 'white'$"):
        replace(SETTINGS, outside="white")


def test_landmarks_count_by_their_distance(grid: Grid, batch: PairBatch) -> None:
    points = grid.centre_world().float() + torch.zeros(3, 4, grid.dimension)
    marked = replace(batch, fixed_landmarks=points, moving_landmarks=points)
    maps = MapPair(translations(grid, 1.0, 2.0, 3.0), translations(grid, -1.0, -2.0, -6.0))
    settings = replace(SETTINGS, codes=0.0, landmarks=0.5)
    assert float(training_terms(maps, marked, grid, settings, generators())["landmarks"]) == pytest.approx(0.5 * 2.5)
    assert "landmarks" not in training_terms(maps, batch, grid, settings, generators())
    assert "landmarks" not in training_terms(maps, marked, grid, replace(settings, landmarks=0.0), generators())


def test_terms_are_computed_in_single_precision(grid: Grid, batch: PairBatch) -> None:
    maps = MapPair(translations(grid, 1.0, 2.0, 3.0), translations(grid, -1.0, -2.0, -3.0))
    settings = replace(SETTINGS, codes=0.0, radius=1, similarity="lncc")
    expected = training_terms(maps, batch, grid, settings, generators())
    with torch.autocast("cpu", torch.bfloat16):
        terms = training_terms(maps, batch, grid, settings, generators())
    assert {name: float(term) for name, term in terms.items()} == {name: float(t) for name, t in expected.items()}
