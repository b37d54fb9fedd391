"""Delta of any recipe's run: the checkpoint of stage 2, without what the pre-trained file gave.

A checkpoint's tensors are of three kinds: what the base gave (of an embedding perhaps its first
rows alone), the ticket's values in it, and what no file gave, as a head. Names are the model's,
whose prefix may differ from the file's. Settings are kept, so that what is written again is a
checkpoint that stock fairseq takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..any_checkpoint import AnyPretrained, dtype_of, given_name, names_of
from ..checkpoint import Pretrained, load_checkpoint
from ..errors import DwtError
from ..files import read_safetensors, replacing
from ..model.roberta import is_copy
from ..ticket import AnyTicket
from ..train.halves import KEY
from ..version import __version__
from .as_json import from_json, to_json
from .delta import DTYPES, TicketValues
from .file import check_all, read, take_values, write

FORMAT = "fairseq_dwt.recipe_delta"
VERSION = 1
#: Settings, and what a task remembers.
_KEPT = ("args", "cfg", "task_state", "ticket")


@dataclass(frozen=True)
class Place:
    """Where a tensor of the checkpoint comes from.

    Attributes:
        name: its name in the checkpoint.
        base: its name in the base; None where no file gave it.
        same_as: the tensor of the checkpoint, before it, whose memory it shares.
        rows: how many of the base's rows it has.
    """

    name: str
    base: str | None = None
    same_as: str | None = None
    rows: int = 0


@dataclass(frozen=True, eq=False)
class RecipeDelta(TicketValues):
    """What a run of any recipe added to its base.

    Attributes:
        ticket, values: as :class:`TicketValues`.
        places: of all tensors of the checkpoint, in its order.
        own: ``{name in the checkpoint: tensor}`` of those that no file gave.
        settings: ``cfg`` or ``args``, ``task_state`` and ``ticket`` of the checkpoint.
        num_updates: that were made.
        dtype: in which the run was trained.
        saved_dtype: of the checkpoint.
        made_by: the fairseq_dwt version that made it.
    """

    places: Sequence[Place]
    own: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    num_updates: int
    dtype: torch.dtype
    saved_dtype: torch.dtype
    made_by: str = __version__

    def save(self, path: str) -> None:
        """Write the delta, whole or not at all (DwtError: settings that JSON cannot keep)."""
        header = {
            "places": [[p.name, p.base, p.same_as, p.rows] for p in self.places],
            "settings": {name: to_json(value, name) for name, value in self.settings.items()},
            "num_updates": self.num_updates,
            "dtype": str(self.dtype).removeprefix("torch."),
            "saved_dtype": str(self.saved_dtype).removeprefix("torch."),
            "made_by": self.made_by,
        }
        more = {f"own.{name}": tensor for name, tensor in self.own.items()}
        write(path, (FORMAT, VERSION), header, self, more)

    @classmethod
    def load(cls, path: str) -> RecipeDelta:
        """Read a delta file (DwtError: as :meth:`Delta.load`)."""
        return read(path, (FORMAT, VERSION), _read)


def is_recipe(path: str) -> bool:
    """Whether a file is a delta of this kind (DwtError: no such file, truncated)."""
    return read_safetensors(path)[0].get("format") == FORMAT


def export_recipe(
    pretrained: Pretrained | AnyPretrained, tuned: str, ticket: AnyTicket
) -> RecipeDelta:
    """What the checkpoint ``tuned`` adds to its base.

    Args:
        pretrained: the base.
        tuned: path of a checkpoint that was trained inside ``ticket``.
        ticket: what was trained, cut to k.

    Raises:
        DwtError: the checkpoint differs from the base outside the ticket.
    """
    ticket.check_fits(pretrained.matrices, pretrained.fingerprint, "ticket")
    state = load_checkpoint(tuned)
    names, base = names_of(state), _tensors(pretrained)
    model = {name: tensor for name, tensor in state["model"].items() if not is_copy(name)}
    places: list[Place] = []
    seen: dict[tuple[int, torch.Size], str] = {}
    own: dict[str, Tensor] = {}
    for name, tensor in model.items():
        canonical = given_name(name, names)
        init = base.get(canonical)
        memory = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and memory in seen:
            places.append(Place(name, same_as=seen[memory]))
        elif init is not None and init.shape[1:] == tensor.shape[1:] and len(tensor) <= len(init):
            places.append(Place(name, canonical, rows=len(tensor)))
        else:
            places.append(Place(name))
            own[name] = tensor
        seen.setdefault(memory, name)
    dtype = dtype_of(state)
    by_base = {place.base: model[place.name] for place in places if place.base}
    saved = {tensor.dtype for tensor in by_base.values()} or {dtype}
    absent = [name for name in ticket.parts(pretrained.matrices) if name not in by_base]
    if len(saved) > 1 or not saved <= set(DTYPES.values()) or absent:
        raise DwtError(
            f"{tuned}: expected one precision and the ticket's matrices of {pretrained.path}, got "
            f"{', '.join(map(str, saved))}, without {', '.join(absent[:3]) or 'none of them'}; "
            "name its own base"
        )
    parts = ticket.parts(pretrained.matrices)
    kept = {name: state[name] for name in _KEPT if state.get(name) is not None}
    if isinstance(kept.get("task_state"), Mapping):
        kept["task_state"] = {n: v for n, v in kept["task_state"].items() if n != KEY}
    history = state.get("optimizer_history") or [{}]
    delta = RecipeDelta(
        replace(ticket, origin=replace(ticket.origin, base=pretrained.fingerprint)),
        {name: part.read(by_base[name]).to(dtype) for name, part in parts.items()},
        places,
        own,
        kept,
        int(history[-1].get("num_updates", 0)),
        dtype,
        saved.pop(),
    )
    again = merge_recipe(pretrained, delta, tuned)
    moved = [name for name in model if not _same(again[name], model[name])]
    if moved:
        raise DwtError(
            f"{tuned}: expected the values of {pretrained.path} outside the ticket, got others in "
            f"{len(moved)} tensors ({', '.join(moved[:3])}{', …' if len(moved) > 3 else ''}); name "
            "the ticket that it was trained in"
        )
    return delta


def merge_recipe(
    pretrained: Pretrained | AnyPretrained, delta: RecipeDelta, where: str = "delta"
) -> dict[str, Tensor]:
    """The model's state dict that ``delta`` was exported from, bit for bit, ties included.

    Raises:
        DwtError: the delta belongs to another model.
    """
    delta.ticket.check_fits(pretrained.matrices, None, where)
    delta.check_base(pretrained.fingerprint, where)
    base, merged = _tensors(pretrained), dict[str, Tensor]()
    for place in delta.places:
        if place.same_as is not None:
            merged[place.name] = merged[place.same_as]
        elif place.base is None:
            merged[place.name] = delta.own[place.name]
        else:
            init = base.get(place.base)
            whole = place.base in delta.parts
            if init is None or not (len(init) if whole else 0) <= place.rows <= len(init):
                got = "none" if init is None else f"{len(init)}"
                raise DwtError(
                    f"{where}: {place.name}: expected {place.rows} rows of the base's "
                    f"{place.base}, found {got}; export it again"
                )
            tensor = init[: place.rows].to(delta.dtype).to(delta.saved_dtype)
            if whole:
                tensor = tensor.clone(memory_format=torch.contiguous_format)
                delta.parts[place.base].write(tensor, delta.values[place.base].to(tensor.dtype))
            merged[place.name] = tensor
    return merged


def save_merged(path: str, tensors: Mapping[str, Tensor], delta: RecipeDelta) -> None:
    """Write the checkpoint that ``delta`` was exported from, without the optimizer's states."""
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
    state = {
        "args": None,
        "cfg": None,
        **delta.settings,
        "model": dict(tensors),
        "criterion": None,
        "optimizer_history": [{**history, "num_updates": delta.num_updates}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _tensors(pretrained: Pretrained | AnyPretrained) -> dict[str, Tensor]:
    return {**pretrained.tensors, **pretrained.lm_head}


def _same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit: 0.0 and -0.0 differ, and nan equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = (t.contiguous().view(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(one, other)


def _read(metadata: Mapping[str, str], tensors: dict[str, Tensor], path: str) -> RecipeDelta:
    header = json.loads(metadata["delta"])
    ticket, values = take_values(metadata, tensors, path)
    dtype = DTYPES[header["dtype"]]
    check_all(values, dtype, path)
    places: list[Place] = []
    before: set[str] = set()
    for name, base, same_as, rows in header["places"]:
        given = all(isinstance(one, (str, type(None))) and one != "" for one in (base, same_as))
        if not given or (same_as is not None and same_as not in before):
            raise DwtError(
                f"{path}: {name}: expected the name of a tensor of the base, or of one before it, "
                f"got {base!r:.80}, {same_as!r:.80}; export it again"
            )
        places.append(Place(str(name), base, same_as, int(rows)))
        before.add(str(name))
    own = {p.name: tensors.pop(f"own.{p.name}") for p in places if not (p.base or p.same_as)}
    if tensors:
        raise DwtError(f"{path}: {sorted(tensors)[0]}: a tensor that its places do not name")
    return RecipeDelta(
        ticket,
        values,
        places,
        own,
        {str(name): from_json(value) for name, value in header["settings"].items()},
        int(header["num_updates"]),
        dtype,
        DTYPES[header["saved_dtype"]],
        str(header["made_by"]),
    )
