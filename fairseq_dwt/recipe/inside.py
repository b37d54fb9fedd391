"""What a recipe's stages need around the trainer: its folder, its ticket, its optimizer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch
from fairseq.optim import OPTIMIZER_REGISTRY
from omegaconf import DictConfig, OmegaConf

from ..checkpoint import load_checkpoint, mapping
from ..errors import DwtError
from ..optim.dominant_ticket import DominantTicketConfig
from ..run.folder import ticket_in
from ..run.resume import checkpoint_to_resume, has_finished
from ..run.wrapped import flags_of
from ..ticket import load_ticket
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


def with_name(optimizer: Namespace) -> DictConfig:
    """An older optimizer, a Namespace of all flags of the run, as a config of its own flags."""
    name = optimizer.optimizer
    own = vars(optimizer).keys() & {*flags_of(OPTIMIZER_REGISTRY[name]), "lr"}
    return OmegaConf.create({**{flag: getattr(optimizer, flag) for flag in own}, "_name": name})


def around(optimizer: Any, settings: TicketSettings, lr: Any) -> DictConfig:
    """The recipe's optimizer inside the ticket."""
    inner = {name: value for name, value in plain(optimizer).items() if name != "lr"}
    node = vars(DominantTicketConfig()) | {
        "_name": "dominant_ticket",
        "ticket": settings.file,
        "k": settings.k,
        "mode": settings.mode,
        "wrapped_optimizer": inner,
        "lr": list(lr),
    }
    return OmegaConf.create(node)


#: How an error calls what differs from the run whose checkpoints are in the folder.
_WORDS = {
    "base": "the pre-trained model",
    "optimizer": "the optimizer",
    "l1_lambda": "ticket.l1_lambda",
    "step": "ticket.step",
    "move_every": "ticket.move_every",
    "ticket": "the ticket",
}


def check_folder(cfg: DictConfig, now: Mapping[str, Any]) -> None:
    """Refuse to go on from another run's checkpoint (DwtError).

    Args:
        cfg: fairseq's whole config.
        now: what a checkpoint of this run says of it under :data:`KEY`.
    """
    path = checkpoint_to_resume(cfg)
    if path is None:
        return
    told = dict(mapping(load_checkpoint(path).get(KEY)) or {})
    was = told.get("stage")
    if was != now["stage"]:
        got = "no ticket run" if was is None else f"stage {was}"
        raise DwtError(
            f"{path}: expected a checkpoint of stage {now['stage']} to go on from, got one of "
            f"{got}; choose another checkpoint.save_dir"
        )
    kept = ticket_in(cfg.checkpoint.save_dir)
    if "base" not in told:  # begun before checkpoints kept it
        told.setdefault("move_every", None)
        if kept is not None and now["stage"] == 2:
            told["ticket"] = load_ticket(kept).digest()
    for name, word in _WORDS.items():
        if name in told and name in now and told[name] != now[name]:
            raise DwtError(
                f"{path}: expected {word} {told[name]} of the run whose checkpoints are here, got "
                f"{now[name]}; choose another checkpoint.save_dir, or remove that run"
            )


def check_finished(cfg: DictConfig) -> None:
    """Refuse a finished run's folder to another rate or seed, whose result it would pass for.

    Args:
        cfg: fairseq's whole config, which :func:`~fairseq_dwt.run.resume.resume` has seen.

    Raises:
        DwtError: one of them differs from the run's.
    """
    path = checkpoint_to_resume(cfg)
    if path is None or not has_finished(cfg):
        return
    trained = mapping(load_checkpoint(path).get("cfg")) or {}
    for section, name in (("optimization", "lr"), ("common", "seed")):
        told, given = plain(trained.get(section) or {}).get(name), plain(cfg[section])[name]
        if told is not None and told != given:
            raise DwtError(
                f"{path}: expected the run that has finished here, with {name} {told}, got {name} "
                f"{given}; choose another checkpoint.save_dir, or remove that run"
            )


def hold_statistics(model: torch.nn.Module, head: frozenset[str]) -> None:
    """Keep the running statistics of batch norms that are no head's: they would move with text."""
    for name, module in model.named_modules():
        ours = any(parameter.startswith(f"{name}.") for parameter in head)
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and not ours:
            module.register_forward_pre_hook(_hold)


def _hold(norm: torch.nn.Module, _inputs: Any) -> None:
    norm.eval()


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
