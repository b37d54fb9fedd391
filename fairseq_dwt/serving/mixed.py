"""Many tasks in one batch, over one frozen backbone.

Row b of a batch belongs to task t(b). Its layers compute

    y_b = W₀ x_b + b₀ + ΔW_t[:, S_t] x_b[S_t] + Δb_t

where ΔW_t and Δb_t are the task's columns and bias minus the base's. The one large product W₀ x is
shared by all rows; the rest reads and writes k numbers of the input and all of y.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..delta.delta import Delta
from ..errors import DwtError
from ..model.anatomy import add_head, heads_in, padding_of, remove_head, ticket_layers
from ..model.names import Matrix
from ..model.products import Linear, is_plain_linear, linear, products_in_fp32
from .attach import base_fingerprint, check_delta


class MixedTasks:
    """A RoBERTa that serves rows of many tasks in one forward pass.

    >>> mixed = MixedTasks(model)  # doctest: +SKIP
    >>> mixed.add("rte", Delta.load("rte.delta.safetensors"))  # doctest: +SKIP
    >>> mixed.add("cola", Delta.load("cola.delta.safetensors"))  # doctest: +SKIP
    >>> logits = mixed(tokens, ["rte", "cola", "rte"])  # doctest: +SKIP

    The model's ticket layers compute as above until :meth:`close`. Its weights are never written
    to, and its state dict stays as it is. Not for training, nor for a model with deltas attached:
    differences are taken from the weights that it holds when a task is added.

    Args:
        model: a fairseq RoBERTa in evaluation mode that holds the pre-trained weights, and whose
            attention calls its projection modules (:func:`~fairseq_dwt.model.encoder.use_sdpa`).
        base: as for :class:`~fairseq_dwt.serving.attach.DeltaHost`.
    """

    def __init__(self, model: nn.Module, base: str | None = None):
        self.model = model
        self.base = base_fingerprint(model) if base is None else base
        self._rows, self._padding = _Rows(), padding_of(model)
        self._tasks: list[str] = []
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self._layers: dict[str, _MixedLinear] = {}
        self._matrices: dict[str, Matrix] = ticket_layers(shapes)
        modules = dict(model.named_modules())
        for name in self._matrices:
            if not is_plain_linear(modules[name]):
                raise DwtError(
                    f"{name}: expected a plain linear layer, got {type(modules[name]).__name__}"
                )
        for name in self._matrices:
            self._layers[name] = _MixedLinear.of(modules[name], self._rows)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that it serves."""
        return list(self._tasks)

    def add(self, name: str, delta: Delta) -> None:
        """Serve a task.

        Args:
            name: of the task, as rows will name it.
            delta: of the task, of columns.

        Raises:
            DwtError: another base, a name in use, or a delta of single entries; nothing is changed.
        """
        check_delta(self.model, self.base, name, delta)
        if delta.ticket.unit == "elements":
            raise DwtError(
                f"{name}: expected a delta of columns, got one of single entries, which has no "
                "small product; merge it (fairseq-dwt apply) or attach it alone"
            )
        add_head(self.model, name, delta.head, name)
        parts = delta.parts
        for layer_name, matrix in self._matrices.items():
            weight = parts.get(matrix.weight)
            columns = None if weight is None else (weight.columns, delta.values[matrix.weight])
            self._layers[layer_name].add(columns, delta.values.get(matrix.bias))
        self._tasks.append(name)

    def remove(self, name: str) -> None:
        """Stop serving a task (DwtError if it is not served)."""
        self._check(name)
        for layer in self._layers.values():
            layer.remove(self._tasks.index(name))
        self._tasks.remove(name)
        remove_head(self.model, name)

    def buffers(self) -> list[Tensor]:
        """What it keeps beside the model's own weights: stacked columns, biases, heads."""
        stacked = [layer.stacked() for layer in self._layers.values()]
        heads = heads_in(self.model)
        own = [tensor for tensors in stacked for tensor in tensors if tensor is not None]
        return own + [p for name in self._tasks for p in heads[name].parameters()]

    def close(self) -> None:
        """Remove all tasks; the model's layers are plain ones again."""
        for name in self.tasks:
            self.remove(name)
        for layer in self._layers.values():
            layer.__class__ = Linear  # type: ignore[assignment]

    @torch.no_grad()
    def __call__(self, tokens: Tensor, tasks: Sequence[str]) -> list[Tensor]:
        """Logits of each row, by its own task.

        Args:
            tokens: int64 (batch, length), padded with the model's padding index.
            tasks: the task of each row, (batch,).

        Returns:
            for each row its logits, (classes of its task,).

        Raises:
            DwtError: an unknown task, or not one for each row.
        """
        if len(tasks) != len(tokens):
            raise DwtError(f"tasks: expected one for each of {len(tokens)} rows, got {len(tasks)}")
        for name in sorted(set(tasks)):
            self._check(name)
        if not len(tasks):
            return []
        numbers = torch.tensor([self._tasks.index(name) for name in tasks], device=tokens.device)
        self._rows.task, self._rows.layers_left = numbers, len(self._layers)
        row_of_token = tokens.ne(self._padding).nonzero()[:, 0]
        self._rows.of_token = numbers[row_of_token]
        try:
            with products_in_fp32(self.model):
                return self._logits(tokens, tasks)
        finally:
            self._rows.task = None

    def _logits(self, tokens: Tensor, tasks: Sequence[str]) -> list[Tensor]:
        features = self.model(tokens, features_only=True)[0]
        if self._rows.layers_left:
            raise DwtError(
                f"{self._rows.layers_left} of {len(self._layers)} layers were gone around, their "
                "deltas without effect; make the model's attention call its projection modules: "
                "fairseq_dwt.model.encoder.use_sdpa(model)"
            )
        heads = heads_in(self.model)
        logits: list[Tensor] = [features] * len(tasks)
        # the tasks are known here; a GPU need not be asked and waited for
        for name in sorted(set(tasks)):
            rows = [row for row, task in enumerate(tasks) if task == name]
            for row, output in zip(rows, heads[name](features[rows])):
                logits[row] = output
        return logits

    def _check(self, name: str) -> None:
        if name not in self._tasks:
            known = ", ".join(self._tasks) or "none"
            raise DwtError(f"{name}: expected one of the tasks served ({known}); add it first")


