"""What is compared: each row is a model of RoBERTa's shape with random weights, and its step.

Every row is what its users run: fairseq rows use fairseq's model, criterion arithmetic (sum of
losses, gradients divided by the sample size, gradient norm) and fairseq's ``adam`` unless the row
says otherwise; peft rows use a transformers RoBERTa with SDPA attention, AdamW and clipping as the
transformers Trainer has them. Dropout is 0.1 everywhere, in training mode. In half precision
fairseq rows step fp32 copies as fairseq's trainer does, flattened in fp16 on a GPU; peft rows run
under autocast, with a gradient scaler in fp16, as the Trainer has it.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from peft_rows import SIX, lora, shira
from shapes import PADDING, VOCABULARY, Row, Shape
from torch import Tensor, nn

from fairseq_dwt.train.halves import fp32_copies

HEAD = "sentence_classification_head"


def fairseq_roberta(shape: Shape) -> nn.Module:
    """fairseq's RoBERTa with a head of two classes; weights random."""
    from fairseq.models.roberta import RobertaModel

    class Dictionary(SimpleNamespace):
        def __len__(self) -> int:
            return VOCABULARY

        def pad(self) -> int:
            return PADDING

    args = argparse.Namespace(
        arch="roberta",
        encoder_layers=shape.layers,
        encoder_embed_dim=shape.width,
        encoder_ffn_embed_dim=shape.inner,
        encoder_attention_heads=shape.heads,
        max_positions=512,
        dropout=0.1,
        attention_dropout=0.1,
        pooler_dropout=0.1,
    )
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=Dictionary()))
    model.register_classification_head(HEAD, num_classes=2)
    return model.train()


def _fairseq_row(
    model: nn.Module,
    shape: Shape,
    fused: bool = False,
    extra: Any = None,
    flatten: bool = True,
    around_step: Callable[[Iterable[Tensor]], Any] = lambda parameters: contextlib.nullcontext(),
) -> Row:
    """A fairseq model and fairseq's arithmetic around a step.

    Args:
        model: cut down to what trains.
        shape: where and in what precision.
        fused: torch's fused AdamW in the place of fairseq's Adam.
        extra: what is added to the mean loss, times 1e-3; told the optimizer if it follows one.
        flatten: whether fp16 flattens its fp32 copies, as fairseq does on a GPU.
        around_step: a context for the optimizer's step on these parameters.
    """
    from fairseq.optim.fp16_optimizer import FP16Optimizer

    model.to(device=shape.device, dtype=shape.dtype)
    parameters: list[Any] = [p for p in model.parameters() if p.requires_grad]
    build = _fused_adam if fused else _fairseq_adam
    if shape.precision == "fp32":
        optimizer = inner = build(parameters)
    else:
        flatten = flatten and shape.precision == "fp16" and shape.device != "cpu"
        copies = FP16Optimizer.build_fp32_params(None, parameters, flatten=flatten)
        inner = build(list(copies.values()) if flatten else copies)
        optimizer = FP16Optimizer(_half_config(shape), parameters, inner, copies)
    stock_step = inner.step

    def step(*args: Any, **kwargs: Any) -> None:
        with around_step(inner.params):
            stock_step(*args, **kwargs)

    inner.step = step
    if hasattr(extra, "follow"):
        extra.follow(fp32_copies(optimizer))
    samples = 1

    def loss(tokens: Tensor, labels: Tensor) -> Tensor:
        nonlocal samples
        samples = len(labels)
        logits, _ = model(tokens, features_only=True, classification_head_name=HEAD)
        total = F.nll_loss(F.log_softmax(logits.float(), -1), labels, reduction="sum")
        return total if extra is None else total + samples * 1e-3 * extra(model)

    def update() -> None:
        optimizer.multiply_grads(1.0 / samples)
        with contextlib.suppress(OverflowError):  # fairseq's trainer skips the update
            optimizer.clip_grad_norm(0.0)
            optimizer.step()

    return Row(
        model, loss, update, optimizer.zero_grad, inner.optimizer, backward=optimizer.backward
    )


def _half_config(shape: Shape) -> Any:
    """What fairseq's half-precision optimizer asks of a config; scales as in configs/base.yaml."""
    common = SimpleNamespace(
        bf16=shape.precision == "bf16",
        fp16_init_scale=4,
        fp16_scale_window=128,
        fp16_scale_tolerance=0.0,
        threshold_loss_scale=1.0,
        min_loss_scale=1e-4,
    )
    return SimpleNamespace(common=common, optimizer=None)


def _fairseq_adam(parameters: list[Tensor]) -> Any:
    from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

    cfg = FairseqAdamConfig(adam_betas="(0.9, 0.98)", adam_eps=1e-6, weight_decay=0.1, lr=[1e-5])
    cfg.use_old_adam = True  # type: ignore[attr-defined]
    return FairseqAdam(cfg, parameters)


def _fused_adam(parameters: list[Tensor]) -> Any:
    """torch's fused AdamW behind fairseq's interface."""
    from fairseq.optim import FairseqOptimizer

    optimizer = FairseqOptimizer(None)
    optimizer._optimizer = torch.optim.AdamW(
        parameters, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1, fused=True
    )
    return optimizer


def full_as_shipped(shape: Shape) -> Row:
    """fairseq as it comes: its attention, its Adam."""
    return _fairseq_row(fairseq_roberta(shape), shape)


def lean(shape: Shape, packed: bool) -> nn.Module:
    """Our encoder: on real tokens, or on padded batches."""
    from fairseq_dwt.model.encoder import use_sdpa
    from fairseq_dwt.model.packed import use_packed

    model = fairseq_roberta(shape)
    (use_packed if packed else use_sdpa)(model)
    return model


