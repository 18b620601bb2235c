"""Model files of earlier releases: the header of version 1, and tensors, by the names of today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

KEYS = {"nephi": ("field", "encoder"), "auto-decoder": ("pairs", "field")}
OBJECTIVE = {"contrast": "variance_floor", "regular_points": "background_points"}
UNUSED = {"unet": ("gradicon", "codes"), "nephi": ("diffusion",), "auto-decoder": ("diffusion",)}


def current_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of version 2: the table of one model, new names, weights of 0 for terms that were ignored."""
    model, objective = header["model"], header["objective"]
    kind = model["system"]
    kind_settings = model["unet"] if kind == "unet" else {key: model[key] for key in KEYS[kind]}
    steps = {} if kind == "unet" else {"downsampling": model["thinning"]}
    renamed = {OBJECTIVE.get(name, name): value for name, value in objective.items()}
    return {
        "model": {"kind": kind, **steps, **kind_settings},
        "input": header["frame"],
        "objective": {**renamed, **dict.fromkeys(UNUSED[kind], 0.0)},
        "about": header["about"],
    }


def current_tensors(tensors: Mapping[str, Tensor], shape: Sequence[int]) -> dict[str, Tensor]:
    """Return the tensors by the names and with the meaning of today; those that have them already are kept.

    `shape` is that of the model's input. The U-Net's last layer once predicted voxels, today tenths of the edges.
    """
    result = {_current_name(name): tensor for name, tensor in tensors.items()}
    for name in ("weight", "bias"):
        current = f"network.unet.last.{name}"
        if current in result and current not in tensors:
            tenths = 10 / torch.tensor([max(n - 1, 1) for n in shape], dtype=torch.float32)
            result[current] = result[current] * tenths.reshape(-1, *[1] * (result[current].ndim - 1))
    return result


def _current_name(name: str) -> str:
    within = name.removeprefix("network.")
    if within.startswith(("first.", "down.", "up.", "last.")):
        return f"network.unet.{within}"
    if name.endswith(".encoder.everywhere"):
        return name.replace(".everywhere", ".global_codes")  # the table of an auto-decoder
    return name.replace(".encoder.everywhere.", ".encoder.global_code.")
