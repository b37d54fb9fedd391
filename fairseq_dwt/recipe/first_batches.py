"""A recipe's first train batches at θ0: for a ticket of them, and to explain one."""

from __future__ import annotations

import itertools
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils, tasks, utils
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..checkpoint import load_checkpoint
from ..errors import DwtError
from ..find.explain import Seen, look_at
from ..model.through_modules import use_modules
from ..run.at_theta0 import at_theta0, log_settling, ticket_of
from ..run.first_batches import OURS
from ..tasks.ticket_finetune import TicketFinetuneConfig
from ..ticket import Ticket, origin_of
from .inside import KEY, hold_statistics
from .theta0 import Theta0, read


def find_in_batches(
    word: str,
    theta0: Theta0,
    cfg: DictConfig,
    task: Any,
    model: torch.nn.Module,
    criterion: Any,
    k: int | None,
) -> Ticket:
    """The ticket of a run's first batches, in fp32; nothing drawn is missing later.

    Args:
        word: ``oneshot``, with the run's dropout, or ``forward``.
        theta0: of ``model``.
        cfg: fairseq's whole config.
        task, model, criterion: as fairseq built them; the model is at θ0.
        k: columns a matrix that are asked for.

    Raises:
        DwtError: too little data, or no finite gradients or inputs.
    """
    origin = origin_of(word, theta0.pretrained, seed=cfg.common.seed)
    layers = theta0.anatomy.layers
    with at_theta0(cfg, task, model, criterion) as looking:
        return ticket_of(word, model, looking, origin, k, None, iter, log_settling, layers)


def look_with_run(
    cfg: DictConfig, number: int, on_batch: Callable[[Iterator[Any]], Iterator[Any]] = iter
) -> Seen:
    """What the first batches of a recipe's run show of θ0.

    Args:
        cfg: of the run (:func:`settings_of`).
        number: of batches.
        on_batch: wraps the batches, for a progress bar.

    Raises:
        DwtError: see :func:`~fairseq_dwt.recipe.theta0.read`.
    """
    utils.import_user_module(cfg.common)
    np.random.seed(cfg.common.seed)
    utils.set_torch_seed(cfg.common.seed)
    task = tasks.setup_task(cfg.task)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    theta0 = read(model, cfg)
    use_modules(model)
    hold_statistics(model, theta0.anatomy.head)
    layers, pretrained = theta0.anatomy.layers, theta0.pretrained
    with at_theta0(cfg, task, model, criterion) as (loss, compute, batches):
        looked = on_batch(itertools.islice(batches, number))
        return look_at(model, layers, pretrained, loss, compute, looked)


def settings_of(checkpoint: str, overrides: list[str]) -> DictConfig:
    """The settings that a run keeps in its checkpoint.

    Args:
        checkpoint: of the run.
        overrides: other values, ``section.name=value``.

    Raises:
        DwtError: the file is no checkpoint of a run, or has no such setting.
    """
    told = load_checkpoint(checkpoint)  # which says what is wrong with a file
    try:
        cfg = checkpoint_utils.load_checkpoint_to_cpu(checkpoint)["cfg"]
        sections = {name: cfg[name] for name in ("task", "model", "criterion", "common")}
    except (LookupError, TypeError, ValueError, AttributeError, OmegaConfBaseException):
        sections = {"settings": None}
    lacking = [name for name, section in sections.items() if section is None]
    if lacking:
        raise DwtError(
            f"{checkpoint}: expected the checkpoint of a training run, which keeps its settings, "
            f"got one without its {lacking[0]}"
        )
    for override in overrides:
        _override(cfg, override)
    if "fairseq_dwt" in str(cfg.common.user_dir):
        cfg.common.user_dir = None  # this package, wherever it lay then
    if "w2v_args" in cfg.model:
        cfg.model.w2v_args = None  # with it wav2vec's build reads no θ0
    if KEY not in told and cfg.task._name == "sentence_prediction":
        _as_our_task(cfg)
    return cfg


def _override(cfg: DictConfig, override: str) -> None:
    name, equals, _ = override.partition("=")
    section, _, key = name.partition(".")
    node = cfg[section] if section in cfg else None
    known = vars(node) if isinstance(node, Namespace) else node
    refused = DwtError(
        f"{override}: expected section.name=value of a setting that the run has, such as "
        "task.data=data-bin, got another"
    )
    if not equals or known is None or key not in known:
        raise refused
    try:
        value = OmegaConf.from_dotlist([override])[section][key]
    except (YAMLError, OmegaConfBaseException):
        raise refused from None
    if isinstance(node, Namespace):
        setattr(node, key, value)
    else:
        with open_dict(cfg):
            OmegaConf.update(cfg, name, value)


def _as_our_task(cfg: DictConfig) -> None:
    """Our GLUE tasks save their runs under the name of fairseq's task."""
    ours = OmegaConf.create(dict(vars(TicketFinetuneConfig())))
    with open_dict(cfg):
        cfg.task = OmegaConf.merge(ours, cfg.task, {"_name": OURS[0], "cwd": os.getcwd()})
        if cfg.criterion._name == "l1_to_init":
            cfg.criterion = cfg.criterion.wrapped_criterion
