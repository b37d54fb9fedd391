"""Commands that make tickets, and questions about them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import contextmanager
from functools import reduce
from itertools import combinations
from typing import Any, Iterator, Optional

from ..checkpoint import ROUNDED, Pretrained, Tuned
from ..errors import DwtError
from ..find import dominant
from ..find.by_name import load_ticket, open_ticket, origin_of
from ..ticket.element_mask import AnyTicket
from ..ticket.ticket import Ticket
from .options import Add, ends_in, init, output, tuned

__all__ = ["add_commands"]


def add_commands(add: Add) -> None:
    """``extract oneshot random bitfit bottom show similarity union intersection difference``."""
    extract = add("extract", _extract, "The ticket of an L1 fine-tuned checkpoint (Algorithm 1).")
    init(extract)
    tuned(extract, "L1 fine-tuned checkpoint")
    extract.add_argument("--sigma", type=float, default=5e-5, help="threshold σ [%(default)s]")
    extract.add_argument("--task", help="name of the task, recorded in the ticket")
    extract.add_argument("--mask", help="write the σ-mask too (.safetensors)")
    output(extract)

    oneshot = add(
        "oneshot", _oneshot, "A one-shot ticket: the columns with the largest gradients at θ0."
    )
    oneshot.add_argument("--config-name", required=True, help="of a run, such as ticket_mrpc")
    oneshot.add_argument("--config-dir", help="folder of that config, where it is not ours")
    oneshot.add_argument("--batches", type=int, help="number of batches [until the top 3 settle]")
    oneshot.add_argument(
        "overrides", nargs="*", metavar="SETTING", help="as for fairseq-hydra-train, task.data=…"
    )
    output(oneshot)

    random = add("random", _random, "A random ticket: k columns, or a share of the elements.")
    init(random)
    amount = random.add_mutually_exclusive_group(required=True)
    amount.add_argument("-k", type=int, help="columns per matrix")
    amount.add_argument("--percent", type=float, help="per cent of each matrix's elements")
    random.add_argument("--like", help="ticket whose number of columns each matrix gets, up to k")
    random.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    output(random)

    bitfit = add("bitfit", _bitfit, "BitFit as a ticket: the bias of every matrix.")
    init(bitfit)
    output(bitfit)

    bottom = add(
        "bottom", _bottom, "The columns that the L1 fine-tuning held back most (a control)."
    )
    init(bottom)
    tuned(bottom, "L1 fine-tuned checkpoint")
    bottom.add_argument("-k", type=int, required=True, help="columns per matrix, at most")
    bottom.add_argument("--sigma", type=float, default=5e-5, help="threshold σ [%(default)s]")
    output(bottom)

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
    pretrained, checkpoint = Pretrained(args.init), Tuned(args.tuned)
    origin = origin_of(
        "dominant",
        pretrained,
        task=args.task,
        sigma=args.sigma,
        num_updates=checkpoint.num_updates,
    )
    moved = dominant.movement(pretrained, checkpoint)
    ticket, counts = dominant.extract(*moved, args.sigma, origin)
    total, size = sum(counts.values()), sum(m.num_parameters for m in pretrained.matrices)
    if args.mask:
        dominant.sigma_mask(*moved, args.sigma, origin).save(args.mask)
    ticket.save(args.output)
    print(f"|θ − θ0| > {args.sigma:g} for {total:,} of {size:,} weights ({total / size:.4%})")
    _wrote(args.output)
    _say_if_rounded(checkpoint)
    return 0


def _say_if_rounded(tuned: Tuned) -> None:
    if tuned.counts_rounded:
        print(f"note: {tuned.path}: {ROUNDED}", file=sys.stderr)


def _oneshot(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    ends_in(args.output, ".json")
    with _without_info():
        from .. import register
        from ..find.oneshot import Settling
        from ..run.config import compose
        from ..run.first_batches import oneshot_of_config

    def show(batches: Iterator[Any]) -> Iterator[Any]:
        bar = tqdm(batches, "oneshot", args.batches, disable=not sys.stderr.isatty(), unit="batch")
        return iter(bar)

    def settling(found: Settling) -> None:
        tqdm.write(
            f"{found.batches} batches agree with half as many by {found.top1:.2f} (k = 1), "
            f"{found.top3:.2f} (k = 3)"
        )

    # no Hydra application runs here to say where the user stands
    here = os.getcwd().replace("'", "\\'")
    overrides = [*args.overrides, f"task.cwd='{here}'"]
    with _without_info():
        register()
        cfg = compose(args.config_name, overrides, args.config_dir)
        ticket = oneshot_of_config(cfg, args.batches, show, settling)
    return _save(ticket, args.output)


@contextmanager
def _without_info() -> Iterator[None]:
    """fairseq and Hydra set up logging at import, and tell what only a run's log needs."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _random(args: argparse.Namespace) -> int:
    pretrained = Pretrained(args.init)
    if args.percent is not None and args.like:
        raise DwtError("--like: goes with -k, got --percent; leave one out")
    ticket = open_ticket("random", pretrained, args.k, args.seed, args.like, args.percent)
    return _save(ticket, args.output)


def _bitfit(args: argparse.Namespace) -> int:
    return _save(open_ticket("bitfit", Pretrained(args.init)), args.output)


def _bottom(args: argparse.Namespace) -> int:
    pretrained, checkpoint = Pretrained(args.init), Tuned(args.tuned)
    origin = origin_of("bottom", pretrained, sigma=args.sigma, num_updates=checkpoint.num_updates)
    moved = dominant.movement(pretrained, checkpoint)
    ticket = dominant.bottom(*moved, args.k, args.sigma, origin)
    code = _save(ticket, args.output)
    _say_if_rounded(checkpoint)
    return code


def _combine(args: argparse.Namespace) -> int:
    operands = [_columns(path, args.k) for path in args.tickets]
    return _save(reduce(getattr(Ticket, args.name), operands), args.output)


def _columns(path: str, k: Optional[int]) -> Ticket:
    ticket = load_ticket(path)
    if not isinstance(ticket, Ticket):
        raise DwtError(f"{path}: expected a ticket of columns, got an element mask")
    return ticket.top(k)


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


def _save(ticket: AnyTicket, path: str) -> int:
    from ..report.structure import describe

    ends_in(path, ".json" if isinstance(ticket, Ticket) else ".safetensors")
    ticket.save(path)
    print(describe(ticket))
    _wrote(path)
    return 0


def _wrote(path: str) -> None:
    print(f"wrote {path}")
    _next(path)


def _next(path: str) -> None:
    print(f"next: fairseq-hydra-train --config-name ticket_<task> optimizer.ticket={path} …")


def _show(args: argparse.Namespace) -> int:
    from ..report.structure import describe, structure_table

    ticket = load_ticket(args.ticket)
    if isinstance(ticket, Ticket):
        ticket = ticket.top(args.k)
        print(structure_table(ticket, args.k))
        print()
    print(describe(ticket))
    _next(args.ticket)
    return 0
