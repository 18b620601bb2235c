"""Imports between the rooms of nephi point downwards, without cycles; heavy or optional packages stay in their room.

cli/ and data_scripts/ use the public API: the names of nephi/__init__.pyi, and the `__all__` of the rooms listed in
it; never a module inside a room. Nothing of nephi imports data_scripts/, which is not part of it.

The sources are read, not imported. Imports inside functions and under `if TYPE_CHECKING:` count as well, except that
heavy packages may be imported there.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Lowest first. A room may import itself and the rooms of lower levels, not its neighbours on the same level.
# "api" is nephi/__init__.py and every module directly in nephi/ that is not a room of its own.
LEVELS = (
    {"errors"},
    {"argument_types", "documents", "tables", "cores"},
    {"kernels"},
    {"runtime", "ordered_map"},
    {"geometry"},
    {"transforms", "images"},
    {"fields", "sampling", "io"},
    {"losses", "metrics", "phantoms"},
    {"settings"},
    {"preparation", "objective"},
    {"report"},
    {"results"},
    {"optimize"},
    {"models", "datasets"},
    {"training", "inference"},
    {"pipelines", "comparison"},
    {"api"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# Third-party packages that only these rooms may import.
OWNER = {
    "SimpleITK": ("images", "io"),
    "nibabel": ("images",),
    "ants": ("images",),
    "pydicom": ("io",),
    "h5py": ("io",),
    "tinycudann": ("fields",),
    "click": ("cli",),
    "rich": ("cli",),
    "PIL": ("images", "io", "report"),
    "jinja2": ("report",),
    "matplotlib": ("report",),
}

# Slow to import, therefore only inside functions.
HEAVY = {"PIL", "SimpleITK", "ants", "h5py", "jinja2", "matplotlib", "nibabel", "pydicom", "scipy"}


class Import(NamedTuple):
    """`import module` (then name == module) or `from module import ...` (then name == module.something)."""

    module: str
    name: str
    line: int
    on_load: bool

    @property
    def package(self) -> str:
        return self.module.split(".")[0]


def room_of(module: str) -> str:
    """Return the room of a module of nephi, given by its dotted name."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "api"


def find_imports(node: ast.AST, package: list[str], on_load: bool = True) -> Iterator[Import]:
    """Yield every import of a syntax tree; `package` is the base of relative imports."""
    match node:
        case ast.Import():
            yield from (Import(alias.name, alias.name, node.lineno, on_load) for alias in node.names)
        case ast.ImportFrom():
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (Import(module, f"{module}.{a.name}", node.lineno, on_load) for a in node.names)
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for child in node.body:
                yield from find_imports(child, package, on_load=False)
            for child in node.orelse:
                yield from find_imports(child, package, on_load)
        case _:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.iter_child_nodes(node):
                yield from find_imports(child, package, on_load and not inside)


