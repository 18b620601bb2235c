"""The terms of the loss against the values and Jacobians of the fields."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi import losses
from nephi.errors import UsageError
from nephi.fields import FieldPair, single_maps
from nephi.images import ImageSampler
from nephi.objective import ComparedImages, LandmarkPoints, SamplePoints, landmark_distance, loss_terms
from nephi.phantoms import PhantomPair
from nephi.results import Registration
from nephi.sampling import MaskPoints, patch_offsets
from nephi.settings import FitObjectiveSettings, check_weights
from nephi.transforms import AffineMaps, MapPair, Penalties

COUNT, BACKGROUND = 40, 12
SETTINGS = FitObjectiveSettings(points=256, radius=1, regularization_points=64, background_points=32)


@pytest.fixture(scope="module")
def fields(fitted: Registration) -> FieldPair:
    return fitted.stored.steps[0].pair


@pytest.fixture(scope="module")
def images(fitted: Registration) -> ComparedImages:
    """The images, globally aligned."""
    pair = fitted.pair.with_moving_transformed(fitted.stored.affine.inverse().matrix)
    fixed, moving = ImageSampler(pair.fixed, pair.fixed_window), ImageSampler(pair.moving, pair.moving_window)
    return ComparedImages([fixed], [moving], patch_offsets(2, 1, 3.0))


@pytest.fixture(scope="module")
def points(shapes: PhantomPair) -> SamplePoints:
    generator = torch.Generator().manual_seed(3)
    source = MaskPoints(shapes.fixed_mask)
    return SamplePoints(*(source.draw(n, generator)[None] for n in (COUNT, COUNT, BACKGROUND)))


def both_orders(fields: FieldPair, points: SamplePoints, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For both orders: the regularization points, their image under the composition, and its Jacobian."""
    assert fields.inverse_field is not None
    orders = []
    for inner, outer, centres in (
        (fields.forward_field, fields.inverse_field, points.fixed),
        (fields.inverse_field, fields.forward_field, points.moving),
    ):
        x = torch.cat([centres[0, :count], points.background[0]])
        y, first = inner.value_and_jacobian(x)
        composed, second = outer.value_and_jacobian(y)
        orders.append((x, composed, second @ first))
    return orders


@pytest.mark.parametrize(("radius", "similarity"), [(1, "lncc2"), (0, "ncc")])
@pytest.mark.parametrize("count", [10, 1000])  # more than there are: all of them
def test_consistency_is_the_mean_over_both_orders(
    count: int, radius: int, similarity: str, fields: FieldPair, images: ComparedImages, points: SamplePoints
) -> None:
    images = replace(images, offsets=patch_offsets(2, radius, 3.0))
    settings = FitObjectiveSettings(
        radius=radius, similarity=similarity, regularization_points=count, gradicon=0.7, icon=0.3
    )
    terms = loss_terms(single_maps(fields), images, points, settings, 0.5)
    orders = both_orders(fields, points, count)
    gradicon = sum((j - torch.eye(2)).square().sum(dim=(-1, -2)).mean() for _, _, j in orders) / 2
    icon = sum((composed - x).square().sum(dim=-1).mean() for x, composed, _ in orders) / 2
    torch.testing.assert_close(terms["gradicon"], 0.7 * gradicon)
    torch.testing.assert_close(terms["icon"], 0.5 * 0.3 * icon)
    assert icon > 0 and gradicon > 0


def test_icon_grows_over_the_fit(fields: FieldPair, images: ComparedImages, points: SamplePoints) -> None:
    maps = single_maps(fields)
    values = [loss_terms(maps, images, points, SETTINGS, progress)["icon"].item() for progress in (0.0, 0.25, 1.0)]
    assert values[0] == 0
    assert values[2] == pytest.approx(4 * values[1]) and values[2] > 0


def test_similarity_is_the_mean_of_both_directions(
    fields: FieldPair, images: ComparedImages, points: SamplePoints
) -> None:
    """First-order patches: close to the image at the mapped samples themselves."""
    assert fields.inverse_field is not None
    terms = loss_terms(single_maps(fields), images, points, SETTINGS, 0.5)
    expected = []
    for field, source, target, centres in (
        (fields.forward_field, images.fixed[0], images.moving[0], points.fixed[0]),
        (fields.inverse_field, images.moving[0], images.fixed[0], points.moving[0]),
    ):
        samples = centres[:, None] + images.offsets
        expected.append(losses.lncc_squared(source(samples), target(field(samples))))
    assert terms["similarity"].item() == pytest.approx(float(sum(expected)) / 2, abs=0.02)


def test_points_mapped_outside_the_image_do_not_count(
    fields: FieldPair, images: ComparedImages, points: SamplePoints
) -> None:
    far = torch.full((1, COUNT, 2), 500.0)
    more = SamplePoints(torch.cat([points.fixed, far], 1), torch.cat([points.moving, far], 1), points.background)
    maps = single_maps(fields)
    with_far, without = (loss_terms(maps, images, p, SETTINGS, 0.5)["similarity"] for p in (more, points))
    torch.testing.assert_close(with_far, without)


