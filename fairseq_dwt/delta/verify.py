"""Is everything outside a ticket still bit for bit the pre-trained model?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..any_checkpoint import AnyPretrained, AnyTuned, open_tuned
from ..checkpoint import Pretrained, Tuned
from ..model.names import is_head, is_layer, stack_of
from ..ticket import AnyTicket


@dataclass(frozen=True)
class Moved:
    """A tensor with entries that changed although the ticket does not train them.

    Attributes:
        name: canonical name.
        entries: how many changed; -1 where one of the two lacks the tensor or has another shape.
    """

    name: str
    entries: int


def moved_outside(
    pretrained: Pretrained | AnyPretrained, tuned: str | Tuned | AnyTuned, ticket: AnyTicket
) -> list[Moved]:
    """Compare a fine-tuned checkpoint with its base, bit for bit, outside the ticket.

    θ0 is cast to the dtype that θ was trained in first, as fairseq does when it loads θ0.
    Heads are left out, and of other models than a RoBERTa the stacks that the fine-tuned one does
    not have.

    Args:
        pretrained: the base.
        tuned: the fine-tuned checkpoint, or its path.
        ticket: what was allowed to move.

    Raises:
        DwtError: the checkpoint cannot be read.
    """
    tuned = open_tuned(tuned, pretrained) if isinstance(tuned, str) else tuned
    # a base without a language-model head leaves the model its own, which nothing trains
    state = {**tuned.tensors, **(tuned.lm_head if pretrained.lm_head else {})}
    allowed = ticket.parts(pretrained.matrices)
    moved = []
    compared = {**pretrained.tensors, **pretrained.lm_head}
    stacks = {stack_of(name) for name in state if is_layer(name)}
    for name, init in compared.items():
        now = state.get(name)
        if isinstance(tuned, AnyTuned):
            if now is None and not (is_layer(name) and stack_of(name) in stacks):
                continue
            if now is not None and now.dim() and now.shape[1:] == init.shape[1:]:
                init = init[: len(now)]  # words that the task's dictionary lacks
        if now is None or now.shape != init.shape:
            moved.append(Moved(name, -1))
            continue
        changed = _bits(now) != _bits(init.to(now.dtype))
        if name in allowed:
            part = allowed[name]
            part.write(changed, torch.zeros(part.values_shape))
        if changed.any():
            moved.append(Moved(name, int(changed.sum())))
    more = [n for n in state if n not in compared and not is_head(n) and not n.endswith(".version")]
    return moved + [Moved(name, -1) for name in dict.fromkeys([*more, *tuned.strange])]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    # as integers: 0.0 and -0.0 differ, and nan equals itself
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(integers)
