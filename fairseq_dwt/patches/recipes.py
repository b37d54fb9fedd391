"""Settings ``ticket.*`` of any recipe: fairseq-train's flags, and the trainer that reads them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from typing import Any

import fairseq.options
import fairseq_cli.train
from omegaconf import DictConfig

from ..errors import DwtError
from ..recipe.settings import add_flags, add_section, take_settings
from ..recipe.trainer import make_trainer

_add, _convert, _megatron = (
    fairseq.options.add_checkpoint_args,
    fairseq_cli.train.convert_namespace_to_omegaconf,
    fairseq_cli.train.MegatronTrainer,
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
    if take_settings(args[0]) is not None:
        raise DwtError(
            "common.model_parallel_size: Megatron splits each matrix over workers, where no column "
            "of a ticket is whole; set it to 1"
        )
    return _megatron(*args)
