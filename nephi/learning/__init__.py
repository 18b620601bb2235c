"""Many pairs: the index of a data set."""

from nephi.learning.index import (
    DatasetImage,
    DatasetIndex,
    DatasetPair,
    DatasetSource,
    DatasetSplit,
)
from nephi.learning.index_file import read_dataset_index, write_dataset_index

__all__ = [
    "DatasetImage",
    "DatasetIndex",
    "DatasetPair",
    "DatasetSource",
    "DatasetSplit",
    "read_dataset_index",
    "write_dataset_index",
]
