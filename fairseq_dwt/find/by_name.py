"""From what a user names as a ticket to the ticket: a file, a published one, a built-in word."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Optional

from .. import ticket as ticket_package
from ..checkpoint import Pretrained
from ..errors import DwtError
from ..ticket.element_mask import AnyTicket, ElementMask
from ..ticket.origin import Origin
from ..ticket.ticket import Ticket
from ..version import __version__
from . import dominant

__all__ = ["PUBLISHED", "load_ticket", "open_ticket", "origin_of"]

#: What ``optimizer.ticket`` takes beside files and published names.
WORDS = ("oneshot", "bitfit", "random")
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(ticket_package.__file__)), "published")
#: The tickets that the paper prints: Table 1 (ranked) and Tables 5 to 10 (sets of three).
PUBLISHED = tuple(f"roberta.large/{task}" for task in ("mnli", "qnli", "sst-2", "qqp"))


def load_ticket(path: str) -> AnyTicket:
    """Read a ticket (``.json``), an element mask (``.safetensors``) or a published ticket (a name).

    Raises:
        DwtError: no such file or name, or not a ticket.
    """
    if not os.path.isfile(path):
        if path in PUBLISHED:
            return Ticket.load(os.path.join(_FOLDER, *path.split("/")) + ".json")
        raise DwtError(
            f"{path}: expected a ticket file, found none; give a file, or one of: "
            + ", ".join((*WORDS, *PUBLISHED))
        )
    return ElementMask.load(path) if path.endswith(".safetensors") else Ticket.load(path)


def origin_of(method: str, pretrained: Pretrained, **known: object) -> Origin:
    """The origin of a ticket of this pre-trained model."""
    return Origin(
        method=method,
        base=pretrained.fingerprint,
        base_parameters=pretrained.num_parameters,
        init=os.path.basename(pretrained.path),
        made_by=__version__,
        **known,  # type: ignore[arg-type]
    )


def open_ticket(
    source: Optional[str],
    pretrained: Pretrained,
    k: Optional[int] = None,
    seed: int = 1,
    like: Optional[str] = None,
    percent: Optional[float] = None,
) -> AnyTicket:
    """The ticket to train inside of, checked against the model.

    Args:
        source: a ticket file, one of :data:`PUBLISHED`, ``bitfit``, or ``random``.
        pretrained: the model that the run starts from.
        k: columns per matrix, at most; None takes all that the ticket has.
        seed: of a random ticket.
        like: for ``random``, a ticket whose number of columns each matrix gets.
        percent: for ``random``, the share of each matrix's elements, instead of k columns.

    Raises:
        DwtError: no ticket named, unreadable, made for another model, or k does not apply.
    """
    if source is None:
        raise DwtError(
            "optimizer.ticket: expected a ticket, got none; set optimizer.ticket=ticket.json "
            "(stage 1 writes one), or one of " + ", ".join((*WORDS, *PUBLISHED))
        )
    if source == "bitfit":
        ticket: AnyTicket = dominant.bitfit(pretrained.matrices, origin_of("bitfit", pretrained))
    elif source == "random" and percent is not None:
        if k is not None or like is not None:
            raise DwtError(
                f"optimizer.percent: elements are drawn without k and like, got k = {k}, like = "
                f"{like}; set optimizer.k=null"
            )
        origin = origin_of("random", pretrained, seed=seed)
        ticket = dominant.random_elements(pretrained.matrices, percent, seed, origin)
    elif source == "random":
        if k is None:
            raise DwtError(
                "optimizer.k: a random ticket needs k, the columns per matrix, or "
                "optimizer.percent; got none"
            )
        pattern = None if like is None else load_ticket(like)
        if isinstance(pattern, ElementMask):
            raise DwtError(f"{like}: expected a ticket of columns to imitate, got an element mask")
        origin = origin_of("random", pretrained, seed=seed)
        ticket = dominant.random_columns(pretrained.matrices, k, seed, origin, pattern)
    else:
        ticket = load_ticket(source)
    ticket.check_fits(pretrained.matrices, pretrained.fingerprint, source)
    if ticket.origin.base_parameters is None:
        origin = replace(ticket.origin, base_parameters=pretrained.num_parameters)
        ticket = replace(ticket, origin=origin)
    return ticket.top(k)
