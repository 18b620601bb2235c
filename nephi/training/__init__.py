"""Training a model on a data set."""

from nephi.training.augmentation_settings import AugmentationSettings, WarpSettings
from nephi.training.equivariance import equivariance_errors
from nephi.training.phases import PhaseSettings
from nephi.training.run import TrainingResult, train
from nephi.training.settings import DataSettings, OptimizationSettings, TrainSettings
from nephi.training.settings_file import read_train_settings, train_settings_toml, training_presets

__all__ = [
    "AugmentationSettings",
    "DataSettings",
    "OptimizationSettings",
    "PhaseSettings",
    "TrainSettings",
    "TrainingResult",
    "WarpSettings",
    "equivariance_errors",
    "read_train_settings",
    "train",
    "train_settings_toml",
    "training_presets",
]
