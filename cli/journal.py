"""What a cohort has done so far, in a file that outlives the process that does it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

VARIABLE = "NEPHI_JOURNAL"  # of the environment: the journal's file descriptor
Row = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """Events, a line of JSON each, in an open file that two processes share; in none, where `descriptor` is None."""

    descriptor: int | None

    @classmethod
    def inherited(cls) -> Journal:
        """Return the journal that the process above this one has opened for it, an empty one where there is none."""
        found = os.environ.pop(VARIABLE, None)
        return cls(int(found) if found else None)

    def begin(self, pair: Row, step: str) -> None:
        """Note what is done next with a pair, given by the first cells of its row."""
        self._write("step", [pair, step])

    def finish(self, row: Row) -> None:
        """Note the row of a pair that is done, or has failed."""
        self._write("row", row)

    def rows(self) -> dict[str, Row]:
        """Return the rows noted so far, by the names of their pairs."""
        return {row["pair"]: row for kind, row in self._events() if kind == "row"}

    def unfinished(self) -> tuple[Row, str] | None:
        """Return the pair that was begun and not finished, and its last step."""
        events = self._events()
        if not events or events[-1][0] != "step":
            return None
        pair, step = events[-1][1]
        return pair, step

    def _write(self, kind: str, content: Any) -> None:
        if self.descriptor is not None:
            os.write(self.descriptor, f"{json.dumps([kind, content])}\n".encode())

    def _events(self) -> list[tuple[str, Any]]:
        if self.descriptor is None:
            return []
        text = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0).decode()
        return [(kind, content) for kind, content in map(json.loads, text.splitlines())]
