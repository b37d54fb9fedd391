"""Of any model: which file gave which parameter, and so what is θ0, a ticket matrix, the head.

Nothing here knows a model by name. What a file gave is pre-trained: the file that fairseq starts
from (``finetune_from_model``), read as the model itself reads it, or the one that the model's own
build has read (``w2v_path``, …), found by the ends of names and equal values. What no file gave is
the head, and so is a classification head. What the recipe freezes stays frozen.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import checkpoint_utils
from omegaconf import DictConfig
from torch import Tensor, nn

from ..any_checkpoint import AnyPretrained, open_pretrained
from ..checkpoint import Pretrained
from ..errors import DwtError
from ..model.anatomy import Anatomy
from ..model.names import is_head, is_layer, ticket_matrices
from ..model.roberta import is_copy
from ..run.folder import CHECKPOINT_LAST
from ..run.start import check_layers, check_start

logger = logging.getLogger(__name__)

#: Settings of fairseq's models that name a file which their build reads.
BUILD_FILES = (
    "w2v_path",
    "load_pretrained_encoder_from",
    "load_pretrained_decoder_from",
    "load_pretrained_mbart_from",
)


@dataclass(frozen=True)
class Theta0:
    """θ0 of a model that is about to be fine-tuned.

    Attributes:
        pretrained: the file that gave it.
        names: the pre-trained parameters, ``{name in the model: name in the file}``.
        values: θ0 of those in transformer layers, by their names in the file.
        anatomy: what trains.
    """

    pretrained: Pretrained | AnyPretrained
    names: Mapping[str, str]
    values: Mapping[str, Tensor]
    anatomy: Anatomy


def file_of(root: DictConfig) -> tuple[str, bool]:
    """The file of θ0, and whether the model's own build reads it.

    Raises:
        DwtError: none is named, or more than one; see :func:`~fairseq_dwt.run.start.check_start`.
    """
    checkpoint, model = root.checkpoint, root.model
    check_start(checkpoint)
    started = {"checkpoint.finetune_from_model": checkpoint.finetune_from_model}
    if checkpoint.restore_file != CHECKPOINT_LAST:
        started["checkpoint.restore_file"] = checkpoint.restore_file
        logger.warning(
            "checkpoint.restore_file starts over at every launch: this run will not resume"
        )
    built = {f"model.{name}": _setting(model, name) for name in BUILD_FILES}
    named = {name: path for name, path in {**started, **built}.items() if path}
    if not named:
        raise DwtError(
            "ticket: expected a recipe that starts from a pre-trained file, got none; set "
            "checkpoint.finetune_from_model (--finetune-from-model)"
        )
    if len(set(named.values())) > 1:
        told = ", ".join(f"{name}={path}" for name, path in named.items())
        raise DwtError(f"ticket: expected one file of θ0, got {told}; leave all but one out")
    name, path = next(iter(named.items()))
    return str(path), name in built


def read(model: Any, root: DictConfig) -> Theta0:
    """Find out where θ0 is, and give ``model`` the values of the file that the run starts from.

    Args:
        model: as the task built it, on the CPU, before any wrapper.
        root: fairseq's whole config.

    Raises:
        DwtError: no file or two, layers to be pruned, or none of the file's Transformer layers
            are in the model.
    """
    path, built = file_of(root)
    check_layers(root.model)
    pretrained = open_pretrained(path)
    own = {name: p for name, p in model.named_parameters() if not is_copy(name)}
    if built:
        names = _by_end(own, pretrained.tensors)
    else:
        state = dict(checkpoint_utils.load_checkpoint_to_cpu(path)["model"])
        model.upgrade_state_dict(state)
        # what an upgrade adds, as a new head, it takes from the model itself
        mine = {p.data_ptr() for p in own.values()}
        names = {n: n for n in own if n in state and state[n].data_ptr() not in mine}
        # the run's, also where it begins at the file's, as after another task
        names = {n: c for n, c in names.items() if not is_head(n)}
        try:
            model.load_state_dict(state, strict=True, model_cfg=root.model)
        except RuntimeError as error:
            raise DwtError(
                f"{path}: expected the tensors of the recipe's model, got others "
                f"({' '.join(str(error).split())[:300]})"
            ) from None
    layers = {
        n: c for n, c in names.items() if own[n].requires_grad and is_layer(c) and is_layer(n)
    }
    shapes = {c: own[n].shape for n, c in layers.items()}
    modules = dict(model.named_modules())
    found = {m.weight: m for m in ticket_matrices(shapes)}
    matrices = {
        name.removesuffix(".weight"): found[canonical]
        for name, canonical in layers.items()
        if canonical in found and isinstance(modules[name.removesuffix(".weight")], nn.Linear)
    }
    if not matrices:
        raise DwtError(
            f"{path}: expected a file whose Transformer layers the model trains, found none of "
            "them in it: there are no ticket matrices"
        )
    head = frozenset(n for n in own if n not in names and own[n].requires_grad)
    pretrained.matrices = list(matrices.values())
    values = {c: own[n].detach().clone() for n, c in layers.items()}
    return Theta0(pretrained, names, values, Anatomy(matrices, head, layers))


def _by_end(own: Mapping[str, nn.Parameter], file: Mapping[str, Tensor]) -> dict[str, str]:
    """``{name in the model: the longest of its ends that the file has, with the same values}``."""
    found = {}
    for name, parameter in own.items():
        parts = name.split(".")
        for start in range(len(parts)):
            end = ".".join(parts[start:])
            tensor = file.get(end)
            if tensor is None or tensor.shape != parameter.shape:
                continue
            if torch.equal(tensor.to(parameter.dtype), parameter.detach().cpu()):
                found[name] = end
                break
    return found


def _setting(section: Any, name: str) -> str | None:
    if isinstance(section, Namespace):
        return getattr(section, name, None)
    return section[name] if name in section else None
