"""Commands that look at a run's first batches, without the run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..any_checkpoint import open_pretrained, open_tuned
from ..errors import DwtError
from ..find.methods import METHODS
from ..model.names import named_matrices
from ..ticket import load_ticket
from .options import Add, ends_in, output, save


def add_commands(add: Add) -> None:
    """``oneshot forward explain``."""
    for method in METHODS.values():
        if method.needs == "batches":
            output(of_a_config(add(method.word, _find_in_batches, method.about)))

    explain = add("explain", _explain, "Why these columns? Reasons beside a ticket.")
    of_a_config(explain, required=False, batches="16")
    explain.add_argument("--ticket", required=True, help="to explain: of L1, or another")
    explain.add_argument(
        "--tuned",
        help="L1 fine-tuned checkpoint, for what it moved; its settings too, where no config "
        "is named: of any recipe",
    )
    output(explain, "folder to write index.html, report.md, report.json and figures/ into")


def of_a_config(
    command: argparse.ArgumentParser, required: bool = True, batches: str = "until the top 3 settle"
) -> argparse.ArgumentParser:
    """A command that looks at a run's first batches, without the run."""
    command.add_argument("--config-name", required=required, help="of a run, such as ticket_mrpc")
    command.add_argument("--config-dir", help="folder of that config, where it is not ours")
    command.add_argument("--batches", type=int, help=f"number of batches [{batches}]")
    command.add_argument(
        "overrides", nargs="*", metavar="SETTING", help="as for fairseq-hydra-train, task.data=…"
    )
    return command


def _find_in_batches(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    ends_in(args.output, ".json")
    with _without_info():
        from ..find.oneshot import Settling
        from ..run.first_batches import ticket_of_config

    def settling(found: Settling) -> None:
        tqdm.write(
            f"{found.batches} batches agree with half as many by {found.top1:.2f} (k = 1), "
            f"{found.top3:.2f} (k = 3)"
        )

    with _without_info():
        cfg = config_of(args)
        ticket = ticket_of_config(
            args.name, cfg, args.batches, _bar(args.name, args.batches), settling
        )
    return save(ticket, args.output)


def _bar(name: str, number: int | None) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Shows how many batches were looked at, on a terminal."""
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    return lambda batches: iter(tqdm(batches, name, number, disable=quiet, unit="batch"))


def _explain(args: argparse.Namespace) -> int:
    with _without_info():
        number = 16 if args.batches is None else args.batches
        if number < 1:
            raise DwtError(f"--batches: expected one or more, got {number}")
        cfg = _config_or_run(args)
        from ..find.explain import moved_by, reasons
        from ..recipe.first_batches import look_with_run
        from ..recipe.theta0 import file_of
        from ..run.first_batches import OURS, look_with_config

        ticket = load_ticket(args.ticket).as_columns(args.ticket)
        pretrained = open_pretrained(file_of(cfg)[0])
        ticket.check_fits(pretrained.matrices, pretrained.fingerprint, args.ticket)
        moved = None
        if args.tuned is not None:
            moved = moved_by(pretrained, open_tuned(args.tuned, pretrained))

        looks = look_with_config if cfg.task._name in OURS else look_with_run
        seen = looks(cfg, number, _bar(args.name, number))
        found = reasons(seen, moved)
        from ..report.explain import explain_document
        from ..report.page import write_report

        matrices = named_matrices({name: m.shape for name, m in seen.sizes.matrices.items()})
        document = explain_document(found, ticket, matrices)
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
    if args.config_dir is not None:
        raise DwtError(
            f"--config-dir: expected none without --config-name, got {args.config_dir}; name the "
            "config too, or leave it out"
        )
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
