"""fairseq's first train batches at θ0, for a one-shot ticket or a forward one."""

import itertools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from fairseq import tasks, utils
from fairseq.distributed.utils import is_master
from omegaconf import DictConfig, OmegaConf, open_dict

from ..checkpoint import Pretrained
from ..errors import DwtError
from ..find.explain import Seen, look_at
from ..find.oneshot import Settling
from ..glue.suite import task_of_folder
from ..model.anatomy import anatomy_of
from ..model.names import is_head
from ..model.roberta import canonical_name
from ..ticket import Ticket, origin_of
from . import folder
from .at_theta0 import Looking, at_theta0, ticket_of
from .resume import checkpoint_to_resume

logger = logging.getLogger(__name__)

#: Our tasks, whose configs say all that a run needs.
OURS = ("ticket_finetune", "ticket_extract")


def agreed_ticket(
    word: str, root: DictConfig, pretrained: Any, find: Callable[[], Ticket]
) -> Ticket:
    """The ticket that the master finds, or of the run that it resumes; the same in all workers.

    Args:
        word: the method's.
        root: fairseq's whole config.
        pretrained: the file of θ0.
        find: finds the ticket.
    """
    path = os.path.join(root.checkpoint.save_dir, folder.FOUND[word])
    answer: list[str | None] = [None, None]
    if is_master(root.distributed_training):
        try:
            resumes = checkpoint_to_resume(root) is not None and os.path.isfile(path)
            found = Ticket.load(path) if resumes else find()
            found.check_fits(pretrained.matrices, pretrained.fingerprint, path)
            if not resumes:
                found.save(path)
            answer[0] = found.dumps()
        except (DwtError, OSError) as error:
            answer[1] = str(error)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        # the others wait here, and learn of an error too
        dist.broadcast_object_list(answer, src=0)
    text, failed = answer
    if text is None:
        raise DwtError(str(failed))
    return Ticket.loads(text, path)


def ticket_of_config(
    word: str,
    cfg: DictConfig,
    number: int | None = None,
    on_batch: Callable[[Iterator[Any]], Iterator[Any]] = iter,
    on_settling: Callable[[Settling], None] = lambda settling: None,
) -> Ticket:
    """The ticket that a run with this config would find, without the run.

    Args:
        word: the method's.
        cfg: fairseq's whole config (:func:`~fairseq_dwt.run.config.compose`); edited in place.
        number: as for :func:`find_in_batches`; so are ``on_batch`` and ``on_settling``.

    Raises:
        DwtError: the config's task is none of ours, or see :func:`find_in_batches`.
    """
    k = cfg.optimizer.k if "k" in cfg.optimizer else None
    with _of_config(cfg) as (task, model):
        return find_in_batches(word, task, model, number, on_batch, on_settling, k)


def look_with_config(
    cfg: DictConfig, number: int, on_batch: Callable[[Iterator[Any]], Iterator[Any]] = iter
) -> Seen:
    """What the first batches of a run with this config show of θ0.

    Args:
        cfg, on_batch: as for :func:`ticket_of_config`.
        number: of batches.

    Raises:
        DwtError: as :func:`ticket_of_config`.
    """
    with _of_config(cfg) as (task, model), _of_task(task, model, "explain") as looking:
        loss, compute, batches = looking
        looked = on_batch(itertools.islice(batches, number))
        return look_at(model, anatomy_of(model).layers, task.pretrained, loss, compute, looked)


@contextmanager
def _of_config(cfg: DictConfig) -> Iterator[tuple[Any, torch.nn.Module]]:
    """Task and model of a run that is not made."""
    if cfg.task.get("_name") not in OURS:
        raise DwtError(
            f"task._name: expected {' or '.join(OURS)}, got "
            f"{cfg.task.get('_name')}; name a config such as ticket_mrpc"
        )
    with open_dict(cfg), tempfile.TemporaryDirectory() as nowhere:
        # all of the model, and no run to resume
        cfg.optimizer = OmegaConf.create({"_name": "adam"})
        cfg.checkpoint.save_dir = nowhere
        utils.import_user_module(cfg.common)
        # as fairseq's training begins, for the same head and the same batches
        np.random.seed(cfg.common.seed)
        utils.set_torch_seed(cfg.common.seed)
        task = tasks.setup_task(cfg.task)
        yield task, task.build_model(cfg.model)


def find_in_batches(
    word: str,
    task: Any,
    model: torch.nn.Module,
    number: int | None = None,
    on_batch: Callable[[Iterator[Any]], Iterator[Any]] = iter,
    on_settling: Callable[[Settling], None] = lambda settling: None,
    k: int | None = None,
) -> Ticket:
    """The one-shot ticket, or the forward one, of the task's first train batches.

    The batches are those that a run of one worker begins with, in fp32. For a one-shot ticket with
    the run's dropout; the head is the one that the run starts with. On a GPU where there is one.
    Random numbers that are drawn here are not missing later.

    Args:
        word: the method's.
        task: a :class:`~fairseq_dwt.tasks._from_pretrained.FromPretrainedTask`.
        model: as the task built it; on the CPU; gets the values of θ0.
        number: of batches; None goes on until the ranking has settled.
        on_batch: wraps the batches, for a progress bar.
        on_settling: see :func:`~fairseq_dwt.find.oneshot.find_ticket`.
        k: columns a matrix that are asked for; fewer than 32 does not cut the ticket.

    Raises:
        DwtError: fairseq's attention, too little data, or no finite gradients.
    """
    origin = origin_of(
        word, task.pretrained, task=task_of_folder(task.cfg.data), seed=task.root.common.seed
    )
    with _of_task(task, model, word) as looking:
        return ticket_of(word, model, looking, origin, k, number, on_batch, on_settling)


@contextmanager
def _of_task(task: Any, model: torch.nn.Module, word: str) -> Iterator[Looking]:
    """:func:`at_theta0` of one of our tasks, whose model has not been given the file's weights."""
    if task.cfg.attention == "fairseq":
        raise DwtError(
            f"task.attention: {word} looks into the projection modules, around which fairseq's "
            "attention goes; leave it at packed"
        )
    start_at(model, task.pretrained)
    criterion = task.build_criterion(task.root.criterion)
    with at_theta0(task.root, task, model, criterion) as looking:
        yield looking


def start_at(model: torch.nn.Module, pretrained: Pretrained) -> None:
    """The weights that fairseq gives a run: θ0, and a head of the file's that fits the run's."""
    parameters = dict(model.named_parameters())
    values = {n: pretrained.tensors.get(canonical_name(n) or n) for n in parameters}
    of_run = {name for name in parameters if is_head(name)}
    for head in {".".join(name.split(".")[:2]) for name in of_run}:
        theirs = {n: pretrained.heads.get(n) for n in of_run if n.startswith(f"{head}.")}
        # as fairseq: all of a head or nothing
        if all(t is not None and t.shape == parameters[n].shape for n, t in theirs.items()):
            values.update(theirs)
    with torch.no_grad():
        for name, value in values.items():
            if value is not None:
                parameters[name].copy_(value)
