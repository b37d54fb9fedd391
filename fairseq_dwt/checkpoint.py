"""Reading fairseq checkpoints: safely, whatever fairseq wrote them, with canonical names.

The pre-trained file is the one source of θ0 and of the model's shape. Reading it never runs code
from it: torch loads it with ``weights_only`` and the few classes that fairseq checkpoints hold.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from .classes_in_checkpoints import allow_fairseq_classes
from .errors import DwtError
from .model.names import ENCODER, is_head, ticket_matrices
from .model.roberta import (
    is_known,
    lm_head_tensors,
    model_tensors,
    settings_of,
)
from .train.halves import HALVES, KEY


def load_checkpoint(path: str) -> dict[str, Any]:
    """Read a fairseq checkpoint on the CPU without running code from it.

    Args:
        path: a file that fairseq saved (``model.pt``, ``checkpoint_best.pt``).

    Returns:
        the saved dictionary: ``model`` (state dict), ``args`` or ``cfg``, and more.

    Raises:
        DwtError: no such file, not a fairseq checkpoint, truncated, or it holds other classes.
    """
    allow_fairseq_classes()
    if not os.path.isfile(path):
        raise DwtError(f"{path}: expected a fairseq checkpoint, found no file; check the path")
    try:
        # Mapped, a file costs no memory until a tensor is touched. Files of 2019 are not zip
        # archives and cannot be mapped.
        mapped = {"mmap": True} if _is_zip(path) else {}
        state = torch.load(path, map_location="cpu", weights_only=True, **mapped)
    except pickle.UnpicklingError as error:
        if "fairseq.data.dictionary" in str(error) and "fairseq" not in sys.modules:
            import_module("fairseq")
            return load_checkpoint(path)
        raise DwtError(
            f"{path}: expected tensors and plain settings, got something else "
            f"({_reason(error)}); if you trust the file, load it with "
            "torch.load(weights_only=False) and save its 'model' and 'args' again"
        ) from None
    except Exception as error:  # bytes that are no pickle raise whatever they come upon
        raise DwtError(
            f"{path}: expected a fairseq checkpoint, got a file that torch cannot read "
            f"({_reason(error)}); it may be truncated: fetch or save it again"
        ) from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), Mapping):
        raise DwtError(
            f"{path}: expected a fairseq checkpoint (a dictionary with 'model'), got "
            f"{type(state).__name__}; a Hugging Face file must be converted first (fairseq-dwt "
            "import-hf)"
        )
    _check_content(state, path)
    return state


def _check_content(state: Mapping[str, Any], path: str) -> None:
    half = (mapping(state.get("task_state")) or {}).get(KEY)
    for name, tensor in [*state["model"].items(), *fp32_weights(half, path).items()]:
        if not isinstance(name, str) or not torch.is_tensor(tensor):
            raise DwtError(f"{path}: {name!r}: expected a tensor by name, got another thing in it")
        size = tensor.numel() * tensor.element_size()
        if tensor.layout != torch.strided or size > tensor.untyped_storage().nbytes():
            raise DwtError(f"{path}: {name}: expected a dense tensor, got one without its values")
    cfg = state.get("cfg")
    sections = {f"cfg.{k}": cfg.get(k) for k in _SECTIONS} if isinstance(cfg, Mapping) else {}
    history = state.get("optimizer_history") or []
    if not isinstance(history, list):
        raise DwtError(f"{path}: optimizer_history: expected a list, got {type(history).__name__}")
    content = {"cfg": cfg, "task_state": state.get("task_state"), "args": state.get("args")}
    content.update({**sections, "optimizer_history": history[-1] if history else None})
    for key, value in content.items():
        if not isinstance(value, (Mapping, argparse.Namespace, type(None))):
            raise DwtError(
                f"{path}: {key}: expected what fairseq saves, got {type(value).__name__}"
            )


def mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def fp32_weights(half: Any, path: str) -> Mapping[str, Tensor]:
    """``weights`` of what ``halves.state`` keeps in a checkpoint's task_state."""
    weights = {} if half is None else (mapping(half) or {}).get("weights")
    if not isinstance(weights, Mapping) or not isinstance(
        (half or {}).get("loss_scaler", {}), Mapping
    ):
        raise DwtError(f"{path}: task_state.{KEY}: expected fp32 weights, got another thing")
    return weights


#: The sections of a checkpoint's cfg that are read here.
_SECTIONS = ("common", "model", "task")


def _reason(error: Exception) -> str:
    # torch's messages run over many lines; of a class that is not allowed the last names it
    named = re.search(r"Unsupported [^\n]*?(?= was not an allowed|\. |\n|$)", str(error))
    return named[0] if named else (str(error).splitlines() or [type(error).__name__])[0]


def _is_zip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


#: What is said of a checkpoint whose weights' true movement is not known.
ROUNDED = (
    "keeps no fp32 copies of its half-precision weights, so the rounded weights were counted, "
    "where a rounding alone can exceed σ; stage 1 run again gives the ticket that fp32 gives"
)


