"""The `nephi` command."""

from __future__ import annotations

import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from nephi import DataWarning, NephiError

from .apply import apply
from .completion import completion
from .demo import demo
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .info import info
from .jacobian import jacobian
from .points import points
from .predict import predict
from .printing import echo, echo_line
from .register import register
from .signals import Terminated, terminated_by_signals
from .train import train
from .view import view

UNFINISHED = "files that were not complete were not written"
VERSION_HELP = "Show the versions of nephi, torch and Python, and what it would compute on."


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    import nephi

    found = nephi.runtime.versions()
    parts = ", ".join(f"{name} {found[name]}" for name in ("torch", "python"))
    echo_line(f"nephi {found['nephi']} ({parts}; {nephi.runtime.device_summary()})")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help=VERSION_HELP)
def cli() -> None:
    """Deformable registration of medical images by neural deformation fields.

    \b
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --preset lung-ct
    nephi apply -t result/transform.nephi -i labels.nii.gz -r exhale.nii.gz -o warped.nii.gz --interpolation label

    A transform takes points of the fixed image to the moving image; images travel the other way.

    Exit codes: 0 done, 2 wrong usage, 3 wrong data, 4 done but not plausible (register --strict), 130 interrupted
    (Ctrl-C), 143 ended by SIGTERM, 129 by SIGHUP, 1 done but standard output could not be written. NO_COLOR=1 prints
    without colours.
    """


for command in (
    register,
    predict,
    apply,
    points,
    export,
    jacobian,
    evaluate,
    info,
    view,
    train,
    finetune,
    demo,
    completion,
):
    cli.add_command(command)


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print the text of each `DataWarning` once on standard error, as soon as it is issued."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        show_others = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, DataWarning):
                show_others(message, category, *place, **options)
            elif (text := str(message)) not in printed:
                printed.add(text)
                echo_line(f"nephi: warning: {text}", err=True)

        warnings.showwarning = show
        yield


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 wrong usage, 3 wrong data, 130 interrupted, 128 + n by signal n."""
    # Fields are evaluated in blocks too small to share: a second thread doubles the CPU time and gains little.
    # `register --threads` overrides it for the fit.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        given = sys.argv[1:] if arguments is None else arguments
        command = shlex.join(["nephi", *given])
        with terminated_by_signals(), _printed_warnings():
            code = cli.main(given, prog_name="nephi", standalone_mode=False, obj=command)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        echo(text.getvalue().rstrip("\n"), err=True)
        code = error.exit_code
    except NephiError as error:
        echo_line(f"nephi: error: {error}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo_line(f"nephi: interrupted; {UNFINISHED}", err=True)
        code = 130
    except Terminated as error:
        echo_line(f"nephi: ended by {error}; {UNFINISHED}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        code = 1
    except MemoryError:
        echo_line("nephi: error: not enough memory for these images or settings", err=True)
        code = 3
    except OSError as error:
        echo_line(f"nephi: error: {error.filename or 'system'}: {error.strerror or error}", err=True)
        code = 3
    sys.exit(code or 0)
