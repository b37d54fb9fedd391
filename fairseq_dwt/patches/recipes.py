"""Settings ``ticket.*`` of any recipe: fairseq-train's flags, and the trainer that reads them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from typing import Any

import fairseq.options
import fairseq_cli.train
from omegaconf import DictConfig

from ..recipe.settings import add_flags, add_section
from ..recipe.trainer import make_trainer, refuse_megatron

_add, _convert = (
    fairseq.options.add_checkpoint_args,
    fairseq_cli.train.convert_namespace_to_omegaconf,
)


def add_checkpoint_args(parser: ArgumentParser) -> _ArgumentGroup:
    """fairseq's, and ours."""
    add_flags(parser)
    group: _ArgumentGroup = _add(parser)
    return group


def convert(args: Namespace, **kwargs: Any) -> DictConfig:
    """fairseq's, with the section ``ticket`` where its flags were given."""
    return add_section(_convert(args, **kwargs), args)


def trainer(*args: Any) -> Any:
    """fairseq's own, or with ``ticket.*`` settings ours."""
    return make_trainer(*args)


def megatron_trainer(*args: Any) -> Any:
    """fairseq's own, but for a ticket (DwtError)."""
    return refuse_megatron(*args)
