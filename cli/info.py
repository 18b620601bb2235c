"""`nephi info`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE
from .printing import Rows, by, echo, print_rows
from .result_info import TRANSFORM, describe_report, describe_result_folder, describe_summary, is_result_folder
from .table_info import describe_dataset, describe_label_names, describe_pairs, describe_run, describe_settings

if TYPE_CHECKING:
    from nephi import Grid
    from nephi.models import ModelSettings

DATASET, RUN = "dataset.json", "config.toml"  # in the folder of a data set, of a training
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
LABEL_SUFFIXES = (".ctbl", ".label")
MEASURES = frozenset({"affine_matrix_ras", "tre_mm", "dice", "regularity", "inverse_consistency_mm"})
ORIGIN = ("patient", "date", "modality", "description")  # rows of DICOM, keys of `Origin.table`


@click.command(short_help="Describe any file or folder that nephi reads or writes.")
@click.argument("file", type=FILE)
@click.option(
    "--settings",
    is_flag=True,
    help="Print the settings stored in a .nephi file or a folder of results, in the TOML format of --config.",
)
def info(file: Path, settings: bool) -> None:
    """Describe FILE: an image, a transform, points, a model, or a folder of results or of a DICOM series.

    Also landmark pairs, reports (report.json, nephi evaluate --json), tables of pairs and their summary.csv, data sets,
    settings, and names of labels.

    \b
    nephi info result
    nephi info dicom_folder
    nephi info result/transform.nephi
    nephi info result/transform.nephi --settings > settings.toml
    """
    import nephi

    if settings:
        stored = file / TRANSFORM if file.is_dir() else file
        if stored.suffix.lower() != ".nephi":
            raise nephi.UsageError(f"--settings: expected a .nephi file, which stores its settings, got {file}")
        _print_settings(stored)
        return
    print_rows(*_describe(file))


def _describe(file: Path) -> tuple[str, Rows]:
    """Return the title and the rows of a file or folder of any kind, by its suffix and contents."""
    import nephi

    match file.suffix.lower():
        case _ if file.is_dir():
            if is_result_folder(file):
                return describe_result_folder(file)
            if (file / TRANSFORM).is_file():  # saved without a report
                return _describe_nephi(file / TRANSFORM)
            if (file / RUN).is_file():
                return describe_run(file, RUN)
            return describe_dataset(file) if (file / DATASET).is_file() else _describe_image(file)
        case ".nephi":
            return _describe_nephi(file)
        case ".safetensors":
            return _describe_model(file)
        case ".toml":
            return describe_settings(file)
        case ".json" if keys := nephi.io.json_keys(file) & {*MEASURES, "splits"}:
            return describe_dataset(file) if "splits" in keys else describe_report(file)
        case ".csv" if columns := _columns(file) & {"fixed", "moving", "pair"}:
            return describe_summary(file) if "pair" in columns else describe_pairs(file)
        case suffix if suffix in LABEL_SUFFIXES or (suffix == ".txt" and _has_label_names(file)):
            return describe_label_names(file)
        case suffix if suffix in POINT_SUFFIXES or _is_text_of_points(file):
            return _describe_points(file)
        case suffix if suffix in AFFINE_SUFFIXES:
            return f"{file}: transform", [("type", type(nephi.read_transform(file)).__name__)]
    return _describe_image(file)


def _columns(file: Path) -> set[str]:
    """Return the names of the columns of a table; none of a file that does not exist."""
    import nephi

    if not file.is_file():
        return set()
    with open(file, "rb") as stream:
        header = stream.read(HEADER_BYTES).decode("utf-8-sig", "replace").split("\n")[0]
    delimiter = nephi.io.delimiter_of(header, ["fixed", "moving"])
    return {name.strip().strip('"').lower() for name in header.split(delimiter)}


def _has_label_names(file: Path) -> bool:
    import nephi

    try:
        return bool(nephi.io.read_label_names(file))
    except nephi.DataError:
        return False


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
    if first.origin is not None:  # DICOM
        facts = first.origin.table()
        rows = [(name, facts[name]) for name in ORIGIN if name in facts] + rows
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

    if nephi.io.has_point_pairs(file):
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
