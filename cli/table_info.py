"""`nephi info` on data sets, tables of pairs, settings and names of labels."""

from __future__ import annotations

from pathlib import Path

from .printing import Rows

LISTED = 20  # names of labels


def describe_dataset(path: Path) -> tuple[str, Rows]:
    """Return a title and rows of the index of a data set, or of its folder."""
    import nephi

    index = nephi.datasets.read_dataset_index(path)
    subjects = {image.subject for image in index.images}
    counts = {part: sum(getattr(image, part) is not None for image in index.images) for part in ("mask", "labels")}
    rows = [("name", index.name), ("dimension", str(index.dimension)), ("subjects", str(len(subjects)))]
    rows += [("images", str(len(index.images))), ("with a mask", str(counts["mask"]))]
    rows.append(("with labels", str(counts["labels"])))
    rows += [
        (f"split {name}", f"{len(split.subjects)} subjects, {len(index.pairs(name))} pairs")
        for name, split in index.splits.items()
    ]
    rows += [(name, text) for name, text in vars(index.source).items() if text]
    return f"{path}: data set", rows


def describe_pairs(file: Path) -> tuple[str, Rows]:
    """Return a title and rows of a table of pairs, the input of `nephi predict`."""
    import nephi

    pairs = nephi.datasets.read_pairs(file)
    rows = [("pairs", str(len(pairs)))]
    parts = {"masks": "fixed_mask", "labels": "fixed_labels", "landmarks": "landmarks"}
    for title, part in parts.items():
        rows.append((f"with {title}", str(sum(getattr(pair, part) is not None for pair in pairs))))
    missing = [path for pair in pairs for path in (pair.fixed, pair.moving) if not path.exists()]
    if missing:
        rows.append(("missing images", f"{len(missing)}, the first is {missing[0]}"))
    return f"{file}: pairs of images", rows


def describe_settings(file: Path) -> tuple[str, Rows]:
    """Return a title and rows of a TOML file: settings of `nephi register`, or of `nephi train`.

    Raises `DataError` with the reason of `nephi register` if it is neither.
    """
    import nephi

    try:
        settings = nephi.read_settings(file, nephi.preset_names()[0])
    except nephi.UsageError as register_error:
        try:
            training = nephi.training.read_train_settings(file)
        except nephi.UsageError:
            raise nephi.DataError(str(register_error)) from None
        rows = [("model", training.model.kind), ("data", str(training.data.index))]
        return f"{file}: settings of nephi train", [*rows, ("steps", str(training.optimization.steps))]
    levels = [f"{level.steps} steps" for level in settings.levels]
    rows = [("affine", settings.affine.kind), ("similarity", settings.objective.similarity)]
    return f"{file}: settings of nephi register", [*rows, ("levels", ", ".join(levels) or "none")]


def describe_run(folder: Path, config: str) -> tuple[str, Rows]:
    """Return a title and rows of the folder of a training: its settings and its models."""
    models = [path.name for path in sorted(folder.glob("*.safetensors"))]
    return f"{folder}: run of nephi train", [*describe_settings(folder / config)[1], ("files", ", ".join(models))]


def describe_label_names(file: Path) -> tuple[str, Rows]:
    """Return a title and rows of a file of names of labels."""
    import nephi

    names = nephi.io.read_label_names(file)
    rows = [("labels", str(len(names))), *((str(label), name) for label, name in list(names.items())[:LISTED])]
    if len(names) > LISTED:
        rows.append(("...", f"{len(names) - LISTED} more"))
    return f"{file}: names of labels", rows
