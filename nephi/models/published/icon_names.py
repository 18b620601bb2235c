"""The published names of GradICON's tensors: the operators and steps of a network, read from its state dict."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from nephi.errors import DataError
from nephi.models.published.axes import AXES
from nephi.models.published.tall_unet_steps import TallUNetSettings

FIRST, SECOND, INNER = "netPhi", "netPsi", "net"  # of TwoStepRegistration; of DownsampleRegistration and of a U-Net
LAYERS = {"down": "downConvs", "up": "upConvs", "normalizations": "batchNorms", "last": "lastConv"}
STATISTICS = {"mean": "running_mean", "variance": "running_var"}
PART = re.compile(r"^(.*?)\b(?:downConvs|upConvs|batchNorms|lastConv)\.")
DEEPEST = 32  # nested operators


class PublishedStep(NamedTuple):
    """The `prefix` of a U-Net's tensors, and how many times its images are halved."""

    prefix: str
    halvings: int


def published_steps(path: Path, names: Collection[str]) -> list[PublishedStep]:
    """Return the steps of a network, the first one first, from the nesting of its operators in the names.

    Raises `DataError` naming the file for operators that are not those of GradICON.
    """
    prefixes = []
    for name in names:
        found = PART.match(name)
        if found is None:
            raise DataError(f"{path}: {name} is not a tensor of GradICON's networks (tallUNet2)")
        prefixes.append(found[1])
    unique = list(dict.fromkeys(prefixes))
    return [PublishedStep(prefix, halvings) for prefix, halvings in _steps(path, unique, 0, 0)]


def _steps(path: Path, prefixes: list[str], depth: int, halvings: int) -> list[tuple[str, int]]:
    """Return prefixes and halvings of the steps whose names agree in their first `depth` words."""
    if depth > DEEPEST:
        raise DataError(f"{path}: expected at most {DEEPEST} nested operators, found more; another network")
    words = {prefix: prefix.split(".")[:-1][depth:] for prefix in prefixes}
    if len(prefixes) == 1 and words[prefixes[0]] in ([INNER], []):
        return [(prefixes[0], halvings)]
    operators = {rest[0] if rest else "" for rest in words.values()}
    if operators == {INNER}:  # a U-Net in it ends with one more `net`
        return _steps(path, prefixes, depth + 1, halvings + 1)
    first, second = ([p for p in prefixes if words[p][:1] == [operator]] for operator in (FIRST, SECOND))
    if operators == {FIRST, SECOND} and len(second) == 1 and words[second[0]] == [SECOND, INNER]:
        return _steps(path, first, depth + 1, halvings) + _steps(path, second, depth + 1, halvings)
    expected = "expected U-Nets as netPhi (with net for half resolution) and netPsi.net of two-step registrations"
    raise DataError(f"{path}: {expected}, found {prefixes[0].rstrip('.') or 'several networks'}; another network")


def published_settings(path: Path, steps: list[PublishedStep], tensors: Mapping[str, Tensor]) -> TallUNetSettings:
    """Return the settings of a network with these tensors; channels are those of its first step."""
    channels: dict[str, tuple[int, ...]] = {}
    for ours, axis in (("down", 0), ("up", 1)):  # weights are (outputs, inputs), of transposed convolutions reversed
        sizes: list[int] = []
        while (tensor := tensors.get(f"{steps[0].prefix}{LAYERS[ours]}.{len(sizes)}.weight")) is not None:
            sizes.append(tensor.shape[axis] if tensor.ndim > axis else 0)
        channels[ours] = tuple(sizes)
    if not channels["down"] or len(channels["down"]) != len(channels["up"]) or 0 in sum(channels.values(), ()):
        raise DataError(f"{path}: expected as many downConvs as upConvs in {steps[0].prefix or 'the network'}")
    return TallUNetSettings(tuple(step.halvings for step in steps), channels["down"], channels["up"], AXES[0])


def published_name(ours: str, steps: list[PublishedStep]) -> str:
    """Return the published name of a tensor `network.steps.K.LAYER...` of `PublishedTallUNet`."""
    _, _, number, layer, *rest = ours.split(".")
    rest[-1] = STATISTICS.get(rest[-1], rest[-1])
    return steps[int(number)].prefix + ".".join([LAYERS[layer], *rest])