@cache
def public_names(room: str = "") -> frozenset[str]:
    """Return the names in the stub of nephi, or of a room: its `__all__`, or functions and classes of a single file."""
    if not room:
        tree = ast.parse((ROOT / "nephi" / "__init__.pyi").read_text(encoding="utf-8"))
        return frozenset(alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)
    file = ROOT / "nephi" / room / "__init__.py"
    tree = ast.parse((file if file.exists() else ROOT / "nephi" / f"{room}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))


def is_public(name: str) -> bool:
    """Return whether `nephi.NAME` or `nephi.ROOM.NAME` belongs to the public API."""
    match name.split(".")[1:]:
        case []:
            return True
        case [first]:
            return first in public_names()
        case [room, second] if room in LEVEL and room in public_names():
            return second in public_names(room)
        case _:
            return False


def find_attributes(tree: ast.AST) -> Iterator[Import]:
    """Yield every `nephi.ROOM.NAME` of a syntax tree as an import."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Attribute(value=ast.Name("nephi"), attr=room), attr=name) if room in LEVEL:
                yield Import(f"nephi.{room}", f"nephi.{room}.{name}", node.lineno, on_load=False)


def violation(room: str, found: Import) -> str | None:
    """Return the rule that an import in `room` breaks, None for a valid import."""
    if found.package == "cli":
        return "the folder cli/ is installed as nephi.cli"
    if found.package == "data_scripts" and room != "data_scripts":
        return "data_scripts is not part of nephi and not installed with it"
    if found.package != "nephi":
        if room == "data_scripts" and found.package == "click":
            return None  # its own commands
        if room not in OWNER.get(found.package, (room,)):
            return f"only {' and '.join(OWNER[found.package])} imports {found.package}"
        if found.package in HEAVY and found.on_load:
            return f"{found.package} is slow to import: import it inside a function"
        return None
    imported = room_of(found.name)
    if room == imported:
        return None
    if room in ("cli", "data_scripts"):
        return None if is_public(found.name) else f"{room} uses the public API: nephi and the rooms of its stub"
    if LEVEL[imported] >= LEVEL[room]:
        return f"{room} must not import {imported}"
    return None


def imports_of(path: str, source: str) -> tuple[str, list[Import]]:
    """Return room and imports of the file at `path`, relative to the repository."""
    parts, tree = Path(path).with_suffix("").parts, ast.parse(source)
    if parts[0] == "data_scripts":
        return "data_scripts", [*find_imports(tree, list(parts[:-1])), *find_attributes(tree)]
    if parts[0] == "cli":
        return "cli", [*find_imports(tree, ["nephi", *parts[:-1]]), *find_attributes(tree)]
    return room_of(".".join(parts)), list(find_imports(tree, list(parts[:-1])))


def check(path: str, source: str) -> list[str]:
    room, imports = imports_of(path, source)
    violations = [(each, violation(room, each)) for each in imports]
    return [f"{path}:{each.line}: {each.name}: {text}" for each, text in violations if text]


def sources() -> dict[str, str]:
    files = [file for folder in ("nephi", "cli", "data_scripts") for file in sorted((ROOT / folder).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def test_no_import_points_up() -> None:
    problems = [problem for path, source in sources().items() for problem in check(path, source)]
    assert not problems, "\n".join(problems)


def module_name(path: str) -> str:
    """Return the installed dotted name of the module at `path`, relative to the repository."""
    parts = Path(path).with_suffix("").parts
    parts = ("nephi", *parts) if parts[0] == "cli" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_graph(files: dict[str, str]) -> dict[str, set[str]]:
    """Return for each module of `files` (source by path) those among them that it imports anywhere."""
    modules = {module_name(path) for path in files}
    graph = {}
    for path, source in files.items():
        imports = imports_of(path, source)[1]
        targets = {each.name if each.name in modules else each.module for each in imports}
        graph[module_name(path)] = (targets & modules) - {module_name(path)}
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a shortest cycle of imports, the first one repeated at the end; empty without cycles."""
    cycles = []
    for start in sorted(graph):
        importer = {start: ""}  # of each module reached from `start`, breadth first
        queue = [start]
        for module in queue:
            if start in graph[module]:
                chain = [start, module]
                while chain[-1] != start:
                    chain.append(importer[chain[-1]])
                cycles.append(chain[::-1])
                break
            for target in sorted(graph[module] - importer.keys()):
                importer[target] = module
                queue.append(target)
    return min(cycles, key=len, default=[])


def test_no_modules_import_each_other_in_a_cycle() -> None:
    cycle = find_cycle(module_graph(sources()))
    assert not cycle, " -> ".join(cycle)


@pytest.mark.parametrize(
    ("first", "second", "cycle"),
    [
        ("from nephi.room.b import B", "from nephi.room.a import A", "aba"),
        ("from nephi.room.b import B", "if TYPE_CHECKING:\n    from nephi.room.a import A", "aba"),
        ("from nephi.room.b import B", "def f():\n    from nephi.room.a import A", "aba"),
        ("from . import b", "from .a import A", "aba"),
        ("import nephi.room.b", "from nephi.room.c import C", "abca"),
        ("from nephi.room.b import B", "from nephi.room import A", ""),
        ("from nephi.room.b import B", "import torch", ""),
    ],
)
def test_cycles_are_detected(first: str, second: str, cycle: str) -> None:
    third = "from nephi.room.a import A" if len(cycle) == 4 else ""
    files = {f"nephi/room/{name}.py": text for name, text in zip("abc", (first, second, third), strict=True)}
    found = find_cycle(module_graph(files | {"nephi/room/__init__.py": ""}))
    assert "".join(module.removeprefix("nephi.room.") for module in found) == cycle


def test_every_folder_is_a_room() -> None:
    folders = {path.split("/")[1] for path in sources() if path.count("/") > 1 and path.startswith("nephi/")}
    assert folders, "nothing to check in nephi/"
    assert folders <= set(LEVEL)


def test_one_module_imports_tinycudann() -> None:
    users = [
        path
        for path, source in sources().items()
        if any(each.package == "tinycudann" for each in imports_of(path, source)[1])
    ]
    assert len(users) <= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nephi/geometry/grid.py", "from nephi.images import Image"),
        ("nephi/geometry/grid.py", "from nephi import images"),
        ("nephi/geometry/grid.py", "from ..images.image import Image"),
        ("nephi/geometry/__init__.py", "from .. import images"),
        ("nephi/geometry/grid.py", "import nephi.images.image as image"),
        ("nephi/geometry/grid.py", "def f():\n    from nephi.images import Image"),
        ("nephi/geometry/grid.py", "if TYPE_CHECKING:\n    from nephi.images import Image"),
        ("nephi/geometry/grid.py", "import nephi"),
        ("nephi/geometry/grid.py", "from nephi import register"),
        ("nephi/errors.py", "from nephi.geometry import Grid"),
        ("nephi/images/image.py", "from nephi.transforms import Affine"),
        ("nephi/io/nifti/image.py", "from nephi.fields import Field"),
        ("nephi/losses/icon.py", "from nephi.phantoms import lung"),
        ("nephi/report/figures.py", "from nephi.results import Registration"),
        ("nephi/pipelines/lung.py", "from nephi.cli.main import main"),
        ("cli/main.py", "from nephi.optimize import fit"),
        ("cli/main.py", "from nephi.optimize.fit import fit_fields"),
        ("cli/main.py", "from ..optimize import fit"),
        ("cli/main.py", "import nephi.optimize.fit"),
        ("cli/main.py", "import nephi\ndef f():\n    nephi.optimize.fit.fit_fields()"),
        ("cli/main.py", "from nephi import kernels"),
        ("cli/main.py", "from nephi.kernels import available"),
        ("cli/main.py", "from cli.progress import bar"),
        ("nephi/datasets/index.py", "def f():\n    from data_scripts.layout import DatasetFolder"),
        ("cli/main.py", "import data_scripts"),
        ("data_scripts/layout.py", "from nephi.io.files.atomic import write_text"),
        ("data_scripts/layout.py", "def f():\n    from nephi.geometry.grid import Grid"),
        ("data_scripts/layout.py", "from nephi import documents"),
        ("data_scripts/layout.py", "import nephi.io.files.atomic"),
        ("data_scripts/layout.py", "def f():\n    import pydicom"),
        ("data_scripts/layout.py", "from scipy import ndimage"),
        ("nephi/images/image.py", "def f():\n    import pydicom"),
        ("nephi/losses/icon.py", "from SimpleITK import Image"),
        ("nephi/losses/icon.py", "import tinycudann"),
        ("nephi/optimize/fit.py", "import click"),
        ("nephi/optimize/fit.py", "from rich.progress import track"),
        ("nephi/metrics/overlap.py", "def f():\n    import matplotlib.pyplot"),
        ("cli/main.py", "def f():\n    import jinja2"),
        ("nephi/io/nifti/image.py", "import pydicom"),
        ("nephi/io/nifti/image.py", "try:\n    import SimpleITK\nexcept ImportError:\n    pass"),
        ("nephi/images/smooth.py", "from scipy import ndimage"),
        ("nephi/images/smooth.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import scipy"),
        ("nephi/report/figures.py", "class Figure:\n    import matplotlib"),
    ],
)
def test_invalid_imports_are_detected(path: str, source: str) -> None:
    assert len(check(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nephi/geometry/grid.py", "import torch\nfrom nephi.errors import NephiError"),
        ("nephi/geometry/__init__.py", "from .grid import Grid"),
        ("nephi/geometry/grid.py", "from ..errors import NephiError\nfrom . import points"),
        (
            "nephi/fields/field.py",
            "from nephi.transforms import Transform\nfrom nephi.geometry.grid import Grid",
        ),
        ("nephi/fields/encodings/grid.py", "from ...geometry import Grid\nfrom ..field import Field"),
        ("nephi/__init__.py", "from .pipelines import lung\nfrom .optimize import register"),
        ("nephi/inference/predict.py", "from nephi.io import read_image"),
        ("nephi/pipelines/lung.py", "from nephi import report, training, optimize"),
        (
            "cli/main.py",
            "import nephi\nimport click\nfrom nephi import register\nfrom nephi.errors import NephiError",
        ),
        (
            "cli/main.py",
            "from .progress import bar\nfrom nephi.cli import progress\nfrom .. import errors, register",
        ),
        ("cli/main.py", "from nephi import io\nfrom nephi.optimize import register\nimport nephi.results"),
        ("cli/main.py", "import nephi\ndef f():\n    nephi.io.read_series()\n    nephi.runtime.versions()"),
        (
            "data_scripts/bids.py",
            "import click\nimport nephi\nfrom nephi.io import write_text\nfrom .layout import lung_mask",
        ),
        ("nephi/io/nifti/image.py", "def read():\n    import pydicom\n    import SimpleITK"),
        ("nephi/io/nifti/image.py", "if TYPE_CHECKING:\n    import pydicom"),
        ("nephi/images/smooth.py", "async def f():\n    from scipy import ndimage"),
        ("nephi/report/figures.py", "def draw():\n    import matplotlib.pyplot as plt"),
    ],
)
def test_valid_imports_are_accepted(path: str, source: str) -> None:
    assert check(path, source) == []
