"""`nephi info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .info_model import model_rows
from .options import FILE
from .printing import echo
from .tables import print_rows

if TYPE_CHECKING:
    from nephi import Grid

Rows = list[tuple[str, str]]
POINT_SUFFIXES = (".csv", ".json", ".fcsv", ".pts")
AFFINE_SUFFIXES = (".tfm", ".txt", ".mat", ".xfm", ".h5", ".hdf5", ".lta")


@click.command(short_help="Say what a file is.")
@click.argument("file", type=FILE)
@click.option("--settings", is_flag=True, help="Print the settings a .nephi file was made with, as TOML for --config.")
def info(file: Path, settings: bool) -> None:
    """Say what FILE is: an image, a transform, a table of points, a trained model.

    \b
    nephi info result/transform.nephi
    nephi info result/transform.nephi --settings > again.toml
    """
    import nephi

    if file.suffix.lower() == ".nephi":
        about = nephi.results.describe_transform(file)
        if settings:
            try:
                echo(
                    nephi.settings.settings_toml(
                        nephi.settings.settings_from_table(about["settings"], str(file))
                    ).rstrip("\n")
                )
            except nephi.UsageError as error:  # not the user's doing: another version of nephi, or a damaged file
                raise nephi.DataError(str(error)) from None
            return
        # What a file says about itself may be anything.
        rows = [(name, str(about.get(name, "not told"))) for name in ("seed", "device", "threads", "parameters")]
        rows.append(("made of", ", then ".join([*about["steps"], "an affine part"])))
        if "model" in about:
            rows.append(("predicted by", f"model {about['model']}"))
            rows.append(("refined", _told(about.get("refinement"))))
        versions = about.get("versions")
        if isinstance(versions, dict):
            rows.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
        rows += _grid_rows("fixed", about["fixed_grid"]) + _grid_rows("moving", about["moving_grid"])
        print_rows(f"{file}: transform and its inverse ({file.stat().st_size / 1e3:.0f} kB)", rows)
        return
    if settings:
        raise nephi.UsageError("--settings: only .nephi files hold settings")
    if file.suffix.lower() == ".safetensors":
        print_rows(*model_rows(file))
    elif file.suffix.lower() in POINT_SUFFIXES or _is_text_of_points(file):
        print_rows(*_points(file))
    elif file.suffix.lower() in AFFINE_SUFFIXES:
        print_rows(f"{file}: transform", [("kind", type(nephi.read_transform(file)).__name__)])
    else:
        print_rows(*_image(file))


def _told(refinement: object) -> str:
    """Return how a prediction was refined, in words; the file may say anything."""
    match refinement:
        case {"steps": 0}:
            return "no"
        case {"steps": steps, "what": what}:
            return f"{steps} steps, {what}"
    return "not told"


def _image(file: Path) -> tuple[str, Rows]:
    import nephi

    try:
        series = nephi.io.read_series(file)
    except nephi.DataError as scalar:
        try:
            field = nephi.read_transform(file)
        except nephi.DataError:
            raise scalar from None
        if not isinstance(field, nephi.DisplacementField):
            return f"{file}: transform", [("kind", type(field).__name__)]
        longest = field.displacement.norm(dim=-1).max().item()
        return f"{file}: displacement field", [("longest", f"{longest:.2f} mm"), *_grid_rows("grid", field.grid)]
    rows = _grid_rows("grid", series.grid)
    first = next(iter(series))
    rows.append(("type", first.voxel_type))
    rows.append(("values", f"{first.data.min().item():g} to {first.data.max().item():g}"))
    kind = f"{series.grid.dimension}-D image" if len(series) == 1 else f"series of {len(series)} volumes"
    return f"{file}: {kind}", rows


def _is_text_of_points(file: Path) -> bool:
    """Tell whether a `.txt` file is no transform of ITK or elastix: then it holds points of elastix, or voxels."""
    if file.suffix.lower() != ".txt" or not file.is_file():
        return False
    begun = file.read_bytes()[:1000].lstrip()
    return begun[:6].lower() in (b"point\n", b"point\r", b"index\n", b"index\r") or begun[:1].isdigit()


def _points(file: Path) -> tuple[str, Rows]:
    import nephi

    table = file.suffix.lower() == ".csv" and file.is_file()
    if table and b"fixed_x" in file.read_bytes()[:1000].lower():  # the header
        pairs = nephi.read_point_pairs(file, "lps")
        return f"{file}: landmark pairs", [("pairs", str(len(pairs))), ("dimension", str(pairs.fixed.dimension))]
    points = nephi.read_points(file, "lps")
    return f"{file}: points", [("points", str(len(points))), ("dimension", str(points.dimension))]


def _grid_rows(name: str, grid: Grid) -> Rows:
    spacing = " x ".join(f"{s:.4g}" for s in grid.spacing.tolist())
    return [
        (f"{name} size", " x ".join(map(str, grid.shape))),
        (f"{name} spacing", f"{spacing} mm"),
        (f"{name} origin (RAS)", ", ".join(f"{o:.2f}" for o in grid.origin.tolist())),
        (f"{name} axes (RAS)", "; ".join(", ".join(f"{v:.3f}" for v in axis) for axis in grid.direction.T.tolist())),
    ]
