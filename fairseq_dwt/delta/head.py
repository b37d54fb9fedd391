"""A delta's classification head: its tensors, its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..checkpoint import Tuned
from ..errors import DwtError
from ..model.names import heads_of

HEAD = ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias")


def check_head(head: Mapping[str, Tensor], labels: Sequence[str], where: str) -> None:
    """Refuse tensors that are no classification head, or labels that do not fit it (DwtError)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in head.items()}
    last = shapes["out_proj.weight"]
    expected = {"dense.bias": last[1:], "out_proj.bias": last[:1]}
    fits = (
        len(last) == len(shapes["dense.weight"]) == 2
        and min(*last, *shapes["dense.weight"]) > 0
        and shapes["dense.weight"][0] == last[1]
        and all(shapes[name] == shape for name, shape in expected.items())
    )
    if not fits:
        raise DwtError(f"{where}: expected the shapes of one classification head, got {shapes}")
    classes = last[0]
    if labels and len(labels) != classes:
        raise DwtError(
            f"{where}: expected a label for each of {classes} classes, got {len(labels)}"
        )


def only_head(tuned: Tuned) -> tuple[str, dict[str, Tensor]]:
    """The one classification head of a checkpoint: its name and tensors (DwtError if not one)."""
    heads = heads_of(tuned.tensors)
    if len(heads) != 1 or set(next(iter(heads.values()))) != set(HEAD):
        raise DwtError(
            f"{tuned.path}: expected one plain classification head, got "
            f"{', '.join(heads) or 'none'}; export a checkpoint of stage 2"
        )
    return next(iter(heads.items()))
