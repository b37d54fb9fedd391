"""Delta: what a task added to a pre-trained model, in a small file.

Contract
    A delta holds the values of a ticket's entries after training, the classification head, its
    labels, and which pre-trained model it belongs to. Values are absolute, never differences: what
    is put in place is what was trained, bit for bit, and what is put back is the base.

        checkpoint = base + delta        :func:`export`, :func:`merge`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..model.names import ENCODER, head_name, named_matrices
from ..model.roberta import FUNCTION, SIZES, empty_lm_head
from ..ticket import AnyTicket
from ..ticket.part import Part
from ..version import __version__
from .head import check_head, only_head
from .verify import moved_outside

DTYPES = {str(d)[len("torch.") :]: d for d in (torch.float32, torch.float16, torch.bfloat16)}
#: Settings of the task without which its head cannot be used, by fairseq's names.
SETTINGS = (
    "num_classes",
    "init_token",
    "separator_token",
    "regression_target",
    "classification_head_name",
    "max_positions",
)
#: How the run cut rows that are too long; deltas of earlier versions do not say.
SHORTEN = "shorten_method"


@dataclass(frozen=True, eq=False)
class TicketValues:
    """What stage 2 trained of a base.

    Attributes:
        ticket: whose entries these are; its origin knows the base.
        values: ``{canonical parameter name: tensor}``, shaped as :attr:`Part.values_shape`.
    """

    ticket: AnyTicket
    values: Mapping[str, Tensor]

    @property
    def base(self) -> str:
        """Fingerprint of the pre-trained model."""
        assert self.ticket.origin.base is not None
        return self.ticket.origin.base

    @cached_property
    def parts(self) -> dict[str, Part]:
        """``{canonical parameter name: where its values lie}``."""
        return self.ticket.parts(named_matrices(self.ticket.shapes))

    def check_base(self, base: str, where: str) -> None:
        """Refuse a model that this delta was not trained on (DwtError).

        Args:
            base: the model's fingerprint.
            where: the delta's file or name, for the sentence.
        """
        if self.base != base:
            raise DwtError(
                f"{where}: belongs to the pre-trained model {self.base[:12]}… "
                f"({self.ticket.origin.init or 'no path'}), got {base[:12]}…; attach it to the "
                "model that it was trained on"
            )


@dataclass(frozen=True, eq=False)
class Delta(TicketValues):
    """A classification task's trained values. See the contract at the top of this file.

    Attributes:
        ticket, values: as :class:`TicketValues`.
        head: the classification head: dense.weight (inner, embed_dim), dense.bias, out_proj.weight
            (classes, inner), out_proj.bias.
        labels: label strings by class index; empty for regression.
        settings: of the task (:data:`SETTINGS`).
        dtype: in which the task was trained, and that of all values.
        saved_dtype: of the checkpoint that it was exported from.
        task: name of the task, for people.
        made_by: the fairseq_dwt version that made it.
        sentences: of an example, 1 or 2; None in a delta of an earlier version.
    """

    head: Mapping[str, Tensor]
    labels: tuple[str, ...]
    settings: Mapping[str, Any]
    dtype: torch.dtype
    saved_dtype: torch.dtype
    task: str | None = None
    made_by: str = __version__
    sentences: int | None = None

    @property
    def head_name(self) -> str:
        """The head's name in a checkpoint."""
        return str(self.settings["classification_head_name"])

    @property
    def num_classes(self) -> int:
        """Outputs of the head; 1 for regression."""
        return int(self.head["out_proj.weight"].shape[0])

    def save(self, path: str) -> None:
        """Write the delta, whole or not at all."""
        from .file import save

        save(self, path)

    @classmethod
    def load(cls, path: str) -> Delta:
        """Read a delta file.

        Raises:
            DwtError: no such file, not a delta, a newer format, truncated, altered, inconsistent.
        """
        from .file import load

        return load(path)

    def check_width(self, width: int, where: str) -> None:
        """Refuse a head for features of another width than the model's (DwtError)."""
        if self.head["dense.weight"].shape[1] != width:
            raise DwtError(
                f"{where}: expected a head for features of width {width}, got "
                f"{self.head['dense.weight'].shape[1]}"
            )


def check_settings(delta: Delta, where: str) -> None:
    """Refuse settings that do not fit the delta's head (DwtError)."""
    settings, name = delta.settings, delta.settings["classification_head_name"]
    tokens = [settings["init_token"], settings["separator_token"]]
    fits = {
        "num_classes": settings["num_classes"] == delta.num_classes,
        "classification_head_name": isinstance(name, str) and name != "" and "." not in name,
        "init_token": tokens[0] is None or (type(tokens[0]) is int and tokens[0] >= 0),
        "separator_token": tokens[1] is None or (type(tokens[1]) is int and tokens[1] >= 0),
        "max_positions": type(settings["max_positions"]) is int and settings["max_positions"] > 0,
        SHORTEN: settings.get(SHORTEN, "none") in ("none", "truncate", "random_crop"),
        "regression_target": settings["regression_target"] is False
        or (settings["regression_target"] is True and delta.num_classes == 1),
    }
    for key, fit in fits.items():
        if not fit:
            raise DwtError(
                f"{where}: {key}: expected a setting that fits its head, got {settings[key]!r}; "
                "export it again"
            )
    if delta.sentences not in (None, 1, 2) or isinstance(delta.sentences, bool):
        raise DwtError(
            f"{where}: sentences: expected 1 or 2, got {delta.sentences!r}; export it again"
        )


