"""Training inside a ticket at the ticket's cost: gradients, states and inputs of its columns alone.

Column j of W has the gradient dW[:, j] = dyᵀ x[:, j]. So a layer whose trained columns are S keeps
x[:, S] for the backward pass, not x, and trains one small tensor, W[:, S]. The whole W stays in
place, frozen and always current: the forward pass is one plain product, and after each step the
columns are written back into it (:func:`write_back`).

Contract
    :func:`make_compact` replaces the ticket's linear layers of a model in place. State dicts do not
    change: they hold ``weight`` and ``bias`` and no compact tensor, and loading one fills the
    compact tensors from it. Gradients equal those of :mod:`~fairseq_dwt.train.masked`.

Single entries (:class:`ElementLinear`) are not bought as cheaply: their gradient needs the whole
input and the product dyᵀx, of which the entries are then picked. What they save are the states,
fp32 copies, all-reduce and, but for one matrix at a time, the dense gradient.
"""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import DwtError
from ..model import products
from ..model.anatomy import Anatomy, anatomy_of
from ..ticket import AnyTicket
from ..ticket.part import Part
from .marks import mark_trained


class CompactLinear(nn.Module, abc.ABC):
    """A linear layer with W frozen and some of its entries trained in tensors of their own.

    Args:
        linear: the layer to replace; its ``weight`` and ``bias`` are taken over.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight.requires_grad_(False)

    @abc.abstractmethod
    def parts(self) -> dict[str, tuple[str, Part]]:
        """``{name of a compact tensor: (name of its whole, which part of it)}``."""

    def write_back(self) -> None:
        """Write the compact tensors into ``weight`` (and ``bias``)."""
        with torch.no_grad():
            for name, (whole, part) in self.parts().items():
                part.write(getattr(self, whole), getattr(self, name))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self.parts():
            del destination[prefix + name]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # The layer is loaded as if the file held its compact tensors too.
        for name, (whole, part) in self.parts().items():
            tensor = state_dict.get(prefix + whole)
            if tensor is not None and tensor.shape == part.shape:
                state_dict[prefix + name] = part.read(tensor)
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in self.parts():
            state_dict.pop(prefix + name, None)

    def extra_repr(self) -> str:
        """As :class:`torch.nn.Linear`, and what is trained."""
        sizes = ", ".join(f"{name}={tuple(getattr(self, name).shape)}" for name in self.parts())
        return f"in_features={self.in_features}, out_features={self.out_features}, {sizes}"


class ColumnLinear(CompactLinear):
    """y = x Wᵀ + b where only the columns W[:, S], and b if asked, are trained.

    Keeps for the backward pass x[..., S] of the input x.

    Args:
        linear: the layer to replace.
        columns: S, int64 (k,), ascending, in [0, in_features), k ≥ 1.
        train_bias: whether b is trained.

    Attributes:
        weight: W, (out_features, in_features), frozen; always current.
        columns: W[:, S], (out_features, k), trained.
        bias: b, (out_features,).
    """

    index: Tensor  # S

    def __init__(self, linear: nn.Linear, columns: Tensor, train_bias: bool):
        super().__init__(linear)
        self.register_buffer("index", columns.to(self.weight.device), persistent=False)
        self.columns = nn.Parameter(self.weight.detach().index_select(1, self.index))
        self.bias = linear.bias.requires_grad_(train_bias)

    def parts(self) -> dict[str, tuple[str, Part]]:
        """The columns of the weight."""
        return {"columns": ("weight", Part(tuple(self.weight.shape), columns=self.index))}

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) → (..., out_features)."""
        rows = x.reshape(-1, x.shape[-1])
        out = _ColumnLinear.apply(rows, self.weight, self.bias, self.columns, self.index)
        # a view made here, not inside: fairseq's attention scales queries in place
        return out.view(*x.shape[:-1], self.out_features)


