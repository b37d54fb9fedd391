"""Options that several commands have."""

from __future__ import annotations

import argparse
from typing import Callable

__all__ = ["Add", "init", "output", "tuned"]

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
