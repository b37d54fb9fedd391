"""The ``fairseq-dwt`` command: tickets, deltas and runs from the command line."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable

from .. import __version__
from ..errors import DwtError
from . import deltas, huggingface, runs, tickets

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Returns the exit code: 0, 1 for a negative answer, 2 for bad input."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # of a terminal without θ
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        _check_output(args)
        code = command(args)
        sys.stdout.flush()  # here, where its failure is told
        return code
    except DwtError as error:
        return _failed(args.name, f"error: {error}")
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's
            raise
        told = f"out of the device's memory ({str(error).splitlines()[0]})"
        return _failed(args.name, f"error: {told}; use a smaller --batch-size, or --device cpu")
    except BrokenPipeError:
        # who reads our output has had enough; Python must not say so again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = error.filename or "standard output"
        told = f"{where}: {error.strerror}" if error.strerror else str(error)
        return _failed(args.name, f"error: {told}")
    except KeyboardInterrupt:
        _failed(args.name, "interrupted; unfinished files were removed")
        return 130


def _check_output(args: argparse.Namespace) -> None:
    """Refuse to write over what is read (DwtError)."""
    target = getattr(args, "output", None)
    if not target or not os.path.isfile(target):
        return
    for option, value in vars(args).items():
        for path in value if isinstance(value, list) else [value]:
            read = option != "output" and isinstance(path, str) and os.path.isfile(path)
            if read and os.path.samefile(path, target):
                raise DwtError(
                    f"--output: expected another file than the one of {option}, got {target}, "
                    "which would be lost; write elsewhere"
                )


def _failed(name: str, message: str) -> int:
    print(f"fairseq-dwt {name}: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-dwt",
        description="Dominant winning tickets of pre-trained Transformers.",
    )
    parser.add_argument("--version", action="version", version=f"fairseq_dwt {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[..., int], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        return added

    told = []
    groups = {
        "tickets": tickets,
        "checkpoints and deltas": deltas,
        "Hugging Face folders": huggingface,
        "runs": runs,
    }
    for about, group in groups.items():
        before = len(commands.choices)
        group.add_commands(add)
        told.append(f"{about}: {' '.join([*commands.choices][before:])}")
    parser.epilog = "; ".join(told)
    return parser
