"""Random generators that depend on the key of a sample, and on nothing else."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch


class SampleKey(NamedTuple):
    """Identifies a training sample: the step, from 0, and the position among the step's pairs of all processes."""

    step: int
    position: int


def generator_of(purpose: str, seed: int, step: int = 0, position: int = 0) -> torch.Generator:
    """Return a new generator for one purpose and sample: equal arguments give equal random numbers."""
    text = f"{purpose} {seed} {step} {position}".encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
    return torch.Generator().manual_seed(number)
