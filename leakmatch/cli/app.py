"""The command line: registers one module per verb, and turns errors into a sentence and an exit code."""

from __future__ import annotations

import typer

app = typer.Typer(name="leakmatch", no_args_is_help=True, rich_markup_mode=None)


def main() -> None:
    """Entry point of the ``leakmatch`` command."""
    app()