class _Rows:
    """The task of each row of the batch that is under way; layers that have not yet seen it."""

    task: Tensor | None = None
    of_token: Tensor | None = None
    layers_left = 0


class _MixedLinear(Linear):
    """A linear layer with a delta of its own for each row."""

    _rows: _Rows
    _columns: list[tuple[Tensor, Tensor] | None]
    _biases: list[Tensor | None]
    _stacked: tuple[Tensor, Tensor, Tensor | None] | None

    @classmethod
    def of(cls, layer: nn.Module, rows: _Rows) -> _MixedLinear:
        """``layer`` itself, made one."""
        # the class, not the object: parameters and their names stay
        layer.__class__ = cls
        assert isinstance(layer, cls)
        layer._rows, layer._columns, layer._biases, layer._stacked = rows, [], [], None
        return layer

    def add(self, columns: tuple[Tensor | None, Tensor] | None, bias: Tensor | None) -> None:
        """A task's columns, (k,) and (out_features, k), and bias, (out_features,)."""
        weight = self.weight
        if columns is None or columns[0] is None:
            self._columns.append(None)
        else:
            index = columns[0].to(weight.device)
            values = columns[1].to(weight.device, weight.dtype)
            self._columns.append((index, values - weight.index_select(1, index)))
        like = self.bias
        self._biases.append(None if bias is None else bias.to(like.device, like.dtype) - like)
        self._stacked = None

    def remove(self, number: int) -> None:
        """Forget a task."""
        del self._columns[number], self._biases[number]
        self._stacked = None

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features); of packed tokens, or (length, batch, …)."""
        y = linear(x, self.weight, self.bias)
        if self._rows.task is None:
            return y
        index, deltas, biases = self.stacked()
        task = self._rows.task if x.dim() == 3 else self._rows.of_token
        self._rows.layers_left -= 1
        # (batch, k), (batch, k, out_features); of packed tokens (tokens, …)
        columns, delta = index[task], deltas[task]
        selected = x.gather(-1, columns.expand(*x.shape[:-1], -1))
        for i in range(columns.shape[1]):
            y.addcmul_(selected[..., i : i + 1], delta[:, i])
        return y if biases is None else y.add_(biases[task])

    def stacked(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """All tasks' columns: index (tasks, k), deltas (tasks, k, out_features), zero past a task's
        own k; biases (tasks, out_features), None where no task has one. Made when first needed."""
        if self._stacked is None:
            self._stacked = self._stack()
        return self._stacked

    def _stack(self) -> tuple[Tensor, Tensor, Tensor | None]:
        weight = self.weight
        tasks, k = len(self._columns), max([len(c[0]) for c in self._columns if c] or [0])
        index = torch.zeros(tasks, k, dtype=torch.int64, device=weight.device)
        deltas = weight.new_zeros(tasks, k, weight.shape[0])
        for number, columns in enumerate(self._columns):
            if columns is not None:
                index[number, : len(columns[0])] = columns[0]
                deltas[number, : len(columns[0])] = columns[1].t()
        biases = None
        if any(bias is not None for bias in self._biases):
            zero = weight.new_zeros(weight.shape[0])
            biases = torch.stack([zero if bias is None else bias for bias in self._biases])
        return index, deltas, biases
