"""Options that several commands have."""

from __future__ import annotations

import argparse
from typing import Callable

from ..errors import DwtError

__all__ = ["Add", "ends_in", "init", "output", "tuned"]

#: Adds a subcommand: its name, its function, a sentence about it.
Add = Callable[..., argparse.ArgumentParser]


def init(parser: argparse.ArgumentParser) -> None:
    """``--init``."""
    parser.add_argument("--init", required=True, help="pre-trained checkpoint (model.pt)")


def tuned(parser: argparse.ArgumentParser, what: str = "fine-tuned checkpoint") -> None:
    """``--tuned``."""
    parser.add_argument("--tuned", required=True, help=what)


def output(parser: argparse.ArgumentParser, what: str = "file to write") -> None:
    """``--output``."""
    parser.add_argument("-o", "--output", required=True, help=what)


def ends_in(path: str, extension: str) -> None:
    """Refuse an ``--output`` of another kind than what is written.

    Raises:
        DwtError: ``path`` ends otherwise.
    """
    if not path.endswith(extension):
        raise DwtError(f"--output: expected a file name that ends in {extension}, got {path}")
