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
from ..find.forward import find_forward
from ..find.oneshot import Settling, find_ticket
from ..glue.suite import task_of_folder
from ..model.anatomy import anatomy_of
from ..model.names import is_head
from ..model.roberta import canonical_name
from ..ticket import Ticket, origin_of
from ..ticket.columns import RANKED_COLUMNS
from . import folder
from .resume import checkpoint_to_resume

logger = logging.getLogger(__name__)

#: The words that ``optimizer.ticket`` takes for a ticket of the run's own first batches.
ONESHOT, FORWARD = "oneshot", "forward"
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
    with _of_config(cfg) as (task, model), at_theta0(task, model, "explain") as (loss, compute):
        layers, batches = anatomy_of(model).layers, train_batches(task, model, task.root)
        batches = on_batch(itertools.islice(batches, number))
        return look_at(model, layers, task.pretrained, loss, compute, batches)


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


@contextmanager
def at_theta0(
    task: Any, model: torch.nn.Module, word: str
) -> Iterator[tuple[Callable[[Any], torch.Tensor], Callable[[Any], Any]]]:
    """The model at θ0, in training mode, on a GPU where there is one.

    Yields the mean loss of a batch, and what runs the encoder on one.

    Random numbers that are drawn inside are not missing later.

    Raises:
        DwtError: fairseq's attention.
    """
    root = task.root
    if task.cfg.attention == "fairseq":
        raise DwtError(
            f"task.attention: {word} looks into the projection modules, around which fairseq's "
            "attention goes; leave it at packed"
        )
    _start_at(model, task.pretrained)
    gpu = torch.cuda.is_available() and not root.common.cpu
    device = torch.device("cuda" if gpu else "cpu")
    criterion: Any = task.build_criterion(root.criterion)

    def loss(sample: Any) -> torch.Tensor:
        sample = utils.apply_to_sample(lambda tensor: tensor.to(device), sample)
        total, size, _ = criterion(model, sample)
        return total / size

    def compute(sample: Any) -> None:
        # without a head, so that the last layer computes all tokens too
        model(sample["net_input"]["src_tokens"].to(device), features_only=True)

    training = model.training
    model.to(device).train()
    try:
        with torch.random.fork_rng():
            utils.set_torch_seed(root.common.seed)
            yield loss, compute
    finally:
        model.train(training).cpu()


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
    root = task.root
    origin = origin_of(
        word, task.pretrained, task=task_of_folder(task.cfg.data), seed=root.common.seed
    )
    with at_theta0(task, model, word) as (loss, compute):
        batches = on_batch(train_batches(task, model, root))
        given = (batches, origin, number, on_settling)
        if word == FORWARD:
            ticket, _ = find_forward(model, compute, *given, limit=ranked(k))
        else:
            ticket, _ = find_ticket(model, loss, *given, limit=ranked(k))
    return ticket


def ranked(k: int | None) -> int:
    """How many columns of a matrix a ticket must rank of which k are asked for."""
    return max(RANKED_COLUMNS, k or 0)


def _start_at(model: torch.nn.Module, pretrained: Pretrained) -> None:
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


def train_batches(task: Any, model: Any, root: DictConfig) -> Iterator[Any]:
    """The first epoch's batches, as fairseq's trainer makes them for one worker."""
    settings = root.dataset
    task.load_dataset(settings.train_subset, epoch=1, combine=True)  # as the trainer
    dataset = task.datasets.get(settings.train_subset)
    if dataset is None:
        raise DwtError(
            f"dataset.train_subset: expected batches of {settings.train_subset}, found none in "
            "task.data; check both"
        )
    batches = task.get_batch_iterator(
        dataset=dataset,
        max_tokens=settings.max_tokens,
        max_sentences=settings.batch_size,
        max_positions=utils.resolve_max_positions(
            task.max_positions(), model.max_positions(), settings.max_tokens
        ),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=settings.required_batch_size_multiple,
        seed=root.common.seed,
        epoch=1,
        disable_iterator_cache=True,
    )
    return iter(batches.next_epoch_itr(shuffle=settings.curriculum < 1))


def log_settling(settling: Settling) -> None:
    logger.info(
        f"ticket: {settling.batches} batches agree with half as many by "
        f"{settling.top1:.2f} (k = 1), {settling.top3:.2f} (k = 3)"
    )
