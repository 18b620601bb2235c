"""Model files of earlier releases: the header of version 1, and tensors, by the names of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def current_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by the names of today; those that have them already keep them."""
    return {_current_name(name): tensor for name, tensor in tensors.items()}


def _current_name(name: str) -> str:
    if name.startswith(("first.", "down.", "up.", "last.")):
        return f"network.{name}"  # of the U-Net
    if name.endswith(".encoder.everywhere"):
        return name.replace(".everywhere", ".global_codes")  # the table of an auto-decoder
    return name.replace(".encoder.everywhere.", ".encoder.global_code.")
