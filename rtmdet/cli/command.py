"""What the parsers of all commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def as_path(text: str) -> Path:
    """A path of the command line; ~ is the user's folder."""
    return Path(text).expanduser()


def new_command(commands: argparse._SubParsersAction, name: str, text: str, module: str) -> argparse.ArgumentParser:
    """A command with its help, whose `run` is in rtmdet.cli.MODULE."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(module=f"rtmdet.cli.{module}")
    return parser
