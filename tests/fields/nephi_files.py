"""Edit `.nephi` files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


def edit(path: Path, change: Change) -> Path:
    """Write the file again after `change(header, tensors)`, without a checksum like older files."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["nephi"])
    tensors = load(data)
    del header["checksum"]
    change(header, tensors)
    path.write_bytes(save(tensors, metadata={"nephi": json.dumps(header, sort_keys=True)}))
    return path


def spoil(name: str, value: float) -> Change:
    return lambda header, tensors: tensors[name].view(-1)[0].fill_(value)


def put(key: str, value: Any) -> Change:
    return lambda header, tensors: header.update({key: value})
