"""From what a user names as a ticket to the ticket: a file, a published one, a method's word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..any_checkpoint import AnyPretrained
from ..checkpoint import Pretrained
from ..errors import DwtError
from ..ticket import PUBLISHED, AnyTicket, load_ticket
from .methods import METHODS, WORDS


def check_options(source: str | None, options: Mapping[str, Any]) -> None:
    """Refuse options (DwtError) that would say nothing of this ticket: None is not given."""
    taken = METHODS[source].options if source in METHODS else ()
    for name, value in options.items():
        if value is not None and name not in taken:
            of = ", ".join(method.word for method in METHODS.values() if name in method.options)
            raise DwtError(
                f"{name}: expected none with the ticket {source}, got {value}: it is of {of}; "
                "leave it out, or name another ticket"
            )


def open_ticket(
    source: str | None, pretrained: Pretrained | AnyPretrained, k: int | None = None, **options: Any
) -> AnyTicket:
    """The ticket to train inside of, checked against the model.

    Args:
        source: a ticket file, a published ticket's name, or the word of a method that needs nothing
            but the pre-trained file (:data:`~fairseq_dwt.find.methods.METHODS`).
        pretrained: the model that the run starts from.
        k: columns per matrix, at most; None takes all that the ticket has.
        options: of the method; those that it does not take are not looked at.

    Raises:
        DwtError: no ticket named, unreadable, made for another model, or k does not apply.
    """
    if source is None:
        raise DwtError(
            "optimizer.ticket: expected a ticket, got none; set optimizer.ticket=ticket.json "
            "(stage 1 writes one), or one of " + ", ".join((*WORDS, *PUBLISHED))
        )
    method = METHODS.get(source)
    if method is not None and method.needs == "nothing" and method.find is not None:
        given = {"k": k, **options}
        ticket = method.find(pretrained, **{name: given[name] for name in method.options})
    else:
        ticket = load_ticket(source, WORDS)
    ticket.check_fits(pretrained.matrices, pretrained.fingerprint, source)
    if ticket.origin.base_parameters is None:
        origin = replace(ticket.origin, base_parameters=pretrained.num_parameters)
        ticket = replace(ticket, origin=origin)
    return ticket.top(k)
