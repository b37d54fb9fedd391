"""Options that several commands have, and how they say what they wrote."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..delta.delta import DTYPES
from ..errors import DwtError
from ..ticket import AnyTicket

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


def ends_in(path: str, extension: str, option: str = "--output") -> None:
    """Refuse an ``option`` of another kind than what is written.

    Raises:
        DwtError: ``path`` ends otherwise.
    """
    if not path.endswith(extension):
        raise DwtError(f"{option}: expected a file name that ends in {extension}, got {path}")


def running(parser: argparse.ArgumentParser) -> None:
    """``--batch-size``, ``--dtype`` and ``--device`` of a model that predicts."""
    parser.add_argument("--batch-size", type=int, default=32, help="[%(default)s]")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="[%(default)s]")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … [cuda where there is one]")


def check_running(args: argparse.Namespace) -> str:
    """The device that the options of :func:`running` name.

    Raises:
        DwtError: torch cannot use it, or the batch size is none.
    """
    import torch

    if args.batch_size < 1:
        raise DwtError(f"--batch-size: expected 1 or more, got {args.batch_size}")
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise DwtError(
            f"--device: expected one that torch can use, got {device} ({reason})"
        ) from None
    return str(device)


def save(ticket: AnyTicket, path: str) -> int:
    """Write a ticket, and say what it is; 0, a command's exit code."""
    from ..report.structure import describe

    ends_in(path, ticket.extension)
    ticket.save(path)
    print(describe(ticket))
    wrote(path)
    return 0


def wrote(path: str) -> None:
    """Say that a ticket was written, and what comes next."""
    print(f"wrote {path}")
    say_next(path)


def say_next(path: str) -> None:
    """Say how to train inside a ticket."""
    print(f"next: fairseq-hydra-train --config-name ticket_<task> optimizer.ticket={path} …")
