"""The runner of code blocks notices what it should."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from . import pages

PAGE = """\
# Title

<!-- needs: no_such_tool -->

```bash
no_such_tool
```

```python
number = 2
```

1. In a list:

    ```python
    print(f"{number * 2.01:.2f} mm")
    ```

```output
4.00 mm
```

```bash
printf 'a  b\\n'
```

```output
a b
```
"""


def write(folder: Path, text: str) -> Path:
    (folder / "page.md").write_text(text, encoding="utf-8")
    return folder / "page.md"


def test_blocks_share_a_folder_and_names(tmp_path: Path) -> None:
    assert pages.run(write(tmp_path, PAGE), tmp_path) == ["page.md, line 6 needs no_such_tool"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("number = 2", "number = 1 / 0", r"page.md, line 10: ZeroDivisionError"),
        ("4.00 mm", "5.00 mm", r"page.md, line 20: the page shows\n5.00 mm\n\nand the block prints\n4.02 mm"),
        ("4.00 mm", "4.00 cm", r"page.md, line 20"),
        ("printf 'a", "false; printf 'a", r"page.md, line 24: exit code 1"),
        ("printf 'a", "nephi info missing.nii\n: 'a", r"page.md, line 24: exit code 3"),
    ],
)
def test_what_fails_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(pages.BlockError, match=message):
        pages.run(write(tmp_path, PAGE.replace(old, new)), tmp_path)


def test_nephi_alone_runs_in_this_process(tmp_path: Path) -> None:
    text = "```bash\nnephi info \\\n    missing.nii\n```\n"
    with pytest.raises(pages.BlockError, match=r"line 2: exit code 3\nnephi info missing.nii\nnephi: error: .*missing"):
        pages.run(write(tmp_path, text), tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("0.000 mm", "0.001 mm", True),
        ("0.000 mm", "0.050 mm", False),
        ("0.00 %", "0.04 %", False),
        ("0.94 before, 0.98 after", "0.95 before, 0.97 after", True),
        ("0.94 before, 0.98 after", "0.94 before, 0.94 after", False),
        ("-812.3", "-805.1", True),
        ("-812.3", "812.3", False),
        ("300 points", "301 points", False),
        ("1e-3 s", "2e-3 s", True),
        ("1e-3 s", "1e-2 s", False),
    ],
)
def test_numbers_hold_to_their_last_decimal(tmp_path: Path, shown: str, printed: str, same: bool) -> None:
    page = write(tmp_path, f"```bash\necho '{printed}'\n```\n\n```output\n{shown}\n```\n")
    with nullcontext() if same else pytest.raises(pages.BlockError, match="the page shows"):
        pages.run(page, tmp_path)


def test_a_block_is_shortened_by_a_comment(tmp_path: Path) -> None:
    text = "<!-- short: steps = 2 -->\n\n```python\nsteps = 900  # minutes\nprint(steps)\n```\n\n```output\n2\n```\n"
    assert pages.run(write(tmp_path, text), tmp_path) == []
    with pytest.raises(pages.BlockError, match=r"line 4: expected one assignment to steps, .* got 0"):
        pages.run(write(tmp_path, text.replace("steps = 900", "rate = 900")), tmp_path)


def test_a_page_may_require_a_program(tmp_path: Path) -> None:
    text = PAGE.replace("needs: no_such_tool", "requires: no_such_tool").replace("4.00 mm", "5.00 mm")
    skipped = [f"page.md, line {line} needs no_such_tool" for line in (6, 10, 16, 24)]
    assert pages.run(write(tmp_path, text), tmp_path) == skipped
