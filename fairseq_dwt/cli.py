"""The ``fairseq-dwt`` command: tickets from checkpoints, and questions about them."""

from __future__ import annotations

import argparse
import sys
from typing import Callable, List, Optional

from . import extraction
from .checkpoint import Pretrained, load_checkpoint, tuned_tensors
from .element_mask import AnyTicket
from .errors import DwtError
from .sources import load_ticket, open_ticket, origin_of
from .version import __version__

__all__ = ["main"]


def main(argv: Optional[List[str]] = None) -> int:
    """Run one subcommand. Returns the exit code: 0, 1 for a negative answer, 2 for bad input."""
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        return command(args)
    except DwtError as error:
        print(f"fairseq-dwt {args.name}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"fairseq-dwt {args.name}: error: {error.filename}: {error.strerror}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print(f"fairseq-dwt {args.name}: interrupted; nothing was written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-dwt", description="Dominant winning tickets of pre-trained RoBERTas."
    )
    parser.add_argument("--version", action="version", version=f"fairseq_dwt {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[..., int], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        return added

    extract = add("extract", _extract, "The ticket of an L1 fine-tuned checkpoint (Algorithm 1).")
    _init(extract)
    extract.add_argument("--tuned", required=True, help="L1 fine-tuned checkpoint")
    extract.add_argument("--sigma", type=float, default=5e-5, help="threshold σ [%(default)s]")
    extract.add_argument("--task", help="name of the task, recorded in the ticket")
    extract.add_argument("--mask", help="write the σ-mask too (.safetensors)")
    _output(extract)

    random = add("random", _random, "A random ticket: k columns, or a share of the elements.")
    _init(random)
    amount = random.add_mutually_exclusive_group(required=True)
    amount.add_argument("-k", type=int, help="columns per matrix")
    amount.add_argument("--percent", type=float, help="per cent of each matrix's elements")
    random.add_argument("--like", help="ticket whose number of columns each matrix gets, up to k")
    random.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    _output(random)

    bitfit = add("bitfit", _bitfit, "BitFit as a ticket: the bias of every matrix.")
    _init(bitfit)
    _output(bitfit)

    show = add("show", _show, "Print a ticket's structure (the paper's Table 1).")
    show.add_argument("ticket", help="ticket file")
    show.add_argument("-k", type=int, default=3, help="columns per matrix [%(default)s]")

    verify = add("verify", _verify, "Is everything outside the ticket bit-identical to the base?")
    _init(verify)
    verify.add_argument("--tuned", required=True, help="fine-tuned checkpoint")
    verify.add_argument("--ticket", required=True, help="ticket that it was trained in")
    verify.add_argument("-k", type=int, help="columns per matrix that were trained [all]")

    report = add("report", _report, "Tables and figures of some runs.")
    report.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folder of one run or of many")
    report.add_argument("-o", "--output", required=True, help="folder to write index.html into")
    return parser


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--init", required=True, help="pre-trained checkpoint (model.pt)")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, help="file to write")


def _extract(args: argparse.Namespace) -> int:
    pretrained = Pretrained(args.init)
    history = load_checkpoint(args.tuned).get("optimizer_history") or [{}]
    init = extraction.tensors_of(pretrained.tensors, pretrained.path)
    tuned = extraction.tensors_of(tuned_tensors(args.tuned), args.tuned)
    updates = history[-1].get("num_updates")
    origin = origin_of(
        "dominant", pretrained, task=args.task, sigma=args.sigma, num_updates=updates
    )
    matrices = pretrained.matrices
    ticket, counts = extraction.extract(matrices, init, tuned, args.sigma, origin)
    total, size = sum(counts.values()), sum(m.num_parameters for m in matrices)
    if args.mask:
        extraction.sigma_mask(matrices, init, tuned, args.sigma, origin).save(args.mask)
    ticket.save(args.output)
    print(f"|θ − θ0| > {args.sigma:g} for {total:,} of {size:,} weights ({total / size:.4%})")
    print(f"wrote {args.output}")
    return 0


def _random(args: argparse.Namespace) -> int:
    pretrained = Pretrained(args.init)
    if args.percent is not None:
        if args.like:
            raise DwtError("--like: goes with -k, got --percent; leave one out")
        origin = origin_of("random", pretrained, seed=args.seed)
        mask = extraction.random_elements(pretrained.matrices, args.percent, args.seed, origin)
        return _save(mask, args.output)
    return _save(open_ticket("random", pretrained, args.k, args.seed, args.like), args.output)


def _bitfit(args: argparse.Namespace) -> int:
    return _save(open_ticket("bitfit", Pretrained(args.init)), args.output)


def _save(ticket: AnyTicket, path: str) -> int:
    from .report.structure import describe
    from .ticket import Ticket

    extension = ".json" if isinstance(ticket, Ticket) else ".safetensors"
    if not path.endswith(extension):
        raise DwtError(f"--output: expected a file name that ends in {extension}, got {path}")
    ticket.save(path)
    print(describe(ticket))
    print(f"wrote {path}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from .report.structure import describe, structure_table
    from .ticket import Ticket

    ticket = load_ticket(args.ticket)
    if isinstance(ticket, Ticket):
        ticket = ticket.top(args.k)
        print(structure_table(ticket, args.k))
        print()
    print(describe(ticket))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from .verify import moved_outside

    pretrained = Pretrained(args.init)
    ticket = load_ticket(args.ticket).top(args.k)
    ticket.check_fits(pretrained.matrices, pretrained.fingerprint, args.ticket)
    moved = moved_outside(pretrained, args.tuned, ticket)
    for tensor in moved:
        what = (
            "missing or of another shape" if tensor.entries < 0 else f"{tensor.entries:,} entries"
        )
        print(f"{tensor.name}: {what}")
    if moved:
        print(f"{args.tuned}: {len(moved)} tensors differ from {args.init} outside the ticket")
        return 1
    print(f"{args.tuned}: bit-identical to {args.init} outside the ticket")
    return 0


def _report(args: argparse.Namespace) -> int:
    import os

    from .report.page import write_page
    from .report.runs import find_runs
    from .report.scores import score_table, table_text

    runs = find_runs(args.runs)
    rows = score_table(runs)
    if rows:
        print(table_text(rows))
    path = os.path.join(args.output, "index.html")
    write_page(path, runs, rows)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
