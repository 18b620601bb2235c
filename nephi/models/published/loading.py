"""Loading of tensors by their published names."""

from __future__ import annotations

from torch import nn

from nephi.errors import DataError
from nephi.models.published.weights import WeightFile


def load_published(file: WeightFile, model: nn.Module, names: dict[str, str]) -> None:
    """Load the tensors of a file into a model whose tensors have the published `names`; use every one of them.

    Raises `DataError` naming the first tensor that is missing, left over or of another shape.
    """
    count = f"{len(names)} tensors"
    for ours, tensor in model.state_dict().items():
        stored = file.tensors.get(names[ours])
        if stored is None:
            raise DataError(f"{file.path}: expected the {count} of this network, {names[ours]} is missing")
        if stored.shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, found {tuple(stored.shape)}"
            raise DataError(f"{file.path}: {names[ours]}: expected shape {shapes}; weights of another network")
    if superfluous := [name for name in file.tensors if name not in set(names.values())]:
        raise DataError(f"{file.path}: {superfluous[0]} is not one of the {count} of this network")
    model.load_state_dict({ours: file.tensors[theirs] for ours, theirs in names.items()})
