"""The terms of the loss, against what the fields themselves say."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi import losses
from nephi.fields import FieldPair
from nephi.images import ImageSampler
from nephi.objective.objective import Draw, Level, loss_terms
from nephi.phantoms import PhantomPair
from nephi.results import Registration
from nephi.sampling import MaskPoints, patch_offsets
from nephi.settings import Settings

Change = Callable[..., Settings]
COUNT, EVERYWHERE = 40, 12


@pytest.fixture(scope="module")
def fields(fitted: Registration) -> FieldPair:
    return fitted.stored.steps[0].pair


@pytest.fixture(scope="module")
def level(fitted: Registration) -> Level:
    """The images, globally aligned."""
    pair = fitted.pair.with_moving_transformed(fitted.stored.affine.inverse().matrix)
    fixed, moving = ImageSampler(pair.fixed, pair.fixed_window), ImageSampler(pair.moving, pair.moving_window)
    return Level(fixed, moving, patch_offsets(2, 1, 3.0))


@pytest.fixture(scope="module")
def draw(shapes: PhantomPair) -> Draw:
    generator = torch.Generator().manual_seed(3)
    source = MaskPoints(shapes.fixed_mask)
    return Draw(*(source.draw(n, generator) for n in (COUNT, COUNT, EVERYWHERE)))


def pieces(fields: FieldPair, draw: Draw, points: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For both orders: where the regularity is measured, the round trip's end, and its Jacobian."""
    assert fields.inverse_field is not None
    found = []
    for there, back, centres in (
        (fields.forward_field, fields.inverse_field, draw.fixed),
        (fields.inverse_field, fields.forward_field, draw.moving),
    ):
        x = torch.cat([centres[:points], draw.everywhere])
        y, first = there.value_and_jacobian(x)
        end, second = back.value_and_jacobian(y)
        found.append((x, end, second @ first))
    return found


@pytest.mark.parametrize(("radius", "similarity"), [(1, "lncc2"), (0, "ncc")])
@pytest.mark.parametrize("points", [10, 1000])  # more than there are: all of them
def test_consistency_is_that_of_the_fields(
    points: int,
    radius: int,
    similarity: str,
    fields: FieldPair,
    level: Level,
    draw: Draw,
    quick: Settings,
    changed: Change,
) -> None:
    level = Level(level.fixed, level.moving, patch_offsets(2, radius, 3.0))
    settings = changed(
        quick,
        objective={
            "radius": radius,
            "similarity": similarity,
            "regularization_points": points,
            "gradicon": 1.4,
            "icon": 0.6,
        },
    )
    terms = loss_terms(fields, level, draw, settings, 0.5)
    both = pieces(fields, draw, points)
    gradicon = sum((j - torch.eye(2)).square().sum(dim=(-1, -2)).mean() for _, _, j in both)
    icon = sum((end - x).square().sum(dim=-1).mean() for x, end, _ in both)
    torch.testing.assert_close(terms["gradicon"], 0.7 * gradicon)
    torch.testing.assert_close(terms["icon"], 0.5 * 0.3 * icon)
    assert icon > 0 and gradicon > 0


def test_icon_grows_over_the_fit(fields: FieldPair, level: Level, draw: Draw, quick: Settings) -> None:
    ends = [loss_terms(fields, level, draw, quick, share)["icon"].item() for share in (0.0, 0.25, 1.0)]
    assert ends[0] == 0
    assert ends[2] == pytest.approx(4 * ends[1]) and ends[2] > 0


def test_similarity_is_the_mean_of_both_directions(
    fields: FieldPair, level: Level, draw: Draw, quick: Settings
) -> None:
    """First-order patches: close to the image at the moved samples themselves."""
    assert fields.inverse_field is not None
    terms = loss_terms(fields, level, draw, quick, 0.5)
    expected = []
    for field, here, there, centres in (
        (fields.forward_field, level.fixed, level.moving, draw.fixed),
        (fields.inverse_field, level.moving, level.fixed, draw.moving),
    ):
        samples = centres[:, None] + level.offsets
        expected.append(losses.lncc_squared(here(samples), there(field(samples))))
    assert terms["similarity"].item() == pytest.approx(float(sum(expected)) / 2, abs=0.02)


def test_points_that_leave_the_image_do_not_count(fields: FieldPair, level: Level, draw: Draw, quick: Settings) -> None:
    far = torch.full((COUNT, 2), 500.0)
    both = Draw(torch.cat([draw.fixed, far]), torch.cat([draw.moving, far]), draw.everywhere)
    with_far, without = (loss_terms(fields, level, d, quick, 0.5)["similarity"] for d in (both, draw))
    torch.testing.assert_close(with_far, without)


def test_one_field_alone(fields: FieldPair, level: Level, draw: Draw, quick: Settings, changed: Change) -> None:
    settings = changed(
        quick, objective={"gradicon": 0.0, "icon": 0.0, "folding": 1.0, "diffusion": 0.2, "volume": 0.3, "bending": 2.0}
    )
    terms = loss_terms(FieldPair(fields.forward_field, None), level, draw, settings, 0.5)
    assert set(terms) == {"similarity", "folding", "diffusion", "volume", "bending"}
    x = torch.cat([draw.fixed, draw.everywhere])
    _, jacobian = fields.forward_field.value_and_jacobian(x)
    torch.testing.assert_close(terms["diffusion"], 0.2 * (jacobian - torch.eye(2)).square().sum((-1, -2)).mean())
    assert terms["folding"] == 0 and terms["bending"] > 0 and terms["volume"] > 0


def test_weights_of_0_leave_their_terms_out(
    fields: FieldPair, level: Level, draw: Draw, quick: Settings, changed: Change
) -> None:
    settings = changed(quick, objective={"gradicon": 0.0, "icon": 0.0})
    assert set(loss_terms(fields, level, draw, settings, 0.5)) == {"similarity"}
