"""‖θ − θ0‖₁ and its subgradient, one parameter at a time (equation 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import DwtError
from ..model.anatomy import anatomy_of
from ..model.roberta import canonical_name

#: Entries that a CPU treats at a time: a megabyte in fp32 stays in the cache between operations.
_CHUNK = 2**18


class _L1Distance(torch.autograd.Function):
    """‖θ − θ0‖₁ in fp32, a function of the parameter that holds θ or, in half precision, θ rounded.

    Saves only θ and θ0, which live anyway: no dense temporary stays.
    """

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, theta: Tensor, init: Tensor) -> Tensor:
        ctx.save_for_backward(theta, init)
        parts = zip(_chunks(theta), _chunks(init))
        return torch.stack([(p - p0).abs_().sum(dtype=torch.float32) for p, p0 in parts]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        theta, init = ctx.saved_tensors
        sign = torch.empty_like(init)  # θ0 has the parameter's dtype, and so its gradient's
        for p, p0, out in zip(_chunks(theta), _chunks(init), _chunks(sign)):
            # in θ's dtype: a difference that fp16 rounds to 0 has a sign
            difference = torch.sub(p, p0, out=out) if p.dtype == out.dtype else p - p0
            # sign(0) = 0: a weight that has not moved is not pushed
            out.copy_(difference.sign_()).mul_(grad)
        return sign, None, None


def _chunks(tensor: Tensor) -> Sequence[Tensor]:
    """Views of a tensor, one after the other; on a GPU the whole of it."""
    flat = tensor.reshape(-1)
    return flat.split(_CHUNK) if tensor.device.type == "cpu" else [flat]


class InitDistance:
    """The L1 distance of a model's trained layer parameters from θ0.

    θ0 is held once, in each parameter's dtype and on its device. Covered are the parameters of
    transformer layers that require gradients: matrices, biases and layer norms; not embeddings,
    not the classification head, which has no θ0. In half precision θ is the fp32 copies that the
    optimizer steps, once :meth:`follow` has named them.

    Args:
        init: ``{canonical name: tensor}`` of the pre-trained file.
        where: the file's path, for errors.
        covered: the parameters that it covers, ``{name in the model: canonical name}``; by default
            those of a RoBERTa's layers.
        copy: whether a tensor that fits is copied, as one must be that lies in the file.
    """

    def __init__(
        self,
        init: Mapping[str, Tensor],
        where: str,
        covered: Mapping[str, str] | None = None,
        copy: bool = True,
    ):
        self._init, self._names, self._copy = init, covered, copy
        self._where = where
        self._copies: Mapping[Tensor, Tensor] = {}
        #: the covered parameters, each with its θ and its θ0
        self.covered: list[tuple[nn.Parameter, Tensor, Tensor]] | None = None

    def follow(self, copies: Mapping[Tensor, Tensor]) -> None:
        """Take θ from the fp32 copies of parameters (``halves.fp32_copies``)."""
        if self.covered is not None:
            self.covered = [(p, _theta(p, copies), p0) for p, _, p0 in self.covered]
        self._copies = copies

    def cover(self, model: nn.Module) -> None:
        """Find the covered parameters in ``model``; a task may compute with a part of it alone.

        Raises:
            DwtError: θ0 lacks a parameter of the model, or has it in another shape.
        """
        self.covered = [
            (p, _theta(p, self._copies), self._at_init(n, p))
            for n, p in _layer_parameters(model, self._names)
        ]

    def __call__(self, model: nn.Module) -> Tensor:
        """‖θ − θ0‖₁: fp32 scalar with gradient sign(θ − θ0).

        Args:
            model: where no other was covered.

        Raises:
            DwtError: as :meth:`cover`.
        """
        if self.covered is None:
            self.cover(model)
        if not self.covered:
            return torch.zeros(())
        return torch.stack([_L1Distance.apply(*of_one) for of_one in self.covered]).sum()

    def _at_init(self, name: str, parameter: nn.Parameter) -> Tensor:
        init = self._init.get(name)
        if init is None or init.shape != parameter.shape:
            found = "none" if init is None else f"shape {tuple(init.shape)}"
            raise DwtError(
                f"{self._where}: expected tensor {name} of shape {tuple(parameter.shape)} as in "
                f"the model, found {found}; name the file that the run starts from"
            )
        # In the parameter's dtype: an fp32 θ0 against an fp16 model would be rounding noise, and
        # the sign of noise trains.
        init = init.to(device=parameter.device, dtype=parameter.dtype, copy=self._copy)
        return init.contiguous()


def _theta(parameter: nn.Parameter, copies: Mapping[Tensor, Tensor]) -> Tensor:
    return copies.get(parameter, parameter.detach())


def _layer_parameters(
    model: nn.Module, covered: Mapping[str, str] | None
) -> Iterable[tuple[str, nn.Parameter]]:
    if covered is None:
        covered = anatomy_of(model).covered
    for name, parameter in model.named_parameters():
        # data parallel puts prefixes in front, one a wrapper
        while name not in covered and name.startswith("module."):
            name = name.removeprefix("module.")
        if name in covered and parameter.requires_grad:
            yield covered[name], parameter


def first_difference(model: nn.Module, init: Mapping[str, Tensor]) -> str | None:
    """The first tensor of θ0 that the model does not hold bit for bit (in its dtype), or None."""
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        canonical = canonical_name(name)
        if canonical is not None:
            state[canonical] = parameter.detach()
    for name, tensor in init.items():
        now = state.get(name)
        if now is None:
            continue  # an LM head or a buffer that this model lacks
        if now.shape != tensor.shape or not torch.equal(tensor.to(now.device, now.dtype), now):
            return name
    return None