class Tuned:
    """A fine-tuned checkpoint, its tensors in the dtype that they were trained in.

    fairseq saves models trained in fp16 or bf16 as fp32; only in their own dtype can they be
    compared with θ0, which was rounded to it when the training began. Casting back is exact.

    Args:
        path: of the file.
        state: what :func:`load_checkpoint` read of it; read here where not given.

    Attributes:
        path: of the file.
        tensors: as :func:`model_tensors`, in ``dtype``.
        theta: the same as the optimizer stepped it: with the fp32 copies of half-precision weights,
            where the checkpoint keeps them.
        counts_rounded: whether θ is known as rounded weights only: half precision, and no copies.
        lm_head: as :func:`lm_head_tensors`, in ``dtype``.
        strange: names of tensors that no RoBERTa has.
        model_settings: of the model, by fairseq's names.
        dtype: in which the model was trained.
        saved_dtype: of the tensors in the file.
        settings: of the task, by fairseq's names.
        dataset_settings: of fairseq's ``dataset`` section.
        labels: label strings by class index, where the run recorded them; else None.
        sentences: of an example, 1 or 2, where the run recorded it; else None.
        num_updates: updates made; None where unknown.

    Raises:
        DwtError: the file cannot be read, or holds values that its precision does not have.
    """

    def __init__(self, path: str, state: Mapping[str, Any] | None = None):
        state = load_checkpoint(path) if state is None else state
        self.path = path
        self.model_settings = section(state, "model")
        self.strange = [name for name in state["model"] if not is_known(name)]
        tensors = model_tensors(state["model"])
        floating = [t.dtype for t in tensors.values() if t.is_floating_point()]
        self.saved_dtype = floating[0] if floating else torch.float32
        common = section(state, "common")
        self.dtype = self.saved_dtype
        if common.get("bf16"):
            self.dtype = torch.bfloat16
        elif common.get("fp16"):
            self.dtype = torch.float16
        self.tensors = {n: cast(path, n, tensor, self.dtype) for n, tensor in tensors.items()}
        half = (state.get("task_state") or {}).get(KEY)
        copies = model_tensors(fp32_weights(half, path))
        self.theta = {**self.tensors, **copies}
        self.counts_rounded = self.dtype in HALVES and not copies
        lm_head = lm_head_tensors(state["model"])
        self.lm_head = {n: cast(path, n, tensor, self.dtype) for n, tensor in lm_head.items()}
        self.settings = section(state, "task")
        self.dataset_settings = section(state, "dataset")
        self.sentences: int | None = (state.get("task_state") or {}).get("sentences")
        labels = (state.get("task_state") or {}).get("labels")
        self.labels = [str(label) for label in labels] if isinstance(labels, list) else None
        history = state.get("optimizer_history") or [{}]
        self.num_updates: int | None = history[-1].get("num_updates")


def cast(path: str, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of a checkpoint in the dtype that it was trained in (DwtError: it has others)."""
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor
    found = tensor.to(dtype)
    if not torch.equal(found.to(tensor.dtype).nan_to_num(), tensor.nan_to_num()):
        raise DwtError(
            f"{path}: {name}: expected values of {dtype}, in which its settings say it was "
            "trained, got others (averaged checkpoints?); name a checkpoint as trained"
        )
    return found


def section(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a checkpoint's settings; before Hydra all of them lay in one ``args``."""
    args = state.get("args")
    if args is not None:
        return args if isinstance(args, Mapping) else vars(args)
    section = (state.get("cfg") or {}).get(name) or {}
    return vars(section) if isinstance(section, argparse.Namespace) else section


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values (as fp32) of ``{canonical name: tensor}``; streamed."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


class Pretrained:
    """A pre-trained RoBERTa checkpoint file: θ0, the model's shape, its fingerprint.

    Args:
        path: of the file.
        state: what :func:`load_checkpoint` read of it; read here where not given.

    Attributes:
        path: absolute path of the file.
        tensors: ``{canonical name: tensor}``, dtypes as saved, on the CPU, mapped where possible.
        lm_head: as :func:`lm_head_tensors`.
        heads: tensors of classification heads that the file holds, by their plain names.
        settings: the model's settings by fairseq's names (see :data:`SIZES`, :data:`FUNCTION`).
        num_parameters: all pre-trained parameters, tied ones once, no classification head.

    Raises:
        DwtError: the file cannot be read or holds no RoBERTa.
    """

    def __init__(self, path: str, state: Mapping[str, Any] | None = None):
        self.path = os.path.abspath(path)
        state = load_checkpoint(self.path) if state is None else state
        tensors = model_tensors(state["model"])
        self.heads = {name: tensor for name, tensor in tensors.items() if is_head(name)}
        self.tensors = {
            name: tensor
            for name, tensor in tensors.items()
            # fairseq saves its code's version as if it were a weight
            if name not in self.heads and not name.endswith(".version")
        }
        self.matrices = ticket_matrices({n: t.shape for n, t in self.tensors.items()})
        if not self.matrices:
            raise DwtError(
                f"{self.path}: expected a RoBERTa (tensors named {ENCODER}layers.0.fc1.weight), "
                "found none; name a fairseq RoBERTa"
            )
        saved = section(state, "model")
        self.settings = settings_of(self.tensors, self.matrices, saved, self.path)
        self.lm_head = lm_head_tensors(state["model"])
        self.num_parameters = sum(t.numel() for t in self.tensors.values()) + sum(
            tensor.numel()
            for name, tensor in self.lm_head.items()
            # lm_head.weight is the token embedding, unless untied
            if not name.endswith("lm_head.weight") or saved.get("untie_weights_roberta")
        )
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of names, shapes and values of θ0 (computed once, streamed).

        Values are hashed as fp32, so that a file saved in fp16 and the same weights saved in fp32
        are the same model.
        """
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.tensors)
        return self._fingerprint