# -- checkpoint ↔ base + delta ---------------------------------------------------------------------


def export(
    pretrained: Pretrained,
    tuned: Tuned,
    ticket: AnyTicket,
    labels: Sequence[str] = (),
    task: str | None = None,
    sentences: int | None = None,
) -> Delta:
    """What ``tuned`` adds to its base.

    Args:
        pretrained: the base.
        tuned: a checkpoint that was trained inside ``ticket``.
        ticket: what was trained, cut to k.
        labels: label strings by class index; none for regression.
        task: name of the task, for people.
        sentences: of an example, 1 or 2, where the checkpoint does not say.

    Raises:
        DwtError: the checkpoint differs from the base outside the ticket, or has no head, or more
            than one.
    """
    ticket.check_fits(pretrained.matrices, pretrained.fingerprint, "ticket")
    moved = moved_outside(pretrained, tuned, ticket)
    if moved:
        names = ", ".join(m.name for m in moved[:3]) + (", …" if len(moved) > 3 else "")
        raise DwtError(
            f"{tuned.path}: expected the values of {pretrained.path} outside the ticket, got "
            f"others in {len(moved)} tensors ({names}); name the ticket that it was trained in"
        )
    for key in (*SIZES, *FUNCTION):
        got = tuned.model_settings.get(key)
        expected = pretrained.settings.get(key, FUNCTION.get(key))
        if got is not None and expected is not None and got != expected:
            raise DwtError(
                f"{tuned.path}: {key}: expected {expected!r} as in {pretrained.path}, got {got!r}; "
                "a delta holds weights, the model's settings are the base's"
            )
    name, head = only_head(tuned)
    mixed = {str(t.dtype) for t in tuned.tensors.values() if t.is_floating_point()}
    if mixed != {str(tuned.dtype)} or tuned.saved_dtype not in DTYPES.values():
        raise DwtError(
            f"{tuned.path}: expected weights of one precision, one of {', '.join(DTYPES)}, got "
            f"{', '.join(sorted(mixed))}"
        )
    settings = {key: tuned.settings.get(key) for key in SETTINGS}
    settings["num_classes"] = int(head["out_proj.weight"].shape[0])
    settings["classification_head_name"] = name
    settings["regression_target"] = bool(settings["regression_target"])
    settings["max_positions"] = settings["max_positions"] or pretrained.settings["max_positions"]
    if tuned.settings.get(SHORTEN) is not None:
        splits = str(tuned.settings.get("shorten_data_split_list") or "")
        cuts_dev = not splits or "valid" in splits.split(",")
        settings[SHORTEN] = str(tuned.settings[SHORTEN]) if cuts_dev else "none"
    origin = replace(ticket.origin, base=pretrained.fingerprint)
    delta = Delta(
        ticket=replace(ticket, origin=origin),
        values={
            n: part.read(tuned.tensors[n]) for n, part in ticket.parts(pretrained.matrices).items()
        },
        head=head,
        labels=tuple(labels),
        settings=settings,
        dtype=tuned.dtype,
        saved_dtype=tuned.saved_dtype,
        task=task,
        sentences=tuned.sentences if sentences is None else sentences,
    )
    check_head(delta.head, delta.labels, tuned.path)
    delta.check_width(pretrained.settings["encoder_embed_dim"], tuned.path)
    check_settings(delta, tuned.path)
    return delta


def merge(pretrained: Pretrained, delta: Delta, where: str = "delta") -> dict[str, Tensor]:
    """The state dict that ``delta`` was exported from, bit for bit.

    Of a base without a language-model head it has an empty one.

    Args:
        pretrained: the base.
        delta: of a task trained on it.
        where: the delta's file, for errors.

    Returns:
        tensors by their names in a plain RoBERTa, in ``delta.saved_dtype``.

    Raises:
        DwtError: the delta belongs to another model.
    """
    delta.ticket.check_fits(pretrained.matrices, None, where)
    delta.check_base(pretrained.fingerprint, where)
    delta.check_width(pretrained.settings["encoder_embed_dim"], where)
    tied: dict[int, Tensor] = {}
    merged = {}
    words = pretrained.tensors[f"{ENCODER}embed_tokens.weight"]
    # fairseq loads no file without one
    lm_head = pretrained.lm_head or {**empty_lm_head(words), "encoder.lm_head.weight": words}
    for name, init in {**pretrained.tensors, **lm_head}.items():
        # the LM head shares the token embeddings
        if init.data_ptr() in tied and tied[init.data_ptr()].shape == init.shape:
            merged[name] = tied[init.data_ptr()]
            continue
        merged[name] = init.to(delta.dtype).to(delta.saved_dtype)
        tied[init.data_ptr()] = merged[name]
    for name, part in delta.parts.items():
        tensor = merged[name].clone(memory_format=torch.contiguous_format)
        part.write(tensor, delta.values[name])
        merged[name] = tensor
    for name, tensor in delta.head.items():
        merged[head_name(delta.head_name, name)] = tensor.to(delta.saved_dtype)
    return merged
