"""Predictions as the public API gives them; see `nephi.registration`."""

from __future__ import annotations

from nephi import learning
from nephi.registration import shown

predict = shown(learning.predict)
