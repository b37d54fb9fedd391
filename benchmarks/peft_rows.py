"""Rows of peft: a transformers RoBERTa with LoRA or SHiRA, trained as the Trainer does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from shapes import PADDING, VOCABULARY, Row, Shape
from torch import Tensor, nn

SIX = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


def _peft(shape: Shape, config: Callable[[Any], Any]) -> Row:
    import peft
    from transformers import RobertaConfig, RobertaForSequenceClassification

    settings: dict[str, Any] = dict(num_labels=2, attn_implementation="sdpa")
    base = RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=VOCABULARY,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.inner,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            **settings,
        )
    )
    model = peft.get_peft_model(base, config(peft)).train().to(shape.device)
    half = shape.precision != "fp32"
    scaler = torch.amp.GradScaler(shape.device, enabled=shape.precision == "fp16")
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def loss(tokens: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(shape.device, shape.dtype, enabled=half):
            return model(input_ids=tokens, attention_mask=tokens != PADDING, labels=labels).loss

    def backward(loss: Tensor) -> None:
        scaler.scale(loss).backward()

    def update() -> None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimizer)
        scaler.update()

    return Row(model, loss, update, optimizer.zero_grad, optimizer, backward=backward)


def lora(shape: Shape, targets: list[str]) -> Row:
    """LoRA of rank 8."""

    def config(peft: Any) -> Any:
        return peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=targets)

    return _peft(shape, config)


def shira(shape: Shape) -> Row:
    """SHiRA with as many random entries a matrix as LoRA of rank 8 has parameters."""

    def config(peft: Any) -> Any:
        return peft.ShiraConfig(task_type="SEQ_CLS", r=8, target_modules=SIX, random_seed=1)

    return _peft(shape, config)