def full(shape: Shape, packed: bool = False) -> Row:
    """Full fine-tuning with our attention and torch's fused AdamW."""
    model = lean(shape, packed)
    return _fairseq_row(model, shape, fused=True)


def stage_1(shape: Shape, packed: bool = False) -> Row:
    """Stage 1, the L1 distance from θ0: embeddings frozen; attention and Adam as ``full``."""
    from fairseq_dwt.find.l1 import InitDistance
    from fairseq_dwt.model.names import is_head, is_layer
    from fairseq_dwt.model.roberta import canonical_name

    model = lean(shape, packed)
    init = {}
    for name, parameter in model.named_parameters():
        canonical = canonical_name(name)
        layer = canonical is not None and is_layer(canonical)
        parameter.requires_grad_(layer or is_head(name))
        if canonical is not None and layer:
            init[canonical] = parameter.detach()
    distance = InitDistance(init, "θ0")
    row = _fairseq_row(model, shape, fused=True, extra=distance)
    with torch.no_grad():
        distance(model)
    row.constants = [init for _, _, init in distance.covered or []]
    return row


def one_shot(shape: Shape) -> Row:
    """A batch of a one-shot ticket: forward, backward, column norms; nothing is trained."""
    from fairseq_dwt.find.oneshot import ColumnScores

    model = lean(shape, packed=True).to(shape.device)
    ColumnScores(model).__enter__()

    def loss(tokens: Tensor, labels: Tensor) -> Tensor:
        logits, _ = model(tokens, features_only=True, classification_head_name=HEAD)
        return F.nll_loss(F.log_softmax(logits.float(), -1), labels)

    def nothing() -> None:
        pass

    return Row(model, loss, nothing, nothing, torch.optim.SGD([torch.zeros(1)], lr=1.0))


def evaluation(model: nn.Module) -> Row:
    """A batch without gradients, as a validation runs it."""
    model.eval()

    def loss(tokens: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            logits, _ = model(tokens, features_only=True, classification_head_name=HEAD)
        return F.nll_loss(F.log_softmax(logits.float(), -1), labels)

    def nothing(*_: Any) -> None:
        pass

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    return Row(model, loss, nothing, nothing, optimizer, backward=nothing)


def _ticket(model: nn.Module, k: int | float | None) -> Any:
    """k columns of each matrix, as a float a share of its entries, or None for the biases."""
    from fairseq_dwt.find.controls import bitfit, random_columns, random_elements
    from fairseq_dwt.model.names import ticket_matrices
    from fairseq_dwt.model.roberta import canonical_name
    from fairseq_dwt.ticket import Origin

    shapes = {canonical_name(n): p.shape for n, p in model.named_parameters()}
    matrices = ticket_matrices({n: s for n, s in shapes.items() if n})
    if k is None:
        return bitfit(matrices, Origin("bitfit"))
    if isinstance(k, float):
        return random_elements(matrices, 100 * k, 1, Origin("random"))
    return random_columns(matrices, k, 1, Origin("random"))


def _compact(shape: Shape, k: int | float | None, packed: bool = False) -> Row:
    from fairseq_dwt.train.compact import make_compact, write_back

    model = lean(shape, packed)
    make_compact(model, _ticket(model, k))
    row = _fairseq_row(model, shape)
    inner = row.update

    def update() -> None:
        inner()
        write_back(model)

    row.update = update
    return row


def _masked(shape: Shape, k: int) -> Row:
    from fairseq_dwt.train.masked import freeze_outside, frozen_entries_kept

    model = lean(shape, packed=False)
    freeze_outside(model, _ticket(model, k))

    def kept(parameters: Iterable[Tensor]) -> Any:
        # a copy keeps its parameter's mark
        parameters = list(parameters)
        return frozen_entries_kept(parameters, [p.param_group for p in parameters])  # type: ignore

    return _fairseq_row(model, shape, flatten=False, around_step=kept)


# -- Hugging Face peft -----------------------------------------------------------------------------

#: The rows, by the name that the tables show.
ROWS: dict[str, Callable[[Shape], Row]] = {
    "full, fairseq as shipped": full_as_shipped,
    "full, our attention, fused Adam": full,
    "stage 1 (L1), our attention, fused Adam": stage_1,
    "full, packed, fused Adam": lambda shape: full(shape, packed=True),
    "stage 1 (L1), packed, fused Adam": lambda shape: stage_1(shape, packed=True),
    "ticket k=1, packed": lambda shape: _compact(shape, 1, packed=True),
    "one-shot ticket, a batch": one_shot,
    "evaluation, fairseq as shipped": lambda shape: evaluation(fairseq_roberta(shape)),
    "evaluation, packed": lambda shape: evaluation(lean(shape, packed=True)),
    "ticket k=1, compact": lambda shape: _compact(shape, 1),
    "ticket k=3, compact": lambda shape: _compact(shape, 3),
    "ticket k=1, masked": lambda shape: _masked(shape, 1),
    "ticket k=3, masked": lambda shape: _masked(shape, 3),
    "BitFit, compact": lambda shape: _compact(shape, None),
    "Random-5 % of the entries, compact": lambda shape: _compact(shape, 0.05),
    "LoRA r=8, q and v (peft)": lambda shape: lora(shape, ["query", "value"]),
    "LoRA r=8, all six (peft)": lambda shape: lora(shape, SIX),
    "SHiRA, all six (peft)": shira,
}
