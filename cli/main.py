"""The `nephi` command."""

from __future__ import annotations

if not __package__:
    raise SystemExit(
        "nephi: error: cli/ is a part of nephi and no program: install the clone (python -m pip install -e .), then "
        "run nephi, or python -m nephi"
    )

import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import get_completion_class

from nephi import DataWarning, NephiError
from nephi.errors import is_out_of_memory

from .apply import apply
from .compare_models import compare_models
from .demo import demo
from .evaluate import evaluate
from .export import export
from .import_model import import_model
from .info import info
from .jacobian import jacobian
from .points import points
from .predict import predict
from .printing import echo, echo_line
from .register import register
from .register_group import register_group
from .signals import Terminated, terminated_by_signals
from .train import finetune, train
from .view import view

UNFINISHED = "incomplete files were not written"
VERSION_HELP = "Show the versions of nephi, torch and Python and the default device, and exit."
SHELLS = ("bash", "zsh", "fish")


def _show_version(context: click.Context, _: click.Parameter, is_set: bool) -> None:
    if not is_set or context.resilient_parsing:
        return
    import nephi

    versions = nephi.runtime.versions()
    others = ", ".join(f"{name} {versions[name]}" for name in ("torch", "python"))
    echo_line(f"nephi {versions['nephi']} ({others}; {nephi.runtime.device_summary()})")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help=VERSION_HELP)
def cli() -> None:
    """Deformable registration of medical images by neural deformation fields.

    \b
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --preset lung-ct
    nephi apply -t result/transform.nephi -i labels.nii.gz -r exhale.nii.gz -o warped.nii.gz --interpolation label

    A transform maps points of the fixed image to the moving image: warped(x) = moving(transform(x)). Applied to images,
    it therefore warps the moving image onto the fixed grid.

    Exit codes: 0 success; 1 standard output could not be written; 2 wrong usage; 3 wrong data; 4 implausible images or
    result (register --strict); 129, 130, 143 terminated by SIGHUP, Ctrl-C, SIGTERM. The environment variable NO_COLOR=1
    disables colours.
    """


@click.command(short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes the shell complete nephi's commands, options, presets and file names.

    \b
    nephi completion bash >> ~/.bashrc
    nephi completion zsh >> ~/.zshrc
    nephi completion fish > ~/.config/fish/completions/nephi.fish
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None, "click supports each of SHELLS"
    click.echo(completion_class(context.find_root().command, {}, "nephi", "_NEPHI_COMPLETE").source())


for command in (
    register,
    predict,
    register_group,
    apply,
    points,
    export,
    jacobian,
    evaluate,
    info,
    view,
    train,
    finetune,
    compare_models,
    import_model,
    demo,
    completion,
):
    cli.add_command(command)


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print each `DataWarning` once on standard error, as soon as it is issued."""
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
    """Run the command line and exit: 0 success, 2 wrong usage, 3 wrong data, 130 interrupted, 128 + n by signal n."""
    # Of torch: what commands compute in it is too little for a second thread, which doubles the CPU time and saves
    # little. `register --threads` is that of the kernels.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        command_line = shlex.join(["nephi", *arguments])
        with terminated_by_signals(), _printed_warnings():
            code = cli.main(arguments, prog_name="nephi", standalone_mode=False, obj=command_line)
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
        echo_line(f"nephi: terminated by {error}; {UNFINISHED}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        code = 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        echo_line("nephi: error: not enough memory for these images and settings", err=True)
        code = 3
    except OSError as error:
        echo_line(f"nephi: error: {error.filename or 'system'}: {error.strerror or error}", err=True)
        code = 3
    sys.exit(code or 0)
