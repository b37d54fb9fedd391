"""A ticket of either kind from its file, or a published one by its name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import DwtError
from .element_mask import AnyTicket, ElementMask, unpack
from .origin import Origin, check_origin
from .ticket import Ticket

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published")
#: The tickets that the paper prints: Table 1 (ranked) and Tables 5 to 10 (sets of three).
PUBLISHED = tuple(f"roberta.large/{task}" for task in ("mnli", "qnli", "sst-2", "qqp"))


def load_ticket(path: str, words: Sequence[str] = ()) -> AnyTicket:
    """Read a ticket (``.json``), an element mask (``.safetensors``) or a published ticket (a name).

    Args:
        path: the file, or one of :data:`PUBLISHED`.
        words: what else could have been given, for the error.

    Raises:
        DwtError: no such file or name, or not a ticket.
    """
    if not os.path.isfile(path):
        if path in PUBLISHED:
            return Ticket.load(os.path.join(_FOLDER, *path.split("/")) + ".json")
        raise DwtError(
            f"{path}: expected a ticket file, found none; give a file, or one of: "
            + ", ".join((*words, *PUBLISHED))
        )
    return ElementMask.load(path) if path.endswith(".safetensors") else Ticket.load(path)


def unpacked(metadata: Mapping[str, str], tensors: dict[str, Tensor], where: str) -> AnyTicket:
    """The ticket that was ``packed()`` into another file; its tensors are taken out of ``tensors``.

    Raises:
        DwtError: not a ticket; it begins with ``where``.
    """
    if "ticket" in metadata:
        return Ticket.loads(metadata["ticket"], where)
    saved = json.loads(metadata["masks"])
    check_origin(where, saved["origin"])
    masks = {n: unpack(tensors.pop(f"{n}.mask"), tuple(s)) for n, s in saved["shapes"].items()}
    return ElementMask(masks, Origin(**saved["origin"]))
