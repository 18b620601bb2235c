"""`nephi completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print what makes a shell complete nephi's options.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete commands, options, presets and file names of nephi.

    \b
    nephi completion bash >> ~/.bashrc
    nephi completion zsh >> ~/.zshrc
    nephi completion fish > ~/.config/fish/completions/nephi.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "one of click's own"
    click.echo(found(context.find_root().command, {}, "nephi", "_NEPHI_COMPLETE").source())
