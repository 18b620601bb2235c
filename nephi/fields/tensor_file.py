"""Files of named tensors and one JSON text: the format of `.nephi` files, model files and training checkpoints.

They are safetensors files: numbers and text, no code. The text is the value of the single metadata key `nephi`, because
safetensors does not keep the order of several keys and equal content must give equal bytes. The text holds a checksum
of everything else, because safetensors has none: a flipped bit would change the transform or the model.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.documents import is_unicode, parse_json
from nephi.errors import DataError, NephiError

KEY = "nephi"
CHECKSUM = "checksum"
# The errors raised when objects are built from a header and tensors that do not fit together.
UNFIT = (NephiError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, MemoryError)
DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


@dataclass(frozen=True)
class TensorFile:
    """A kind of file: its `format` in the text, the `versions` that are read, the last of which is written.

    `called` is its name in messages (`model`), `writer` the command that writes it, `advice` is added to the message
    about a damaged file.
    """

    format: str
    versions: tuple[int, ...]
    called: str
    writer: str
    advice: str = ""

    def to_bytes(self, header: Mapping[str, Any], tensors: dict[str, Tensor], version: int | None = None) -> bytes:
        """Return the content of a file, of the last version by default."""
        from safetensors.torch import save

        text = {"format": self.format, "version": version or self.versions[-1], **header}
        text[CHECKSUM] = _checksum(text, tensors)
        data: bytes = save(tensors, metadata={KEY: json.dumps(text, sort_keys=True)})
        return data

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Read the header and the tensors, on the CPU.

        Raises `DataError` for a file that is missing, cut short, of another kind, of an unknown version,
        or with a wrong checksum. Files of earlier versions have no checksum.
        """
        from safetensors import safe_open

        if os.path.isdir(path):
            raise DataError(f"{path}: a folder; expected a {self.called}, a file that {self.writer} writes")
        if not os.path.isfile(path):
            raise DataError(f"{path}: no such file; expected a {self.called}, as {self.writer} writes it")
        try:
            # safetensors does not open paths that are not UTF-8: these by a descriptor.
            with path.open("rb") as file, safe_open(_utf8_name(path, file.fileno()), framework="pt") as handle:
                header = parse_json((handle.metadata() or {}).get(KEY, "null"))
                # Copied, because they are memory-mapped: truncating the file would end the process, writing to it would
                # change the transform.
                tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118 (no mapping)
        except Exception as error:  # of torch or safetensors, for types and shapes that they do not support
            raise DataError(
                f"{path}: not a {self.called}, or cut short ({one_line(error)}); expected one that {self.writer} wrote"
                f"{self._suffix}"
            ) from None
        if not isinstance(header, dict) or header.get("format") != self.format:
            raise DataError(
                f"{path}: a safetensors file, but not a {self.called}; expected one that {self.writer} wrote"
            )
        if header.get("version") not in self.versions:
            versions = " and ".join(map(str, self.versions))
            kind = f"{self.called} of version {header.get('version')}"
            earlier = header.get("version") in range(1, min(self.versions))
            advice = self._suffix if earlier else "; update nephi"
            raise DataError(f"{path}: {kind}, this nephi reads {versions}{advice}")
        for name, tensor in tensors.items():
            if tensor.dtype not in DTYPES:
                raise self.damaged(path, DataError(f"{name} is of type {tensor.dtype}, which no {self.called} holds"))
        if header.pop(CHECKSUM, None) not in (None, _checksum(header, tensors)):
            raise self.damaged(path, DataError("its checksum is wrong; copy it again"))
        return header, tensors

    def require_finite(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Raise `DataError` naming a tensor that holds NaN or infinite values."""
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise self.damaged(path, DataError(f"{name} holds NaN or infinite values"))

    def damaged(self, path: str | Path, cause: Exception) -> DataError:
        """Return the error for a file with inconsistent content."""
        kind = "" if isinstance(cause, NephiError) else f"{type(cause).__name__} "
        return DataError(f"{path}: damaged {self.called}: {kind}{one_line(cause)}{self._suffix}")

    @property
    def _suffix(self) -> str:
        return f"; {self.advice}" if self.advice else ""


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Return the CRC-32 of a header and of names, types, shapes and bytes of tensors."""
    checksum = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return checksum


def _utf8_name(path: Path, descriptor: int) -> str:
    """Return a UTF-8 path of the file: its own, or that of the open descriptor if its own is not UTF-8."""
    return str(path) if is_unicode(str(path)) else f"/dev/fd/{descriptor}"


def one_line(error: Exception) -> str:
    """Return the message of an error in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
