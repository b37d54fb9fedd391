"""Commands that make tickets, and questions about them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from itertools import combinations
from typing import Any

from ..any_checkpoint import AnyTuned, open_pretrained, open_tuned
from ..checkpoint import ROUNDED, Tuned
from ..errors import DwtError
from ..find.dominant import SIGMA, Movement
from ..find.methods import METHODS
from ..ticket import AnyTicket, Ticket, load_ticket, origin_of
from .options import Add, ends_in, init, output, tuned

#: What the methods' options are on the command line.
_OPTIONS: dict[str, dict[str, Any]] = {
    "k": {"type": int, "help": "columns per matrix, at most"},
    "percent": {"type": float, "help": "per cent of each matrix's elements, instead of k columns"},
    "like": {"help": "ticket whose number of columns each matrix gets, up to k"},
    "seed": {"type": int, "default": 1, "help": "[%(default)s]"},
    "sigma": {"type": float, "default": SIGMA, "help": "threshold σ [%(default)s]"},
}


def add_commands(add: Add) -> None:
    """``extract oneshot random bitfit bottom show similarity union intersection difference``."""
    extract = add("extract", _extract, METHODS["dominant"].about)
    init(extract)
    tuned(extract, "L1 fine-tuned checkpoint")
    extract.add_argument("--sigma", **_OPTIONS["sigma"])
    extract.add_argument("--task", help="name of the task, recorded in the ticket")
    extract.add_argument("--mask", help="write the σ-mask too (.safetensors)")
    output(extract)

    for method in METHODS.values():
        if method.needs == "batches":
            output(of_a_config(add(method.word, _find_in_batches, method.about)))

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

    explain = add("explain", _explain, "Why these columns? Reasons beside a ticket.")
    of_a_config(explain, required=False)
    explain.add_argument("--ticket", required=True, help="to explain: of L1, or another")
    explain.add_argument(
        "--tuned",
        help="L1 fine-tuned checkpoint, for what it moved; its settings too, where no config "
        "is named: of any recipe",
    )
    output(explain, "folder to write index.html, report.md, report.json and figures/ into")

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


def of_a_config(command: argparse.ArgumentParser, required: bool = True) -> argparse.ArgumentParser:
    """A command that looks at a run's first batches, without the run."""
    command.add_argument("--config-name", required=required, help="of a run, such as ticket_mrpc")
    command.add_argument("--config-dir", help="folder of that config, where it is not ours")
    command.add_argument("--batches", type=int, help="number of batches [until the top 3 settle]")
    command.add_argument(
        "overrides", nargs="*", metavar="SETTING", help="as for fairseq-hydra-train, task.data=…"
    )
    return command


def _extract(args: argparse.Namespace) -> int:
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
    if args.mask:
        moved.mask(origin).save(args.mask)
    moved.ticket(origin).save(args.output)
    print(moved.told())
    _wrote(args.output)
    _say_if_rounded(checkpoint)
    return 0


def _say_if_rounded(tuned: Tuned | AnyTuned) -> None:
    if tuned.counts_rounded:
        print(f"note: {tuned.path}: {ROUNDED}", file=sys.stderr)


def _find_in_batches(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    ends_in(args.output, ".json")
    with _without_info():
        from ..find.oneshot import Settling
        from ..run.first_batches import ticket_of_config

    def show(batches: Iterator[Any]) -> Iterator[Any]:
        bar = tqdm(batches, args.name, args.batches, disable=not sys.stderr.isatty(), unit="batch")
        return iter(bar)

    def settling(found: Settling) -> None:
        tqdm.write(
            f"{found.batches} batches agree with half as many by {found.top1:.2f} (k = 1), "
            f"{found.top3:.2f} (k = 3)"
        )

    with _without_info():
        cfg = config_of(args)
        ticket = ticket_of_config(args.name, cfg, args.batches, show, settling)
    return _save(ticket, args.output)


def _explain(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    with _without_info():
        number = 16 if args.batches is None else args.batches
        if number < 1:
            raise DwtError(f"--batches: expected one or more, got {number}")
        cfg = _config_or_run(args)
        from ..find.explain import reasons
        from ..recipe.first_batches import look_with_run
        from ..recipe.theta0 import file_of
        from ..run.first_batches import OURS, look_with_config

        ticket = load_ticket(args.ticket).as_columns(args.ticket)
        pretrained = open_pretrained(file_of(cfg)[0])
        ticket.check_fits(pretrained.matrices, pretrained.fingerprint, args.ticket)
        tuned_file = None if args.tuned is None else open_tuned(args.tuned, pretrained)

        def show(batches: Iterator[Any]) -> Iterator[Any]:
            bar = tqdm(batches, args.name, number, disable=not sys.stderr.isatty(), unit="batch")
            return iter(bar)

        looks = look_with_config if cfg.task._name in OURS else look_with_run
        seen = looks(cfg, number, show)
        found = reasons(seen, tuned_file)
        from ..report.explain import explain_document
        from ..report.page import write_report

        document = explain_document(found, ticket, list(seen.sizes.matrices.values()))
        written = write_report(args.output, document)
    for path in written:
        if "figures" not in path:
            print(f"wrote {path}")
    for k, by_reason in document.data["overlaps"].items():
        for reason, one in by_reason.items():
            print(f"k = {k}  {one['per_matrix']:.2f}  chance {one['chance']:.3f}  {reason}")
    return 0


def _config_or_run(args: argparse.Namespace) -> Any:
    """The settings of a config, or those that a run keeps in its checkpoint."""
    if args.config_name is not None:
        return config_of(args)
    if args.tuned is None:
        raise DwtError(
            "explain: expected --config-name, of a GLUE task, or --tuned, a run's checkpoint with "
            "its settings, got neither"
        )
    from .. import register
    from ..recipe.first_batches import settings_of

    register()
    return settings_of(args.tuned, args.overrides)


def config_of(args: argparse.Namespace) -> Any:
    """The config of :func:`of_a_config`'s options, with the plugin registered."""
    from .. import register
    from ..run.config import compose

    # no Hydra application runs here to say where the user stands
    here = os.getcwd().replace("'", "\\'")
    register()
    return compose(args.config_name, [*args.overrides, f"task.cwd='{here}'"], args.config_dir)


@contextmanager
def _without_info() -> Iterator[None]:
    """fairseq and Hydra set up logging at import, and tell what only a run's log needs."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of how fairseq calls it
            yield
    finally:
        logging.disable(before)


def _find(args: argparse.Namespace) -> int:
    """The command of a method that has no other."""
    method = METHODS[args.name]
    assert method.find is not None
    pretrained = open_pretrained(args.init)
    files = [open_tuned(args.tuned, pretrained)] if method.needs == "theta" else []
    given = {name: getattr(args, name) for name in method.options}
    ticket = method.find(pretrained, *files, **given)
    code = _save(ticket, args.output)
    for file in files:
        _say_if_rounded(file)
    return code


def _combine(args: argparse.Namespace) -> int:
    operands = [_columns(path, args.k) for path in args.tickets]
    return _save(reduce(getattr(Ticket, args.name), operands), args.output)


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


def _save(ticket: AnyTicket, path: str) -> int:
    from ..report.structure import describe

    ends_in(path, ticket.extension)
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
    if ticket.unit == "columns":
        ticket = ticket.as_columns(args.ticket).top(args.k)
        print(structure_table(ticket, args.k))
        print()
    print(describe(ticket))
    _next(args.ticket)
    return 0
