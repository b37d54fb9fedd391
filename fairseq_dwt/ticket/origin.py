"""Where a ticket comes from, and whether a model is the one that it was made for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DwtError
from ..model.names import Matrix
from ..version import __version__

if TYPE_CHECKING:
    from ..any_checkpoint import AnyPretrained
    from ..checkpoint import Pretrained


@dataclass(frozen=True)
class Origin:
    """Where a ticket comes from. All fields but ``method`` may be unknown (None).

    Attributes:
        method: ``dominant``, ``oneshot``, ``random``, ``bitfit``, ….
        base: fingerprint of the pre-trained model (:attr:`Pretrained.fingerprint`).
        base_parameters: all parameters of that model: the denominator of the sparsity.
        init: path of the pre-trained file, for people; the fingerprint is what counts.
        task: the task of the L1 fine-tuning, or of the one-shot ticket's batches.
        sigma: threshold σ on \\|Δ\\|.
        l1_lambda: λ, weight of the L1 distance.
        num_updates: updates of the L1 fine-tuning when the columns were counted.
        num_batches: batches that a one-shot ticket was found from.
        seed: seed of a random ticket, or of a one-shot ticket's head and batches.
        made_by: the fairseq_dwt version that made it, or the publication.
    """

    method: str
    base: str | None = None
    base_parameters: int | None = None
    init: str | None = None
    task: str | None = None
    sigma: float | None = None
    l1_lambda: float | None = None
    num_updates: int | None = None
    num_batches: int | None = None
    seed: int | None = None
    made_by: str | None = None


def origin_of(method: str, pretrained: Pretrained | AnyPretrained, **known: Any) -> Origin:
    """The origin of a ticket of this pre-trained model."""
    return Origin(
        method=method,
        base=pretrained.fingerprint,
        base_parameters=pretrained.num_parameters,
        init=os.path.basename(pretrained.path),
        made_by=__version__,
        **known,
    )


def check_shapes(
    shapes: Mapping[str, tuple[int, int]], matrices: Sequence[Matrix], where: str
) -> None:
    """Refuse ``{matrix name: shape}`` that the model's matrices do not have (DwtError)."""
    known = {m.name: m for m in matrices}
    for name, shape in shapes.items():
        if name not in known:
            raise DwtError(
                f"{where}: has matrix {name}, which the model lacks; the ticket was made for "
                "another model: extract one from this model"
            )
        if tuple(shape) != known[name].shape:
            raise DwtError(
                f"{where}: matrix {name}: expected shape {known[name].shape} as in the model, got "
                f"{tuple(shape)}; the ticket was made for another model: extract one from this one"
            )


def check_base(made_for: str | None, base: str | None, init: str | None, where: str) -> None:
    """Refuse a ticket whose pre-trained fingerprint is known and another one (DwtError)."""
    if made_for is not None and base is not None and made_for != base:
        raise DwtError(
            f"{where}: was made for the pre-trained model {made_for[:12]}… ({init or 'no path'}), "
            f"got {base[:12]}…; use that model or extract a ticket from this one"
        )


_ORIGIN_TYPES: dict[str, tuple[type, ...]] = {
    "method": (str,),
    "base": (str,),
    "base_parameters": (int,),
    "init": (str,),
    "task": (str,),
    "sigma": (int, float),
    "l1_lambda": (int, float),
    "num_updates": (int,),
    "num_batches": (int,),
    "seed": (int,),
    "made_by": (str,),
}


def check_origin(where: str, origin: Mapping[str, Any]) -> None:
    """Refuse fields of a file that are no origin (DwtError); ``where`` names the file."""
    if "method" not in origin:
        raise DwtError(f'{where}: expected "method", found none')
    for key, value in origin.items():
        if not isinstance(value, _ORIGIN_TYPES[key]) or isinstance(value, bool):
            raise DwtError(f'{where}: "{key}": got {value!r}, not of the expected type')
