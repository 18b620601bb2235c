"""The `python -m data_scripts` command."""

from __future__ import annotations

import sys

import click

from nephi import NephiError

from .bids import bids
from .dirlab_4dct import dirlab_4dct
from .dirlab_copd import dirlab_copd
from .download import download
from .learn2reg import learn2reg


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Convert public data sets to the layout of nephi: images, masks, labels, landmarks and an index of pairs.

    \b
    python -m data_scripts download dirlab-copd -o raw
    python -m data_scripts dirlab-copd raw/copd -o datasets/dirlab_copd
    python -m data_scripts learn2reg raw/NLST -o datasets/nlst

    Repeat a command to resume an interrupted run. docs/reference/datasets.md describes the layout.

    Exit codes: 0 done, 2 wrong usage, 3 wrong data, 130 interrupted.
    """


for command in (download, dirlab_4dct, dirlab_copd, learn2reg, bids):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; expected errors are printed in one line."""
    try:
        code = cli.main(arguments, prog_name="python -m data_scripts", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except NephiError as error:
        click.echo(f"data_scripts: error: {error}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("data_scripts: interrupted; repeat the command to resume", err=True)
        code = 130
    except OSError as error:
        click.echo(f"data_scripts: error: {error.filename or 'system'}: {error.strerror or error}", err=True)
        code = 3
    sys.exit(code or 0)
