"""The methods, a row each: what they are called, and how their ticket is found.

A new method is a function that gives a ticket, a row of :data:`METHODS`, and its configs: the row
makes its command, its word for ``optimizer.ticket``, its name and place in tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..any_checkpoint import AnyPretrained, AnyTuned
from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..ticket import AnyTicket, Ticket, load_ticket, origin_of
from .controls import bitfit, largest_weights, random_columns, random_elements, random_slice
from .dominant import SIGMA, Movement


@dataclass(frozen=True)
class Method:
    """One way to find a ticket.

    Attributes:
        word: recorded in its tickets; the command's name.
        label: in tables; of a ticket of columns followed by its k.
        about: what the command says of itself.
        needs: ``nothing`` but the pre-trained file, ``theta``, a fine-tuned checkpoint too, or
            ``batches`` of the run. All but those of ``theta`` are words that ``optimizer.ticket``
            takes.
        find: ``find(pretrained, **options)``, or ``find(pretrained, tuned, **options)`` for
            ``theta``; None where a command or task of its own does it.
        options: names of what ``find`` takes: ``k``, ``percent``, ``like``, ``seed``, ``sigma``.
        of_elements: in tables, where its ticket is of single entries.
        has_no_k: its tickets are all the same.
        has_command: whether its ticket is of use as a file.
    """

    word: str
    label: str
    about: str
    needs: str
    find: Callable[..., AnyTicket] | None = None
    options: tuple[str, ...] = ()
    of_elements: str | None = None
    has_no_k: bool = False
    has_command: bool = True


def _random(
    pretrained: Pretrained | AnyPretrained,
    k: int | None,
    percent: float | None,
    like: str | None,
    seed: int,
) -> AnyTicket:
    origin = origin_of("random", pretrained, seed=seed)
    if percent is not None:
        if k is not None or like is not None:
            raise DwtError(
                f"percent: elements are drawn without k and like, got k = {k}, like = {like}; "
                "leave those out"
            )
        return random_elements(pretrained.matrices, percent, seed, origin)
    if k is None:
        raise _without_k("random", " or percent,")
    pattern = None
    if like is not None:
        pattern = load_ticket(like).as_columns(like)
        # how many columns: a question of shapes, whatever the weights
        pattern.check_fits(pretrained.matrices, None, like)
    return random_columns(pretrained.matrices, k, seed, origin, pattern)


def _bitfit(pretrained: Pretrained | AnyPretrained) -> AnyTicket:
    return bitfit(pretrained.matrices, origin_of("bitfit", pretrained))


def _weight_norm(pretrained: Pretrained | AnyPretrained, k: int | None) -> AnyTicket:
    if k is None:
        raise _without_k("weight_norm")
    origin = origin_of("weight_norm", pretrained)
    return largest_weights(pretrained.matrices, k, pretrained.tensors, origin)


def _slice(pretrained: Pretrained | AnyPretrained, k: int | None, seed: int) -> AnyTicket:
    if k is None:
        raise _without_k("slice")
    return slice_number(pretrained, k, seed, 0)


def slice_number(pretrained: Pretrained | AnyPretrained, k: int, seed: int, number: int) -> Ticket:
    """Which columns a moving slice trains after its ``number``-th move."""
    origin = origin_of("slice", pretrained, seed=seed)
    return random_slice(pretrained.matrices, k, seed, number, origin)


def _without_k(word: str, instead: str = "") -> DwtError:
    return DwtError(
        f"k: {word} needs k, the columns per matrix,{instead} got none; set it (optimizer.k, "
        "ticket.k of a recipe, -k of a command)"
    )


def _bottom(
    pretrained: Pretrained | AnyPretrained,
    tuned: Tuned | AnyTuned,
    k: int | None,
    sigma: float | None,
) -> AnyTicket:
    if k is None:
        raise _without_k("bottom")
    moved = Movement.between(pretrained, tuned, SIGMA if sigma is None else sigma)
    moved.check_any(tuned.path)
    known = {"sigma": moved.sigma, "num_updates": tuned.num_updates}
    return moved.bottom(k, origin_of("bottom", pretrained, **known))


_ROWS = (
    Method(
        "random", "Random", "A random ticket: k columns, or a share of the elements.",
        "nothing", _random, ("k", "percent", "like", "seed"),
    ),
    Method(
        "dominant", "Dominant", "The ticket of an L1 fine-tuned checkpoint (Algorithm 1).",
        "theta", of_elements="σ-mask",
    ),
    Method(
        "oneshot", "One-shot", "A one-shot ticket: the columns with the largest gradients at θ0.",
        "batches",
    ),
    Method(
        "forward", "Forward", "A forward ticket: the columns with the largest inputs; no labels.",
        "batches",
    ),
    Method(
        "bitfit", "BitFit", "BitFit as a ticket: the bias of every matrix.", "nothing", _bitfit,
        has_no_k=True,
    ),
    Method(
        "weight_norm", "Weight-norm", "The columns with the largest weights at θ0 (a control).",
        "nothing", _weight_norm, ("k",),
    ),
    Method(
        "slice", "Slice", "Random columns, others every N updates (a control, SliceFine).",
        "nothing", _slice, ("k", "seed"), has_command=False,
    ),
    Method(
        "bottom", "Bottom", "The columns that the L1 fine-tuning held back most (a control).",
        "theta", _bottom, ("k", "sigma"),
    ),
)  # fmt: skip
#: ``{word: method}``, in the order of tables.
METHODS = {method.word: method for method in _ROWS}
#: What ``optimizer.ticket`` takes beside files and published names.
WORDS = tuple(method.word for method in _ROWS if method.needs != "theta")


def label_of(ticket: AnyTicket) -> str:
    """What tables call a run inside ``ticket``: ``Dominant-1``, ``BitFit``, ``σ-mask 0.3 %``."""
    method = METHODS.get(ticket.origin.method)
    name = ticket.origin.method if method is None else method.label
    if ticket.unit == "elements" and method is not None and method.of_elements:
        return f"{method.of_elements} {ticket.amount}"
    return name if method is not None and method.has_no_k else f"{name}-{ticket.amount}"
