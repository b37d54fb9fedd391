"""Deltas attached to a loaded model and detached again, the base bit for bit as it was.

What a delta overwrites is kept and put back as it was, not subtracted: no cycle of attaching and
detaching can drift. Both cost time and memory proportional to the delta, not to the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checkpoint import fingerprint
from ..delta.delta import Delta
from ..errors import DwtError
from ..model.anatomy import add_head, heads_in, parameter_shapes, remove_head, ticket_layers
from ..model.names import is_head
from ..model.roberta import canonical_name, model_tensors


class DeltaHost:
    """A loaded RoBERTa whose weights are the base's, and the deltas attached to it.

    >>> host = DeltaHost(model)  # doctest: +SKIP
    >>> host.attach("rte", Delta.load("rte.delta.safetensors"))  # doctest: +SKIP
    >>> logits, _ = model(  # doctest: +SKIP
    ...     tokens, features_only=True, classification_head_name="rte"
    ... )
    >>> host.detach("rte")  # doctest: +SKIP

    Args:
        model: a fairseq RoBERTa that holds the pre-trained weights, on any device.
        base: fingerprint of those weights (:attr:`Pretrained.fingerprint`); computed from the model
            if not given, which takes as long as reading it. A model that was loaded in another
            precision than its file's needs the file's.
    """

    def __init__(self, model: nn.Module, base: str | None = None):
        self.model = model
        self.base = base_fingerprint(model) if base is None else base
        self._parameters = {
            canonical: parameter
            for name, parameter in model.named_parameters()
            for canonical in (canonical_name(name),)
            if canonical is not None
        }
        # in the order in which they overwrite each other, with what each has overwritten
        self._stack: list[tuple[str, Delta, dict[str, Tensor]]] = []

    @property
    def attached(self) -> list[str]:
        """Names of the attached deltas; later ones win where they overlap."""
        return [name for name, _, _ in self._stack]

    def attach(self, name: str, delta: Delta, wins: bool | None = None) -> None:
        """Put a delta's columns in place and its head beside, under ``name``.

        Args:
            name: of the task, and of the head.
            delta: trained on this base.
            wins: where an attached delta claims the same columns: True lets this one win, False
                the others; None refuses.

        Raises:
            DwtError: another base, a name in use, or columns that are claimed; nothing is changed.
        """
        check_delta(self.model, self.base, name, delta)
        if wins is None:
            self._refuse_overlap(name, delta)
        # first what can fail
        add_head(self.model, name, delta.head, name)
        above = [] if wins is not False else [(n, d) for n, d, _ in self._stack]
        for _ in above:
            self._pop()
        self._push(name, delta)
        for other in above:
            self._push(*other)

    def detach(self, name: str) -> None:
        """Put back what the delta overwrote and remove its head.

        Raises:
            DwtError: no delta of this name is attached.
        """
        if name not in self.attached:
            raise DwtError(f"{name}: expected an attached delta, got none of that name")
        above = []
        while self._stack[-1][0] != name:
            above.append(self._stack[-1][:2])
            self._pop()
        self._pop()
        for other in reversed(above):
            self._push(*other)
        remove_head(self.model, name)

    def switch(self, name: str, delta: Delta) -> None:
        """Detach whatever is attached, then attach ``delta``; refused as :meth:`attach` is."""
        check_delta(self.model, self.base, name, delta, self.attached)
        for attached in reversed(self.attached):
            self.detach(attached)
        self.attach(name, delta)

    def _push(self, name: str, delta: Delta) -> None:
        before = {}
        with torch.no_grad():
            for parameter_name, part in delta.parts.items():
                parameter = self._parameters[parameter_name]
                before[parameter_name] = part.read(parameter.data)
                part.write(parameter.data, delta.values[parameter_name])
        self._stack.append((name, delta, before))

    def _pop(self) -> None:
        _, delta, before = self._stack.pop()
        with torch.no_grad():
            for parameter_name, part in delta.parts.items():
                part.write(self._parameters[parameter_name].data, before[parameter_name])

    def _refuse_overlap(self, name: str, delta: Delta) -> None:
        for other_name, other, _ in self._stack:
            for parameter, part in delta.parts.items():
                theirs = other.parts.get(parameter)
                if theirs is not None and part.overlap(theirs):
                    raise DwtError(
                        f"{name}: trained columns of {parameter} that {other_name}, which is "
                        "attached, trained too; detach that one, or say which wins (wins=True for "
                        "the new one, wins=False for the attached)"
                    )


def base_fingerprint(model: nn.Module) -> str:
    """The fingerprint of a loaded model's pre-trained weights (:attr:`Pretrained.fingerprint`)."""
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    plain = model_tensors(tensors)
    return fingerprint({name: t for name, t in plain.items() if not is_head(name)})


def check_delta(
    model: nn.Module, base: str, name: str, delta: Delta, replaced: list[str] | None = None
) -> None:
    """Refuse a delta of another model, or a name that no head can have.

    Args:
        model: a fairseq RoBERTa.
        base: its fingerprint.
        name: that the head is to have.
        delta: to be used on it.
        replaced: names whose heads are about to go.

    Raises:
        DwtError: another base, other shapes, or a name that is in use or no name.
    """
    heads = heads_in(model)
    # the rules of torch's ModuleDict
    taken = hasattr(heads, name) and name not in (replaced or ())
    if not name or "." in name or taken:
        raise DwtError(
            f"{name!r}: expected a name without a dot that no other head of the model has; choose "
            "another"
        )
    delta.check_base(base, name)
    matrices = list(ticket_layers(parameter_shapes(model)).values())
    delta.ticket.check_fits(matrices, base, name)
    delta.check_width(matrices[0].in_features, name)
