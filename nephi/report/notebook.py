"""How a registration shows in a notebook."""

from __future__ import annotations

import numpy as np

from nephi.report.figures import combined, pictures_at
from nephi.report.rendering import rendered
from nephi.report.result import RegistrationResult
from nephi.report.sheets import grey_sheet

SIDE = 200  # pixels of the longest edge


def notebook_html(registration: RegistrationResult) -> str:
    """Return a short piece of HTML: checkerboards before and after in the middle of the grid, and a few numbers."""
    pictures = pictures_at(registration, None, SIDE)
    rows = {
        name: [
            grey_sheet(combined(p.fixed[0], other[0], "checkerboard")[np.newaxis]).uri
            for p, other in zip(pictures, others, strict=True)
        ]
        for name, others in (("before", [p.before for p in pictures]), ("after", [p.after for p in pictures]))
    }
    stages = registration.usage.stages
    return rendered(
        "notebook.html",
        fixed=registration.pair.fixed.name,
        moving=registration.pair.moving.name,
        transform=registration.settings.transform,
        steps=len(registration.history),
        seconds=sum(stage["cpu_s"] for stage in stages.values()),
        views=[p.planes.view for p in pictures],
        rows=rows,
    )
