"""Randomness that depends on the place of a pair in the training, and on nothing else."""

from __future__ import annotations

import hashlib

import torch


def generator_of(purpose: str, seed: int, step: int = 0, position: int = 0) -> torch.Generator:
    """Return a fresh generator for one purpose at one pair: `position` counts the pairs of a step in all processes."""
    text = f"{purpose} {seed} {step} {position}".encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
    return torch.Generator().manual_seed(number)
