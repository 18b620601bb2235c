"""A training on labels alone, of images whose contrasts differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nephi
from nephi.models import DisplacementUNetSettings
from nephi.training import AugmentationSettings, TrainSettings

from .conftest import rows, with_loop

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")


def test_labels_align_images_of_other_contrasts(settings: TrainSettings, shapes: Path, tmp_path: Path) -> None:
    """Every second image is inverted; the overlap of the training pairs grows."""
    index = nephi.datasets.read_dataset_index(shapes)
    (tmp_path / "images").mkdir()
    for name in ("labels", "landmarks"):
        (tmp_path / name).symlink_to(shapes / name)
    for k, entry in enumerate(index.images):
        image = nephi.read_image(shapes / entry.image)
        nephi.write_image(image.with_data(1 - image.data) if k % 2 else image, tmp_path / entry.image)
    nephi.datasets.write_dataset_index(index, tmp_path)
    objective = replace(settings.objective, similarity_weight=0.0, dice=1.0, gradicon=0.0, codes=0.0, diffusion=0.02)
    settings = replace(
        settings,
        data=replace(settings.data, index=str(tmp_path)),
        model=DisplacementUNetSettings((8, 16, 16)),
        objective=replace(objective, points=300),
        augmentation=AugmentationSettings(),
    )
    settings = with_loop(settings, steps=80, rate=5e-3, batch=4, validation_interval=80, checkpoint_interval=80)
    nephi.train(settings, tmp_path / "run")
    log = rows(tmp_path / "run" / "log.csv")
    first, last = (sum(row["dice"] for row in part) / 10 for part in (log[:10], log[-10:]))
    assert last < 0.8 * first