def test_one_map_alone(fields: FieldPair, images: ComparedImages, points: SamplePoints) -> None:
    settings = replace(SETTINGS, gradicon=0.0, icon=0.0, folding=1.0, diffusion=0.2, volume=0.3, bending=2.0)
    terms = loss_terms(single_maps(fields.forward_only()), images, points, settings, 0.5)
    assert set(terms) == {"similarity", "folding", "diffusion", "volume", "bending"}
    x = torch.cat([points.fixed[0], points.background[0]])
    _, jacobian = fields.forward_field.value_and_jacobian(x)
    torch.testing.assert_close(terms["diffusion"], 0.2 * (jacobian - torch.eye(2)).square().sum((-1, -2)).mean())
    assert terms["folding"] == 0 and terms["bending"] > 0 and terms["volume"] > 0


def test_terms_with_a_weight_of_0_are_left_out(fields: FieldPair, images: ComparedImages, points: SamplePoints) -> None:
    for radius, similarity in ((1, "lncc2"), (0, "ncc")):
        settings = replace(SETTINGS, gradicon=0.0, icon=0.0, radius=radius, similarity=similarity)
        sized = replace(images, offsets=patch_offsets(2, radius, 3.0))
        assert set(loss_terms(single_maps(fields), sized, points, settings, 0.5)) == {"similarity"}


def affine_maps(count: int) -> MapPair:
    """`count` affine maps with inverses that are not quite theirs, and a penalty."""
    generator = torch.Generator().manual_seed(5)
    noise = [0.05 * torch.randn(count, 2, 2, generator=generator) for _ in range(2)]
    shifts = [torch.randn(count, 2, generator=generator) for _ in range(2)]
    forward, inverse = (AffineMaps(torch.eye(2) + a, b) for a, b in zip(noise, shifts, strict=True))
    return MapPair(forward, inverse, Penalties({"codes": lambda: torch.tensor(0.25)}))


@pytest.mark.parametrize(("radius", "similarity"), [(1, "lncc2"), (0, "ncc")])
def test_terms_are_means_over_the_pairs(
    radius: int, similarity: str, images: ComparedImages, points: SamplePoints
) -> None:
    """The terms of a batch are the means of those of its pairs: parts of a batch on two machines add up to it."""
    weights = dict.fromkeys(("gradicon", "icon", "folding", "diffusion", "volume", "bending", "codes"), 0.5)
    settings = replace(SETTINGS, radius=radius, similarity=similarity, **weights)
    maps = affine_maps(3)
    assert isinstance(maps.forward, AffineMaps) and isinstance(maps.inverse, AffineMaps)
    offsets = patch_offsets(2, radius, 3.0)
    many = ComparedImages([*images.fixed] * 3, [*images.moving] * 3, offsets)
    batch = SamplePoints(*(torch.cat([p, p + 1, p - 2]) for p in (points.fixed, points.moving, points.background)))
    whole = loss_terms(maps, many, batch, settings, 0.5)
    assert set(whole) == {"similarity", *weights}
    each = []
    for k in range(3):
        part = slice(k, k + 1)
        pair = MapPair(
            *(AffineMaps(m.matrices[part], m.translations[part]) for m in (maps.forward, maps.inverse)), maps.penalties
        )
        own = SamplePoints(batch.fixed[part], batch.moving[part], batch.background[part])
        each.append(loss_terms(pair, replace(images, offsets=offsets), own, settings, 0.5))
    for name, term in whole.items():
        torch.testing.assert_close(term, torch.stack([terms[name] for terms in each]).mean())
    assert float(whole["codes"]) == 0.125


def test_penalties_are_computed_only_with_a_weight(images: ComparedImages, points: SamplePoints) -> None:
    maps = affine_maps(1)._replace(penalties=Penalties({"codes": lambda: pytest.fail("computed")}))
    assert "codes" not in loss_terms(maps, images, points, SETTINGS)


def test_landmark_distance_is_the_mean_over_both_directions() -> None:
    shift = torch.tensor([3.0, 4.0])
    maps = MapPair(*(AffineMaps(torch.eye(2).expand(2, 2, 2), s.expand(2, 2)) for s in (shift, -3 * shift)))
    fixed = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0))
    moving = fixed + shift
    unknown = torch.tensor([1.0, torch.nan])[:, None, None]  # the second pair has none and counts 0
    landmarks = LandmarkPoints(fixed * unknown, moving * unknown)
    assert float(landmark_distance(maps, landmarks)) == pytest.approx((0 + 10) / 2 / 2)
    assert float(landmark_distance(maps._replace(inverse=None), landmarks)) == pytest.approx(0, abs=1e-6)


def test_weights_without_their_map_or_penalty_are_refused_by_name() -> None:
    settings = replace(SETTINGS, codes=0.5)
    check_weights(settings, True, ("codes",), "this model")
    for has_inverse, penalties, name in ((False, ("codes",), "gradicon"), (True, (), "codes")):
        with pytest.raises(UsageError, match=rf"^objective\.{name}: expected 0 for this model \(no .*\), got "):
            check_weights(settings, has_inverse, penalties, "this model")
