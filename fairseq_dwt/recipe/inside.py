"""What a recipe's stages need around the trainer: its folder, its ticket, its optimizer."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

import torch
from fairseq.distributed.utils import is_master
from omegaconf import DictConfig, OmegaConf

from ..checkpoint import load_checkpoint
from ..errors import DwtError
from ..optim.dominant_ticket import DominantTicketConfig
from ..run.folder import ELEMENT_MASK, TICKET, ticket_in
from ..run.resume import checkpoint_to_resume
from ..ticket import AnyTicket, load_ticket
from ..train.compact import write_back
from ..train.moving import MovingSlice
from .settings import TicketSettings

#: Where a checkpoint says which parameter is which of θ0's file.
KEY = "ticket"


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


def check_folder(cfg: DictConfig, key: str, stage: int, every: int | None = None) -> None:
    """Refuse to go on from another kind of run's checkpoint (DwtError).

    Args:
        cfg: fairseq's whole config.
        key: where a checkpoint says what its run was.
        stage: 1 or 2.
        every: updates between two moves of a slice.
    """
    path = checkpoint_to_resume(cfg)
    if path is None:
        return
    told = load_checkpoint(path).get(key)
    was = told.get("stage", stage) if isinstance(told, dict) else "no ticket run"
    if was != stage:
        got = was if told is None else f"stage {was}"
        raise DwtError(
            f"{path}: expected a checkpoint of stage {stage} to go on from, got one of {got}; "
            "choose another checkpoint.save_dir"
        )
    moved = told.get("move_every") if isinstance(told, dict) else None
    if moved != every:
        raise DwtError(
            f"{path}: expected ticket.move_every {moved} of the run whose checkpoints are here, "
            f"got {every}; choose another checkpoint.save_dir"
        )


def hold_statistics(model: torch.nn.Module, head: frozenset[str]) -> None:
    """Keep the running statistics of batch norms that are no head's: they would move with text."""
    for name, module in model.named_modules():
        ours = any(parameter.startswith(f"{name}.") for parameter in head)
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and not ours:
            module.register_forward_pre_hook(_hold)


def _hold(norm: torch.nn.Module, _inputs: Any) -> None:
    norm.eval()


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
        path = os.path.join(folder, TICKET if ticket.unit == "columns" else ELEMENT_MASK)
        ticket.save(path)
        if kept is not None and kept != path:
            os.remove(kept)  # an earlier run's, of the other kind


def depend_on(model: torch.nn.Module, criterion: Any, _inputs: Any, output: Any) -> Any:
    """A loss without a gradient, as where layerdrop skips every layer, has zero gradients."""
    loss, *rest = output
    if not criterion.training or not torch.is_grad_enabled() or loss.requires_grad:
        return None
    trained = (p for p in model.parameters() if p.requires_grad)
    return (loss + sum(p.flatten()[0] * 0 for p in trained), *rest)


def step_and_write_back(
    step: Any, moving: MovingSlice | None, optimizer: Any, model: Any, update_num: int
) -> None:
    """The task's step, and the weights of compact layers brought up to date."""
    step(optimizer, model, update_num)
    write_back(model)
    if moving is not None:
        moving.move(update_num + 1, optimizer)
