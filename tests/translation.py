"""Small translation models."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture

from fairseq_dwt.model.names import ticket_matrices


def build(args):
    dictionary = Dictionary()
    for i in range(20):
        dictionary.add_symbol(f"w{i}")
    base_architecture(args)
    torch.manual_seed(0)
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return TransformerModel.build_model(args, task).train()


def translation(**more):
    """Encoder and decoder of different widths, so that keys and values of cross-attention are."""
    args = argparse.Namespace(
        encoder_layers=2,
        encoder_embed_dim=16,
        encoder_ffn_embed_dim=24,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_embed_dim=24,
        decoder_ffn_embed_dim=32,
        decoder_attention_heads=2,
        decoder_output_dim=24,
        dropout=0.0,
        **more,
    )
    return build(args).double()


def layers_of(model):
    """Its linear layers that are ticket matrices, ``{module name: matrix}``."""
    matrices = ticket_matrices({n: p.shape for n, p in model.named_parameters()})
    return {m.weight.removesuffix(".weight"): m for m in matrices}