class ElementLinear(CompactLinear):
    """y = x Wᵀ + b where single entries of W and b are trained.

    Keeps the whole input, and computes the dense gradient of W, one matrix at a time.

    Args:
        linear: the layer to replace.
        weight: which entries of W train; None if none.
        bias: which entries of b train; None if none.

    Attributes:
        weight_entries: trained entries of W, (number of them,), in row-major order; None if none.
        bias_entries: trained entries of b, likewise.
    """

    def __init__(self, linear: nn.Linear, weight: Part | None, bias: Part | None):
        super().__init__(linear)
        self.bias = linear.bias.requires_grad_(False)
        for whole, part in (("weight", weight), ("bias", bias)):
            name, parameter = f"{whole}_entries", getattr(self, whole).detach()
            if part is None:
                self.register_parameter(name, None)
                self.register_buffer(f"{name}_index", None, persistent=False)
                continue
            # int32: four bytes an entry instead of eight; no matrix has 2³¹ entries
            every = torch.arange(parameter.numel()) if part.entries is None else part.entries
            index = every.to(parameter.device, torch.int32)
            self.register_buffer(f"{name}_index", index, persistent=False)
            self.register_parameter(
                name, nn.Parameter(parameter.reshape(-1).index_select(0, index))
            )

    def parts(self) -> dict[str, tuple[str, Part]]:
        """The entries of the weight, and of the bias, where some train."""
        parts = {}
        for whole in ("weight", "bias"):
            index = getattr(self, f"{whole}_entries_index")
            if index is not None:
                shape = tuple(getattr(self, whole).shape)
                parts[f"{whole}_entries"] = (whole, Part(shape, entries=index))
        return parts

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) → (..., out_features)."""
        out = _ElementLinear.apply(
            x.reshape(-1, x.shape[-1]),
            self.weight,
            self.bias,
            self.weight_entries,
            self.bias_entries,
            self.weight_entries_index,
            self.bias_entries_index,
        )
        return out.view(*x.shape[:-1], self.out_features)


class _ColumnLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, index: Tensor
    ) -> Tensor:
        # index_select copies: a view would keep the whole input alive
        ctx.save_for_backward(weight, x.index_select(1, index))
        return products.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, selected = ctx.saved_tensors
        needs_x, _, needs_bias, _, _ = ctx.needs_input_grad
        grad_x = _times(grad, weight) if needs_x else None
        grad_bias = grad.sum(0) if needs_bias else None
        return grad_x, None, grad_bias, grad.t() @ selected.to(grad.dtype), None


class _ElementLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        weight_entries: Tensor | None,
        bias_entries: Tensor | None,
        weight_index: Tensor | None,
        bias_index: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(None if weight_index is None else x, weight, weight_index, bias_index)
        return products.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, weight_index, bias_index = ctx.saved_tensors
        grad_x = _times(grad, weight) if ctx.needs_input_grad[0] else None
        grad_weight = grad_bias = None
        if weight_index is not None:
            dense = products.times(grad.t(), x.to(grad.dtype))
            grad_weight = dense.view(-1).index_select(0, weight_index)
        if bias_index is not None:
            grad_bias = grad.sum(0).index_select(0, bias_index)
        return grad_x, None, None, grad_weight, grad_bias, None, None


def _times(grad: Tensor, weight: Tensor) -> Tensor:
    return products.times(grad, weight.to(grad.dtype))


def make_compact(model: nn.Module, ticket: AnyTicket, anatomy: Anatomy | None = None) -> int:
    """Leave only the ticket and the head of ``model`` trainable, compactly.

    Layers with trained columns become :class:`ColumnLinear`, those with single trained entries
    :class:`ElementLinear`; where only a bias trains, the layer stays and its weight is frozen.

    Args:
        model: with its head, before any wrapper; its attention calls its projection modules
            (:func:`~fairseq_dwt.model.encoder.use_sdpa`).
        ticket: fits the model (:meth:`Ticket.check_fits`).
        anatomy: of the model; by default a RoBERTa's.

    Returns:
        the number of the ticket's trained parameters, the head not counted.

    Raises:
        DwtError: a layer of the ticket is no plain linear layer.
    """
    modules = dict(model.named_modules())
    anatomy = anatomy or anatomy_of(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in anatomy.head)
    trained = 0
    for name, matrix in anatomy.layers.items():
        parent, _, last = name.rpartition(".")
        parts = ticket.parts([matrix])
        weight, bias = parts.get(matrix.weight), parts.get(matrix.bias)
        layer = _compact_layer(name, modules[name], weight, bias)
        setattr(modules[parent], last, layer)
        trained += sum(p.numel() for p in layer.parameters() if p.requires_grad)
    for parameter in model.parameters():
        if parameter.requires_grad:
            mark_trained(parameter)
    return trained


def _compact_layer(
    name: str, linear: nn.Module, weight: Part | None, bias: Part | None
) -> nn.Module:
    # fairseq's quantization noise is a hook
    if not products.is_plain_linear(linear) or linear.bias is None:
        hooked = bool(linear._forward_pre_hooks or linear._forward_hooks)
        raise DwtError(
            f"{name}: expected a plain linear layer with a bias, got {type(linear).__name__}"
            f"{' with hooks' if hooked else ''}; set optimizer.mode, ticket.mode of a recipe, to "
            "masked"
        )
    if weight is not None and weight.columns is not None:
        return ColumnLinear(linear, weight.columns, bias is not None)
    if weight is not None or (bias is not None and not bias.is_whole):
        return ElementLinear(linear, weight, bias)
    linear.bias.requires_grad_(bias is not None)
    return linear


def compact_layers(model: nn.Module) -> list[CompactLinear]:
    """The layers of ``model`` that :func:`make_compact` made."""
    return [module for module in model.modules() if isinstance(module, CompactLinear)]


def write_back(model: nn.Module) -> None:
    """Bring every W of ``model`` up to date; to be called after each optimizer step."""
    for layer in compact_layers(model):
        layer.write_back()
