"""What `nephi info` says of a model."""

from __future__ import annotations

from pathlib import Path


def model_rows(file: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return title and rows for a model file."""
    import nephi

    model = nephi.read_model(file)
    frame = model.frame
    window = " to ".join(f"{value:g}" for value in frame.window) or "by percentiles of each image"
    rows = [
        ("system", model.settings.system),
        ("parameters", str(sum(p.numel() for p in model.system.parameters() if p.requires_grad))),
        ("model", nephi.inference.model_digest(model)),
        ("sees", f"{_by(frame.shape)} voxels of {_by(frame.spacing)} mm, axes of the world"),
        ("window", window),
        ("mask", f"{frame.mask}, outside {frame.outside_mask}"),
        ("centre", f"of the {frame.centre}"),
    ]
    # What a file says about itself may be anything.
    rows += [(str(name), str(value)) for name, value in model.about.items() if isinstance(value, str | int | float)]
    versions = model.about.get("versions")
    if isinstance(versions, dict):
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    return f"{file}: {frame.dimension}-D model ({file.stat().st_size / 1e3:.0f} kB)", rows


def _by(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
