"""Shapes that are measured, batches of them, and what a row is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

VOCABULARY, PADDING = 50265, 1


@dataclass(frozen=True)
class Shape:
    """Sizes of the encoder and of a batch, RoBERTa-large's by default; where and how it computes.

    Attributes:
        length: tokens a row; 0 for rows of a task's real lengths, each batch padded to its longest.
        task: whose lengths (``lengths.json``).
        precision: ``fp32``, ``fp16`` or ``bf16``.
    """

    layers: int = 24
    width: int = 1024
    inner: int = 4096
    heads: int = 16
    batch: int = 16
    length: int = 64
    task: str = "MRPC"
    device: str = "cpu"
    precision: str = "fp32"

    @property
    def dtype(self) -> torch.dtype:
        return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision, torch.float32)


@dataclass
class Row:
    """A model and how it is trained.

    Attributes:
        model: in training mode.
        loss: its loss on a batch of (tokens, labels).
        update: from gradients to new weights.
        zero_grad: forgets the gradients.
        optimizer: the torch optimizer.
        constants: tensors that live as long as the model does, as θ0.
        backward: back-propagates a loss.
    """

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    update: Callable[[], None]
    zero_grad: Callable[[], None]
    optimizer: torch.optim.Optimizer
    constants: list[Tensor] = field(default_factory=list)
    backward: Callable[[Tensor], None] = torch.Tensor.backward

    def step(self, tokens: Tensor, labels: Tensor) -> None:
        """One training step."""
        from fairseq_dwt.model.products import products_in_fp32

        self.zero_grad()
        with products_in_fp32(self.model):
            self.backward(self.loss(tokens, labels))
        self.update()


# -- fairseq ---------------------------------------------------------------------------------------


def is_head(name: str) -> bool:
    """Whether a parameter is of the classification head, which all rows train."""
    return "classification_heads." in name or "classifier." in name


def batches(shape: Shape, number: int = 16) -> list[tuple[Tensor, Tensor]]:
    """Random tokens, int64 (batch, length), and labels (batch,); of real lengths, padded.

    Args:
        shape: of the batch; ``shape.length`` 0 draws rows of ``shape.task``'s lengths.
        number: of batches; one is enough where all are alike.
    """
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(number if shape.length == 0 else 1):
        lengths = torch.full((shape.batch,), shape.length)
        if shape.length == 0:
            lengths = real_lengths(shape.task)
            lengths = lengths[torch.randperm(len(lengths), generator=generator)[: shape.batch]]
        size = (shape.batch, int(lengths.max()))
        tokens = torch.randint(4, VOCABULARY, size, generator=generator)
        tokens[:, 0] = 0
        tokens[torch.arange(size[1]) >= lengths[:, None]] = PADDING
        labels = torch.randint(0, 2, (shape.batch,), generator=generator)
        made.append((tokens.to(shape.device), labels.to(shape.device)))
    return made


def real_lengths(task: str) -> Tensor:
    """Tokens of each training row of a GLUE task (``lengths.json``, made by padding.py), int64."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lengths.json")) as file:
        counts = json.load(file)[task]
    numbers = torch.tensor([[int(length), count] for length, count in counts.items()])
    return numbers[:, 0].repeat_interleave(numbers[:, 1])


def trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """The trained parameters, the head aside."""
    return ((n, p) for n, p in model.named_parameters() if p.requires_grad and not is_head(n))
