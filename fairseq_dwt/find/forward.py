"""Forward tickets: the columns whose inputs are largest, from weights and unlabeled text alone.

A weight that L1 lets through has a large gradient, and of dW = dyᵀ[x, 1] one factor is known
without a loss: the input. Where dy is much the same over a row's tokens, column j gets the row's
mean of x_j; where it is that of ``<s>`` alone, which the head reads, x_j there, of which massive
activations act as a bias. Of each matrix, rank the columns by

    s_j = rms over rows of (mean over the row's tokens of x_j) + rms over rows of (x_j at ``<s>``)

where ``<s>`` is each row's first token, and the bias is the column whose input is 1, s = 2. No loss
is looked at, and there is no backward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import DwtError
from ..model.anatomy import attention_of, parameter_shapes, ticket_layers
from ..model.names import Matrix
from ..model.packing import Packing
from ..ticket import Origin, Ticket
from ..ticket.columns import RANKED_COLUMNS
from .oneshot import Settling, rank, settle

Batch = TypeVar("Batch")


class InputSizes:
    """Adds up the squares of every matrix's inputs while ``model`` computes.

    Which tokens are real is what the attention of each layer is told; their inputs may be padded,
    (length, batch, in_features), or packed, (tokens, in_features).

    Args:
        model: of fairseq, in evaluation mode, whose attention calls its projection modules.
        layers: the linear layers of the model's ticket matrices; by default a RoBERTa's.

    Attributes:
        of_tokens: ``{matrix name: Σ x_j²}`` over real tokens, fp64 (in_features,), on the CPU.
        of_means: the same over rows, of each row's mean of x_j.
        of_first: the same over each row's first token.
        tokens, rows: ``{matrix name: how many}`` were added.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, Matrix] | None = None):
        self._model = model
        self._layers = ticket_layers(parameter_shapes(model)) if layers is None else layers
        self.matrices: dict[str, Matrix] = {m.name: m for m in self._layers.values()}
        widths = {name: m.in_features for name, m in self.matrices.items()}
        self.of_tokens, self.of_means, self.of_first = (
            {n: torch.zeros(w, dtype=torch.float64) for n, w in widths.items()} for _ in range(3)
        )
        self.tokens, self.rows = dict.fromkeys(widths, 0), dict.fromkeys(widths, 0)
        self._padding: dict[str, Any] = {}

    def __enter__(self) -> InputSizes:
        modules = dict(self._model.named_modules())
        attention = {layer: attention_of(layer, m.kind) for layer, m in self._layers.items()}
        for layer, name in attention.items():
            if name not in modules:
                raise DwtError(
                    f"{layer}: expected a layer with attention ({name}), which is told what is "
                    "padding, got one without; take a one-shot ticket"
                )
        self._hooks = [
            modules[name].register_forward_pre_hook(self._note(name), with_kwargs=True)
            for name in dict.fromkeys(attention.values())
        ]
        self._hooks += [
            module.register_forward_pre_hook(_read_all)
            for module in modules.values()
            if hasattr(module, "reads_first")  # a packed encoder
        ]
        self._hooks += [
            modules[layer].register_forward_pre_hook(self._hook(m.name, attention[layer]))
            for layer, m in self._layers.items()
        ]
        return self

    def __exit__(self, *exception: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def look(self, compute: Callable[[], Any]) -> None:
        """Have ``compute`` run the model on a batch; nothing of it is kept but the sums."""
        with torch.no_grad():
            compute()

    def _note(self, attention: str) -> Callable[..., None]:
        def see(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            positional = inputs[3] if len(inputs) > 3 else None
            self._padding[attention] = named.get("key_padding_mask", positional)

        return see

    def _hook(self, name: str, attention: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def see(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            x, padding = inputs[0].detach().float(), self._padding.get(attention)
            if isinstance(padding, Packing):
                lengths = padding.lengths
            else:
                x = x.transpose(0, 1)  # (batch, length, in_features)
                real = x.new_ones(x.shape[:2], dtype=torch.bool)
                if padding is not None:  # where keys are of more than the queries, these come last
                    real = ~padding[:, -x.shape[1] :].bool()
                x, lengths = x[real], real.sum(1)
            lengths = lengths[lengths > 0]
            firsts = x[lengths.cumsum(0) - lengths]
            row = torch.arange(len(lengths), device=x.device).repeat_interleave(lengths)
            means = x.new_zeros(firsts.shape).index_add_(0, row, x) / lengths[:, None]
            for sums, part in (
                (self.of_tokens, x),
                (self.of_means, means),
                (self.of_first, firsts),
            ):
                sums[name] += part.square().sum(0).double().cpu()
            self.tokens[name] += len(x)
            self.rows[name] += len(firsts)

        return see

    def rms(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Root mean squares of a matrix's inputs: over tokens, of rows' means, of first tokens.

        Returns:
            fp64 (in_features + 1,) each; the last is the bias, 1.

        Raises:
            DwtError: the matrix had no input.
        """
        one, rows = torch.ones(1, dtype=torch.float64), self.rows[name]
        if rows == 0:
            raise DwtError(
                f"matrix {name}: expected a model that calls its layers' modules, got one that "
                "computed a batch without this one"
            )
        of_tokens = (self.of_tokens[name] / self.tokens[name]).sqrt()
        of_means, of_first = ((s[name] / rows).sqrt() for s in (self.of_means, self.of_first))
        return torch.cat([of_tokens, one]), torch.cat([of_means, one]), torch.cat([of_first, one])

    def scores(self, name: str) -> Tensor:
        """s_j of a matrix's columns, fp64 (in_features + 1,)."""
        _, of_means, of_first = self.rms(name)
        return of_means + of_first

    def ticket(self, origin: Origin, limit: int = RANKED_COLUMNS) -> Ticket:
        """The columns of each matrix by s_j, descending; ties go to the lower index.

        Raises:
            DwtError: an input is not finite, or there was none.
        """
        scores = {name: self.scores(name) for name in self.matrices}
        return rank(scores, {n: m.shape for n, m in self.matrices.items()}, origin, limit)


def _read_all(encoder: Any, _inputs: Any) -> None:
    """Below a classification head too, the last layer computes more than first tokens."""
    encoder.reads_first = False


def find_forward(
    model: nn.Module,
    compute: Callable[[Batch], Any],
    batches: Iterable[Batch],
    origin: Origin,
    number: int | None = None,
    on_settling: Callable[[Settling], None] = lambda settling: None,
    layers: Mapping[str, Matrix] | None = None,
    limit: int = RANKED_COLUMNS,
) -> tuple[Ticket, list[Settling]]:
    """The forward ticket of ``model`` at θ0; computed without dropout.

    Args:
        model, layers: see :class:`InputSizes`.
        compute: runs the model on a batch.
        batches, origin, number, on_settling, limit: as for
            :func:`~fairseq_dwt.find.oneshot.find_ticket`, and so is what it returns.

    Raises:
        DwtError: there is no batch, fewer than ``number``, or an input is not finite.
    """
    training = model.training
    model.eval()
    try:
        with InputSizes(model, layers) as sizes:

            def look(batch: Batch) -> None:
                sizes.look(lambda: compute(batch))

            ticket_of = functools.partial(sizes.ticket, limit=limit)
            return settle(ticket_of, look, batches, origin, number, on_settling)
    finally:
        model.train(training)
