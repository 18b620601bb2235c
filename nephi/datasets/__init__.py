"""Data sets: their index with images, pairs and splits, and tables of pairs."""

from nephi.datasets.entries import DatasetImage, DatasetPair, DatasetSource, DatasetSplit
from nephi.datasets.index import DatasetIndex
from nephi.datasets.index_file import read_dataset_index, write_dataset_index
from nephi.datasets.pair_files import PairFiles, read_pairs

__all__ = [
    "DatasetImage",
    "DatasetIndex",
    "DatasetPair",
    "DatasetSource",
    "DatasetSplit",
    "PairFiles",
    "read_dataset_index",
    "read_pairs",
    "write_dataset_index",
]
