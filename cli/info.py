"""`nephi info`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE
from .printing import Rows, by, echo, print_rows

if TYPE_CHECKING:
    from nephi import Grid
    from nephi.models import ModelSettings

POINT_SUFFIXES = (".csv", ".json", ".fcsv", ".pts")
AFFINE_SUFFIXES = (".tfm", ".txt", ".mat", ".xfm", ".h5", ".hdf5", ".lta")
ABOUT_LABELS = {
    "start": "fine-tuned from",
    "imported_from": "imported from",
    "weights_sha256": "SHA-256 of weights",
}  # rows of `nephi info` for keys of a model file
GRID_LABELS = {
    "linear": "linear interpolation",
    "quadratic": "quadratic B-splines",
    "cubic": "cubic B-splines",
}  # by `field.interpolation`
HEADER_BYTES = 1000  # enough for the header of a table of points


@click.command(short_help="Describe an image, transform, points or model file.")
@click.argument("file", type=FILE)
@click.option(
    "--settings", is_flag=True, help="Print the settings stored in a .nephi file, in the TOML format of --config."
)
def info(file: Path, settings: bool) -> None:
    """Describe FILE: an image, a transform, a table of points or a trained model.

    \b
    nephi info result/transform.nephi
    nephi info result/transform.nephi --settings > settings.toml
    """
    import nephi

    suffix = file.suffix.lower()
    if settings and suffix != ".nephi":
        raise nephi.UsageError(f"--settings: expected a .nephi file, which stores its settings, got {file}")
    if settings:
        _print_settings(file)
    elif suffix == ".nephi":
        print_rows(*_describe_nephi(file))
    elif suffix == ".safetensors":
        print_rows(*_describe_model(file))
    elif suffix in POINT_SUFFIXES or _is_text_of_points(file):
        print_rows(*_describe_points(file))
    elif suffix in AFFINE_SUFFIXES:
        print_rows(f"{file}: transform", [("type", type(nephi.read_transform(file)).__name__)])
    else:
        print_rows(*_describe_image(file))


def _print_settings(file: Path) -> None:
    import nephi

    table = nephi.results.describe_transform(file)["settings"]
    try:
        settings = nephi.settings.settings_from_table(table, str(file))
    except nephi.UsageError as error:  # of a file by another version of nephi, or a damaged one
        raise nephi.DataError(str(error)) from None
    echo(nephi.settings.settings_toml(settings).rstrip("\n"))


# Metadata in a file may be of any type: each value is shown as text.


def _describe_nephi(file: Path) -> tuple[str, Rows]:
    import nephi

    about = nephi.results.describe_transform(file)
    rows = [(name, str(about.get(name, "unknown"))) for name in ("seed", "device", "parameters")]
    rows.append(("composed of", ", ".join([*about["steps"], "affine"])))
    if about["interpolations"]:
        rows.append(("latent grids", ", ".join(GRID_LABELS[name] for name in about["interpolations"])))
    rows.append(("inverse", _describe_inverse(about)))
    if "model" in about:
        rows.append(("predicted by", f"model {about['model']}"))
        rows.append(("refined", _describe_refinement(about.get("refinement"))))
    rows += _version_rows(about)
    rows += _grid_rows("fixed", about["fixed_grid"]) + _grid_rows("moving", about["moving_grid"])
    return f"{file}: transform and its inverse ({file.stat().st_size / 1e3:.0f} kB)", rows


def _describe_inverse(about: Mapping[str, Any]) -> str:
    if about["inverse_steps"]:
        return f"solved from a predicted one, composed of {', '.join(['affine', *about['inverse_steps']])}"
    if not about["steps"]:
        return "exact"
    return "solved from that of each part" if about["has_inverse"] else "solved by Newton's method alone"


def _describe_refinement(refinement: object) -> str:
    match refinement:
        case {"steps": 0}:
            return "no"
        case {"steps": steps, "parameters": parameters, "rate": rate, "similarity": similarity}:
            return f"{steps} steps, {parameters}, learning rate {rate}, {similarity}"
        case {"steps": steps, "parameters": parameters, "rate": rate}:
            return f"{steps} steps, {parameters}, learning rate {rate}"
        case {"steps": steps, "parameters": parameters} | {"steps": steps, "what": parameters}:  # the earlier name
            return f"{steps} steps, {parameters}"
    return "unknown"


def _describe_model(file: Path) -> tuple[str, Rows]:
    import nephi

    stored = nephi.read_model(file)
    settings = stored.input
    outside = "" if settings.mask == "none" else f", voxels outside {settings.outside_mask}"
    rows = [
        ("kind", stored.settings.kind),
        *_settings_rows(stored.settings),
        ("parameters", str(sum(p.numel() for p in stored.model.parameters() if p.requires_grad))),
        ("predicts", "a transform and its inverse" if stored.model.outputs(stored.settings).inverse else "a transform"),
        ("SHA-256", f"{nephi.inference.model_digest(stored)}..."),
        ("input", f"{by(settings.shape)} voxels of {by(settings.spacing)} mm, world axes"),
        ("window", " to ".join(f"{value:g}" for value in settings.window) or "percentiles of each image"),
        ("mask", f"{settings.mask}{outside}"),
        ("centre", f"of the {settings.centre}"),
        ("extent", "of the input, in mm" if settings.extent == "fixed" else "of the image, scaled to the input"),
    ]
    rows += [
        (ABOUT_LABELS.get(name, str(name)), str(value))
        for name, value in stored.about.items()
        if isinstance(value, str | int | float) and value != ""
    ]
    title = f"{file}: {settings.dimension}-D model ({file.stat().st_size / 1e3:.0f} kB)"
    return title, rows + _version_rows(stored.about)


def _settings_rows(settings: ModelSettings) -> Rows:
    """Return the settings at the top of `[model]`, and those of its tables that differ from their defaults."""
    rows = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            default = getattr(type(settings)(), field.name)
            names = [inner.name for inner in dataclasses.fields(value)]
            changed = [name for name in names if getattr(value, name) != getattr(default, name)]
            rows += [(f"{field.name}.{name}", _setting(getattr(value, name))) for name in changed]
        else:
            rows.append((field.name, _setting(value)))
    return rows


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _describe_image(file: Path) -> tuple[str, Rows]:
    import nephi

    try:
        series = nephi.io.read_series(file)
    except nephi.DataError as image_error:
        try:
            field = nephi.read_transform(file)
        except nephi.DataError:
            raise image_error from None
        if not isinstance(field, nephi.DisplacementField):
            return f"{file}: transform", [("type", type(field).__name__)]
        largest = field.displacement.norm(dim=-1).max().item()
        rows = [("largest displacement", f"{largest:.2f} mm"), *_grid_rows("grid", field.grid)]
        return f"{file}: displacement field", rows
    rows = _grid_rows("grid", series.grid)
    first = next(iter(series))
    rows.append(("type", first.voxel_type))
    rows.append(("values", f"{first.data.min().item():g} to {first.data.max().item():g}"))
    kind = f"{series.grid.dimension}-D image" if len(series) == 1 else f"series of {len(series)} volumes"
    return f"{file}: {kind}", rows


def _is_text_of_points(file: Path) -> bool:
    """Return whether a `.txt` file holds points of elastix or DIR-Lab rather than a transform of ITK or elastix."""
    if file.suffix.lower() != ".txt" or not file.is_file():
        return False
    start = file.read_bytes()[:HEADER_BYTES].lstrip()
    return start[:6].lower() in (b"point\n", b"point\r", b"index\n", b"index\r") or start[:1].isdigit()


def _describe_points(file: Path) -> tuple[str, Rows]:
    import nephi

    is_table = file.suffix.lower() == ".csv" and file.is_file()
    if is_table and b"fixed_x" in file.read_bytes()[:HEADER_BYTES].lower():
        pairs = nephi.read_point_pairs(file, "lps")
        return f"{file}: landmark pairs", [("pairs", str(len(pairs))), ("dimension", str(pairs.fixed.dimension))]
    points = nephi.read_points(file, "lps")
    return f"{file}: points", [("points", str(len(points))), ("dimension", str(points.dimension))]


def _version_rows(about: Mapping[str, Any]) -> Rows:
    versions = about.get("versions")
    if not isinstance(versions, dict):
        return []
    return [("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]


def _grid_rows(name: str, grid: Grid) -> Rows:
    return [
        (f"{name} size", " x ".join(map(str, grid.shape))),
        (f"{name} spacing", f"{by(grid.spacing.tolist())} mm"),
        (f"{name} origin (RAS)", ", ".join(f"{o:.2f}" for o in grid.origin.tolist())),
        (f"{name} axes (RAS)", "; ".join(", ".join(f"{v:.3f}" for v in axis) for axis in grid.direction.T.tolist())),
    ]
