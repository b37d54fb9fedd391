"""Optimizer states of the ticket's entries alone, the same on file whatever mode wrote them.

In a checkpoint each moment of a parameter is one vector over its *trained* entries, in row-major
order. Masked training keeps dense moments (zero outside the ticket), compact training compact ones,
flattened fp16 training one vector for all; read from the file, each gets its own shape back. So a
run may be resumed in another mode than it was begun in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ..errors import DwtError
from ..ticket.part import Part

#: Per parameter: what a torch optimizer keeps of it.
State = dict[str, Any]


class Layout:
    """How the trained entries lie in an optimizer's parameters.

    Args:
        parts: which entries of each parameter train, in the optimizer's order.
    """

    def __init__(self, parts: Sequence[Part]):
        self.parts = list(parts)
        self.shapes = [part.shape for part in parts]
        #: trained entries of each parameter
        self.sizes = [part.size for part in parts]

    def gather(self, index: int, tensor: Tensor) -> Tensor:
        """The trained entries of a tensor of parameter ``index``'s shape: (size,)."""
        part = self.parts[index]
        return (tensor if part.is_whole else part.read(tensor)).reshape(-1)

    def scatter(self, index: int, entries: Tensor, into: Tensor) -> Tensor:
        """``into`` (parameter ``index``'s shape) with its trained entries set, in place."""
        part = self.parts[index]
        part.write(into, entries.view(part.values_shape))
        return into


def to_file(state: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """A torch optimizer's state dict, its moments reduced to the trained entries.

    Args:
        state: ``optimizer.state_dict()``; not changed.
        layout: of the optimizer's parameters.

    Returns:
        the same with ``trained_entries``, the number of each parameter's trained entries.
    """
    reduced, moments = {}, {}
    for index, values in state["state"].items():
        shape = layout.shapes[index]
        moments[index] = [key for key, value in values.items() if _is_moment(value, shape)]
        reduced[index] = {
            key: layout.gather(index, value) if key in moments[index] else value
            for key, value in values.items()
        }
    sizes = list(layout.sizes)
    return {**state, "state": reduced, "trained_entries": sizes, "moments": moments}


def from_file(saved: dict[str, Any], layout: Layout, like: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`to_file`, for an optimizer of any layout of the same entries.

    Args:
        saved: what :func:`to_file` returned.
        layout: of the parameters that the optimizer has now.
        like: the optimizer's present state dict, whose parameter groups are kept in number.

    Raises:
        DwtError: the file's entries are not those that train, or its optimizer keeps states that
            are not one number per entry and the layout has changed.
    """
    sizes: list[int] = saved.get("trained_entries", [])
    if sum(sizes) != sum(layout.sizes):
        raise DwtError(
            f"checkpoint: expected optimizer states of {sum(layout.sizes):,} trained entries, got "
            f"{sum(sizes):,}; this run trains another ticket: choose another hydra.run.dir"
        )
    states: list[State] = [saved["state"].get(i, {}) for i in range(len(sizes))]
    # a factored moment can be as long as there are trained entries; older files do not say
    told: dict[int, list[str]] | None = saved.get("moments")
    if sizes != layout.sizes:
        states, told = _regroup(states, sizes, layout.sizes), None
    restored = {}
    for index, state in enumerate(states):
        size, shape = layout.sizes[index], layout.shapes[index]
        restored[index] = {
            key: layout.scatter(index, value, torch.zeros(shape, dtype=value.dtype))
            if _is_moment(value, (size,)) and (told is None or key in told.get(index, []))
            else value
            for key, value in state.items()
        }
    groups = [
        {**now, **{k: v for k, v in then.items() if k != "params"}}
        for now, then in zip(like["param_groups"], saved["param_groups"])
    ]
    return {"state": {i: s for i, s in restored.items() if s}, "param_groups": groups}


def _regroup(states: list[State], old: Sequence[int], new: Sequence[int]) -> list[State]:
    if not any(states):
        return [{} for _ in new]
    # the flattened parameter begins at the first entry: one number (a step count) is taken from it
    starts = dict(zip([0, *accumulate(old)], states))
    regrouped: list[State] = [{} for _ in new]
    for key in next(s for s in states if s):
        values: list[Any] = [s.get(key) for s in states]
        if all(_is_moment(v, (size,)) for v, size in zip(values, old)):
            for state, entries in zip(regrouped, torch.cat(values).split(list(new))):
                state[key] = entries
        elif all(not torch.is_tensor(v) or v.dim() == 0 for v in values):
            now = values[0]
            for start, state in zip([0, *accumulate(new)], regrouped):
                now = starts.get(start, {}).get(key, now)
                state[key] = now.clone() if torch.is_tensor(now) else now
        else:
            raise DwtError(
                f"checkpoint: the optimizer's state {key!r} is not one number per trained entry, "
                "so it cannot be resumed in another mode; resume with the mode and "
                "common.fp16_no_flatten_grads that the run was begun with"
            )
    return regrouped


def _is_moment(value: Any, shape: Sequence[int]) -> bool:
    return torch.is_tensor(value) and value.dim() > 0 and tuple(value.shape) == tuple(shape)
