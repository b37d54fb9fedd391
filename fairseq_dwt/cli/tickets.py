"""Commands that make tickets, and questions about them."""

from __future__ import annotations

import argparse
import json
import sys
from functools import reduce
from itertools import combinations
from typing import Any

from ..any_checkpoint import AnyTuned, open_pretrained, open_tuned
from ..checkpoint import ROUNDED, Tuned
from ..errors import DwtError
from ..find.dominant import SIGMA, Movement
from ..find.methods import METHODS
from ..ticket import Ticket, load_ticket, origin_of
from . import first_batches
from .options import Add, ends_in, init, output, save, say_next, tuned, wrote

#: What the methods' options are on the command line.
_OPTIONS: dict[str, dict[str, Any]] = {
    "k": {"type": int, "help": "columns per matrix, at most"},
    "percent": {"type": float, "help": "per cent of each matrix's elements, instead of k columns"},
    "like": {"help": "ticket whose number of columns each matrix gets, up to k"},
    "seed": {"type": int, "default": 1, "help": "[%(default)s]"},
    "sigma": {"type": float, "default": SIGMA, "help": "threshold σ [%(default)s]"},
}


def add_commands(add: Add) -> None:
    """``extract oneshot … random … show similarity union intersection difference``."""
    extract = add("extract", _extract, METHODS["dominant"].about)
    init(extract)
    tuned(extract, "L1 fine-tuned checkpoint")
    extract.add_argument("--sigma", **_OPTIONS["sigma"])
    extract.add_argument("--task", help="name of the task, recorded in the ticket")
    extract.add_argument("--mask", help="write the σ-mask too (.safetensors)")
    output(extract)

    first_batches.add_commands(add)

    for method in METHODS.values():
        if method.find is None or not method.has_command:
            continue
        command = add(method.word, _find, method.about)
        init(command)
        if method.needs == "theta":
            tuned(command, "L1 fine-tuned checkpoint")
        for name in method.options:
            flag = "-k" if name == "k" else f"--{name}"
            command.add_argument(flag, **_OPTIONS[name])
        output(command)

    show = add("show", _show, "Print a ticket's structure (the paper's Table 1).")
    show.add_argument("ticket", help="ticket file, or the name of a published one")
    show.add_argument("-k", type=int, default=3, help="columns per matrix [%(default)s]")

    compare = add("similarity", _similarity, "Jaccard similarity of every pair of some tickets.")
    compare.add_argument("tickets", nargs="+", metavar="TICKET", help="ticket files or names")
    compare.add_argument("-k", type=int, default=3, help="columns per matrix [%(default)s]")
    compare.add_argument("--json", action="store_true", help="print JSON, each matrix included")

    for name, about in (
        ("union", "The columns that any of some tickets has."),
        ("intersection", "The columns that all of some tickets have."),
        ("difference", "The columns of the first ticket that no other has."),
    ):
        combine = add(name, _combine, about)
        combine.add_argument("tickets", nargs="+", metavar="TICKET", help="ticket files")
        combine.add_argument("-k", type=int, help="columns per matrix of each ticket [all]")
        output(combine)


def _extract(args: argparse.Namespace) -> int:
    ends_in(args.output, ".json")
    if args.mask:
        ends_in(args.mask, ".safetensors", "--mask")
    pretrained = open_pretrained(args.init)
    checkpoint = open_tuned(args.tuned, pretrained)
    origin = origin_of(
        "dominant",
        pretrained,
        task=args.task,
        sigma=args.sigma,
        num_updates=checkpoint.num_updates,
    )
    moved = Movement.between(pretrained, checkpoint, args.sigma)
    moved.check_any(args.tuned)
    ticket, told = moved.ticket(origin), moved.told()
    if args.mask:
        moved.mask(origin).save(args.mask)
    ticket.save(args.output)
    print(told)
    wrote(args.output)
    _say_if_rounded(checkpoint)
    return 0


def _say_if_rounded(tuned: Tuned | AnyTuned) -> None:
    if tuned.counts_rounded:
        print(f"note: {tuned.path}: {ROUNDED}", file=sys.stderr)


def _find(args: argparse.Namespace) -> int:
    """The command of a method that has no other."""
    method = METHODS[args.name]
    assert method.find is not None
    pretrained = open_pretrained(args.init)
    files = [open_tuned(args.tuned, pretrained)] if method.needs == "theta" else []
    given = {name: getattr(args, name) for name in method.options}
    ticket = method.find(pretrained, *files, **given)
    code = save(ticket, args.output)
    for file in files:
        _say_if_rounded(file)
    return code


def _combine(args: argparse.Namespace) -> int:
    operands = [_columns(path, args.k) for path in args.tickets]
    return save(reduce(getattr(Ticket, args.name), operands), args.output)


def _columns(path: str, k: int | None) -> Ticket:
    return load_ticket(path).as_columns(path).top(k)


def _similarity(args: argparse.Namespace) -> int:
    from ..report.structure import similarity_table
    from ..ticket.similarity import similarity

    if len(args.tickets) < 2:
        raise DwtError(f"similarity: expected two tickets or more, got {len(args.tickets)}")
    tickets = [_columns(path, args.k) for path in args.tickets]
    pairs = {
        (args.tickets[i], args.tickets[j]): similarity(tickets[i], tickets[j])
        for i, j in combinations(range(len(tickets)), 2)
    }
    if args.json:
        print(json.dumps([{"tickets": pair, **found.summary()} for pair, found in pairs.items()]))
    else:
        print(similarity_table(pairs))
    return 0


def _show(args: argparse.Namespace) -> int:
    from ..report.structure import describe, structure_table

    ticket = load_ticket(args.ticket)
    if ticket.unit == "columns":
        ticket = ticket.as_columns(args.ticket).top(args.k)
        print(structure_table(ticket, args.k))
        print()
    print(describe(ticket))
    say_next(args.ticket)
    return 0
