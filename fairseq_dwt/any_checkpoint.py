"""Checkpoints of any fairseq Transformer, a RoBERTa's among them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .checkpoint import (
    Pretrained,
    Tuned,
    cast,
    fingerprint,
    fp32_weights,
    load_checkpoint,
    mapping,
    section,
)
from .errors import DwtError
from .model.names import ticket_matrices
from .model.roberta import canonical_name, is_copy, split_projections
from .train.halves import HALVES, KEY

#: What fairseq saves as if it were weights: its code's version, an uninitialised number.
_NO_WEIGHTS = (".version", "._float_tensor")


class AnyPretrained:
    """A pre-trained file of any fairseq Transformer: θ0 and its fingerprint.

    Args:
        path: of the file.
        state: what :func:`load_checkpoint` read of it; read here where not given.

    Attributes:
        path: absolute path of the file.
        tensors: ``{name in the file: tensor}``, dtypes as saved, on the CPU, mapped where possible.
        matrices: its ticket matrices.
        num_parameters: of them all, tied ones once.

    Raises:
        DwtError: the file cannot be read or holds no Transformer layer.
    """

    lm_head: Mapping[str, Tensor] = {}

    def __init__(self, path: str, state: Mapping[str, Any] | None = None):
        self.path = os.path.abspath(path)
        state = load_checkpoint(self.path) if state is None else state
        self.tensors = {
            name.removeprefix("module."): tensor
            for name, tensor in split_projections(state["model"]).items()
            if tensor.is_floating_point() and not is_copy(name) and not name.endswith(_NO_WEIGHTS)
        }
        self.matrices = ticket_matrices({n: t.shape for n, t in self.tensors.items()})
        if not self.matrices:
            raise DwtError(
                f"{self.path}: expected a Transformer (tensors named …layers.0.fc1.weight), found "
                "none: it has no ticket matrices"
            )
        sizes = {(t.data_ptr(), t.shape): t.numel() for t in self.tensors.values()}
        self.num_parameters = sum(sizes.values())
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """As :attr:`Pretrained.fingerprint`."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.tensors)
        return self._fingerprint


class AnyTuned:
    """A fine-tuned checkpoint of any fairseq Transformer, beside its base.

    Args:
        path: of the file.
        pretrained: its base, whose names it takes.
        state: what :func:`load_checkpoint` read of it.

    Attributes:
        path: of the file.
        tensors: what the base gave, ``{name in the base's file: tensor}``, in ``dtype``.
        head: all other tensors, by their names in the model.
        theta, counts_rounded, dtype, num_updates: as :class:`Tuned`.
    """

    lm_head: Mapping[str, Tensor] = {}
    strange: Sequence[str] = ()

    def __init__(self, path: str, pretrained: AnyPretrained, state: Mapping[str, Any]):
        self.path = path
        self.dtype, names = dtype_of(state), names_of(state)
        known = {n: given_name(n, names) for n in state["model"]}
        ours = {n: c for n, c in known.items() if c in pretrained.tensors}
        self.tensors = {c: cast(path, n, state["model"][n], self.dtype) for n, c in ours.items()}
        self.head = {n: t for n, t in state["model"].items() if n not in ours}
        half = (state.get("task_state") or {}).get(KEY)
        copies = {known.get(n, n): t for n, t in fp32_weights(half, path).items()}
        self.theta = {**self.tensors, **copies}
        self.counts_rounded = self.dtype in HALVES and not copies
        history = state.get("optimizer_history") or [{}]
        self.num_updates: int | None = history[-1].get("num_updates")


def dtype_of(state: Mapping[str, Any]) -> torch.dtype:
    """In which the model of a checkpoint was trained."""
    common = section(state, "common")
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return next((d for n, d in halves.items() if common.get(n)), torch.float32)


def names_of(state: Mapping[str, Any]) -> dict[str, str]:
    """``{name in the model: name in θ0's file}``, as a run with ``ticket.*`` settings told it."""
    told = (mapping(state.get("ticket")) or {}).get("names")
    told = told if isinstance(told, Mapping) else {}
    return {n: c for n, c in told.items() if isinstance(n, str) and isinstance(c, str)}


def given_name(name: str, names: Mapping[str, str]) -> str:
    """The name in θ0's file of a tensor of the model: what the run told, where it told anything.

    Of a tied parameter a run tells one name, and nothing of buffers. So a tensor that it says
    nothing of is θ0's only where its parameter is no head: where no module of its name is one.
    """
    if name in names or not names:
        return names.get(name, name)
    stack = name.partition(".")[0]
    return name if any(told.startswith(f"{stack}.") for told in names) else f"{name} (of no file)"


def open_tuned(path: str, pretrained: Pretrained | AnyPretrained) -> Tuned | AnyTuned:
    """A fine-tuned checkpoint of this base, whose matrices are then those that the model has.

    Raises:
        DwtError: the file cannot be read, or has none of the base's ticket matrices.
    """
    state = load_checkpoint(path)
    if isinstance(pretrained, Pretrained):
        return Tuned(path, state)
    tuned = AnyTuned(path, pretrained, state)
    # of a whole model's file a recipe may take the encoder alone
    matrices = [m for m in pretrained.matrices if m.weight in tuned.tensors]
    if not matrices:
        raise DwtError(
            f"{path}: expected a checkpoint fine-tuned from {pretrained.path}, with tensors as "
            f"{pretrained.matrices[0].weight}, found none of its ticket matrices; it is another "
            "model's, or was saved without this plugin"
        )
    pretrained.matrices = matrices
    return tuned


def open_pretrained(path: str) -> Pretrained | AnyPretrained:
    """A pre-trained file of any fairseq Transformer; a RoBERTa's as :class:`Pretrained`."""
    state = load_checkpoint(path)
    is_roberta = any(canonical_name(name) for name in state["model"])
    return (Pretrained if is_roberta else AnyPretrained)(path, state)
