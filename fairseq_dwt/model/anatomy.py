"""Of a live model: its ticket matrices, its parameters' shapes, its classification heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DwtError
from .names import Matrix, is_head, is_layer, ticket_matrices
from .roberta import canonical_name


@dataclass(frozen=True)
class Anatomy:
    """What trains in a model, by the names that its modules and parameters have in it.

    Attributes:
        layers: the linear layers that are ticket matrices, ``{module name: matrix}``.
        head: parameters without a θ0, which train in every method and are never counted.
        covered: the pre-trained parameters of transformer layers, ``{name: canonical name}``: what
            stage 1 trains, and pulls toward θ0.
    """

    layers: Mapping[str, Matrix]
    head: frozenset[str]
    covered: Mapping[str, str]


def anatomy_of(model: nn.Module) -> Anatomy:
    """A fairseq RoBERTa's, wrappers' prefixes included: all of its encoder is pre-trained."""
    shapes = parameter_shapes(model)
    named = {name: canonical_name(name) for name in shapes}
    return Anatomy(
        layers=ticket_layers(shapes),
        head=frozenset(name for name in shapes if is_head(name)),
        covered={n: c for n, c in named.items() if c is not None and is_layer(c)},
    )


def parameter_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """The parameters of ``model`` as ``{name: shape}``."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def ticket_layers(shapes: Mapping[str, Sequence[int]]) -> dict[str, Matrix]:
    """The linear layers of a model that are ticket matrices, in the same order.

    Args:
        shapes: ``{parameter name in the model, wrappers' prefixes included: shape}``.

    Returns:
        ``{module name in the model: matrix}``.
    """
    named = {canonical_name(name): name for name in shapes}
    matrices = ticket_matrices({c: shapes[n] for c, n in named.items() if c is not None})
    return {named[m.weight][: -len(".weight")]: m for m in matrices}


def attention_of(layer: str, kind: str) -> str:
    """The attention module that is told which inputs of a linear layer are padding.

    Args:
        layer: the linear layer's module name.
        kind: of its matrix.
    """
    begin = layer.rsplit(".", 1 if kind in ("FC1", "FC2") else 2)[0]
    return f"{begin}.{'encoder_attn' if kind in ('XK', 'XV') else 'self_attn'}"


def heads_in(model: nn.Module) -> Any:
    """The classification heads of a fairseq RoBERTa, a torch ModuleDict by name."""
    return model.classification_heads


def padding_of(model: nn.Module) -> int:
    """The index of padding in a fairseq RoBERTa's batches."""
    return int(model.encoder.sentence_encoder.padding_idx)  # type: ignore[union-attr, arg-type]


def add_head(model: nn.Module, name: str, tensors: Mapping[str, Tensor], where: str) -> None:
    """Register a classification head of these tensors, on the model's device, in its dtype.

    Args:
        model: a fairseq RoBERTa.
        name: of the head.
        tensors: ``dense.weight`` (inner, embed_dim), ``dense.bias``, ``out_proj.weight`` (classes,
            inner), ``out_proj.bias``.
        where: what the error begins with.

    Raises:
        DwtError: the model's heads have other tensors; the model is as it was.
    """
    classes, inner = tensors["out_proj.weight"].shape
    model.register_classification_head(name, num_classes=classes, inner_dim=inner)  # type: ignore[operator]
    head, like = heads_in(model)[name], next(model.parameters())
    try:
        head.load_state_dict(dict(tensors))
    except RuntimeError:
        remove_head(model, name)
        raise DwtError(
            f"{where}: expected a model with plain classification heads, got one whose heads have "
            "other tensors (spectral_norm_classification_head?)"
        ) from None
    head.to(device=like.device, dtype=like.dtype).train(model.training)


def remove_head(model: nn.Module, name: str) -> None:
    """Remove a classification head."""
    del heads_in(model)[name]


def refuse_quant_noise(model: nn.Module) -> None:
    """Refuse fairseq's quantization noise (DwtError): it sets weights to zero for good."""
    for name, module in model.named_modules():
        if any("quant_noise" in hook.__module__ for hook in module._forward_pre_hooks.values()):
            raise DwtError(
                f"{name}: expected weights that only the optimizer changes, got quantization "
                "noise, which sets some to zero at every step; set model.quant_noise_pq "
                "(--quant-noise-pq) to 0"
            )


def require_input_grad(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook: gradients reach a layer although all below it is frozen."""
    x, *rest = inputs
    needs = torch.is_grad_enabled() and not x.requires_grad
    return (x.detach().requires_grad_() if needs else x, *rest)
