"""Training: pairs drawn and augmented, the loop, checkpoints, validation, logs."""

from nephi.learning.training.run import TrainingResult, train
from nephi.learning.training.settings import AugmentSettings, DataSettings, LoopSettings, TrainSettings, WarpSettings
from nephi.learning.training.settings_file import read_train_settings, train_settings_toml

__all__ = [
    "AugmentSettings",
    "DataSettings",
    "LoopSettings",
    "TrainSettings",
    "TrainingResult",
    "WarpSettings",
    "read_train_settings",
    "train",
    "train_settings_toml",
]
