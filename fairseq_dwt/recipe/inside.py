"""What stage 2 of a recipe needs before the trainer: the ticket, and the optimizer inside it."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.distributed.utils import is_master
from omegaconf import DictConfig, OmegaConf

from ..errors import DwtError
from ..find.oneshot import find_ticket
from ..optim.dominant_ticket import DominantTicketConfig
from ..run.first_batches import ONESHOT, log_settling, train_batches
from ..run.folder import ELEMENT_MASK, TICKET, ticket_in
from ..run.resume import checkpoint_to_resume
from ..ticket import AnyTicket, Ticket, load_ticket, origin_of
from .settings import TicketSettings
from .theta0 import Theta0


def one_shot(
    theta0: Theta0, cfg: DictConfig, task: Any, model: torch.nn.Module, criterion: Any
) -> Ticket:
    """Of the run's first batches, in fp32, with its dropout; nothing drawn is missing later.

    Args:
        theta0: of ``model``.
        cfg: fairseq's whole config.
        task, model, criterion: as fairseq built them; the model is at θ0.

    Raises:
        DwtError: too little data, or no finite gradients.
    """
    gpu = torch.cuda.is_available() and not cfg.common.cpu
    device = torch.device("cuda" if gpu else "cpu")

    def loss(sample: Any) -> torch.Tensor:
        sample = utils.apply_to_sample(lambda tensor: tensor.to(device), sample)
        total, size, _ = criterion(model, sample)
        return total / size

    origin = origin_of(ONESHOT, theta0.pretrained, seed=cfg.common.seed)
    training, drawn = model.training, np.random.get_state()
    model.to(device).train()
    criterion.to(device).train()
    try:
        with torch.random.fork_rng():
            utils.set_torch_seed(cfg.common.seed)
            # what a recipe freezes for its first updates is looked at too
            _set_num_updates(model, 2**31)
            batches = (b for b in train_batches(task, model, cfg) if b)
            layers = theta0.anatomy.layers
            ticket, _ = find_ticket(model, loss, batches, origin, None, log_settling, layers)
    finally:
        _set_num_updates(model, 0)
        # what the run itself will load: some tasks fail where it is there already
        task.datasets.pop(cfg.dataset.train_subset, None)
        np.random.set_state(drawn)
        model.train(training).cpu()
        criterion.cpu()
    return ticket


def plain(section: Any) -> Any:
    """A section of fairseq's config as a dictionary."""
    if OmegaConf.is_config(section):
        return OmegaConf.to_container(section, resolve=True, enum_to_str=True)
    return section if isinstance(section, dict) else vars(section)


def without_ours(section: Any) -> Any:
    """A section of a checkpoint's settings without ``ticket_…``; an older one keeps all flags."""
    if not isinstance(section, Namespace):
        return dict(section) if isinstance(section, dict) else section
    told = {n: v for n, v in vars(section).items() if not n.startswith("ticket_")}
    if "user_dir" in told:
        told["user_dir"] = getattr(section, "ticket_user_dir", None)
    return Namespace(**told)


def with_name(optimizer: Any) -> DictConfig:
    """An older optimizer, a Namespace of all flags, as a config."""
    flags = {
        n: v
        for n, v in vars(optimizer).items()
        if isinstance(v, (str, int, float, list, type(None)))
    }
    return OmegaConf.create({**flags, "_name": optimizer.optimizer})


def around(optimizer: Any, settings: TicketSettings, lr: Any) -> DictConfig:
    """The recipe's optimizer inside the ticket."""
    inner = dict(plain(optimizer))
    if "optimizer" not in inner:  # the older ones look for it in their flags
        inner.pop("lr", None)
    node = vars(DominantTicketConfig()) | {
        "_name": "dominant_ticket",
        "ticket": settings.file,
        "k": settings.k,
        "mode": settings.mode,
        "wrapped_optimizer": inner,
        "lr": list(lr),
    }
    return OmegaConf.create(node)


def record(cfg: DictConfig, ticket: AnyTicket) -> None:
    """Keep the ticket beside the checkpoints; refuse those of a run inside another one."""
    folder = cfg.checkpoint.save_dir
    kept = ticket_in(folder)
    resumes = kept is not None and checkpoint_to_resume(cfg) is not None
    if resumes and load_ticket(str(kept)).digest() != ticket.digest():
        raise DwtError(
            f"{kept}: expected the ticket of the run whose checkpoints are here, got another; "
            "choose another checkpoint.save_dir, or remove that run"
        )
    if is_master(cfg.distributed_training):
        os.makedirs(folder, exist_ok=True)
        ticket.save(os.path.join(folder, TICKET if ticket.unit == "columns" else ELEMENT_MASK))


def _set_num_updates(model: Any, number: int) -> None:
    if hasattr(model, "set_num_updates"):
        model.set_num_updates(number)
