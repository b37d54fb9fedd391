"""fairseq's trainer, of a recipe with ``ticket.*`` settings: it gets model, task and criterion of
any run before they are wrapped, cast and optimized."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.criterions import FairseqCriterion
from fairseq.distributed.utils import is_master
from fairseq.trainer import Trainer
from omegaconf import DictConfig, OmegaConf, open_dict

from ..criterions.l1_to_init import L1ToInit
from ..errors import DwtError
from ..find.l1 import InitDistance
from ..find.proximal import check_known, proximal_step
from ..model.through_modules import use_modules
from ..run.config import resolve_paths, users_folder
from ..run.folder import hold
from ..run.precision import refuse_sharding, settle_precision
from ..run.resume import check_precision, early_stopping_state, resume
from ..run.stages import (
    Finding,
    keep_slices,
    keep_ticket,
    moving_slice,
    ticket_of_run,
    train_inside,
)
from ..train import halves
from ..train.moving import MovingSlice
from .first_batches import find_in_batches
from .inside import (
    KEY,
    around,
    check_finished,
    check_folder,
    depend_on,
    hold_statistics,
    plain,
    step_and_write_back,
    with_name,
    without_ours,
)
from .settings import TicketSettings, take_settings
from .theta0 import Theta0, read

_SEPARATE, _ON_ALL = "fp16_no_flatten_grads", "load_checkpoint_on_all_dp_ranks"


def make_trainer(cfg: DictConfig, task: Any, model: Any, criterion: Any, *args: Any) -> Trainer:
    """fairseq's own trainer, or with ``ticket.*`` settings a :class:`TicketTrainer`."""
    resolve_paths(cfg, users_folder(), only="ticket")
    settings = take_settings(cfg)
    if settings is None:
        return Trainer(cfg, task, model, criterion, *args)
    return TicketTrainer(settings, cfg, task, model, criterion, *args)


class TicketTrainer(Trainer):  # type: ignore[misc]
    """Stage 1 or stage 2 of any recipe.

    Args:
        settings: ``ticket.*``.
        cfg, task, model, criterion: as fairseq built them from the recipe.

    Raises:
        DwtError: no file of θ0 or two, no ticket matrices, another model's ticket, another run's
            folder, sharded or quantized training.
    """

    def __init__(
        self,
        settings: TicketSettings,
        cfg: DictConfig,
        task: Any,
        model: torch.nn.Module,
        criterion: FairseqCriterion,
        *args: Any,
    ):
        self.settings, self._stage = settings, 1 if settings.file is None else 2
        self._finding: Finding | None = None
        self._clipped = 1.0
        _refuse_our_own(cfg)
        self._moving: MovingSlice | None = None
        if cfg.optimizer is None:
            raise DwtError("optimizer: expected one, got none; set it, as --optimizer adam")
        if getattr(cfg.optimizer, "_name", None) == "composite":
            raise DwtError(
                "optimizer: expected one optimizer for all of the model, got composite, whose "
                "groups and a ticket's marks use the same attribute; set another"
            )
        self._recipe = {
            "optimizer": cfg.optimizer,
            "common": {_SEPARATE: cfg.common[_SEPARATE]},
            "checkpoint": {_ON_ALL: cfg.checkpoint[_ON_ALL]},
        }
        if OmegaConf.is_config(cfg.optimizer):
            self._recipe["optimizer"] = plain(cfg.optimizer)
        with open_dict(cfg):
            if not OmegaConf.is_config(cfg.optimizer):
                cfg.optimizer = with_name(cfg.optimizer)
            optimizer = cfg.optimizer._name
            if settings.file is not None:
                # taken out: older OmegaConfs keep the class of what is replaced
                cfg["optimizer"] = around(cfg.pop("optimizer"), settings, cfg.optimization.lr)
            cfg.common[_SEPARATE] = True
        # fairseq's broadcast of the file to other workers fails with torch 2.6 and later
        cfg.checkpoint[_ON_ALL] = True
        if is_master(cfg.distributed_training) and not cfg.checkpoint.no_save:
            hold(cfg.checkpoint.save_dir)
        settle_precision(cfg)
        refuse_sharding(cfg)
        check_precision(cfg)
        self.theta0: Theta0 = read(model, cfg)
        self._now: dict[str, Any] = {
            "stage": self._stage,
            "base": self.theta0.pretrained.fingerprint,
            "optimizer": optimizer,
            "l1_lambda": settings.l1_lambda,
            "step": settings.step if self._stage == 1 else None,
            "move_every": settings.move_every,
        }
        check_folder(cfg, self._now)
        resume(cfg)
        check_finished(cfg)
        use_modules(model)
        hold_statistics(model, self.theta0.anatomy.head)
        if settings.file is None:
            criterion = self._stage_1(cfg, task, model, criterion)
        else:
            self._stage_2(cfg, task, model, criterion)
        criterion.register_forward_hook(functools.partial(depend_on, model))
        super().__init__(cfg, task, model, criterion, *args)

    # -- stage 1: find a ticket --------------------------------------------------------------------

    def _stage_1(self, cfg: DictConfig, task: Any, model: Any, criterion: Any) -> L1ToInit:
        theta0, settings = self.theta0, self.settings
        self._finding = Finding(
            cfg,
            theta0.pretrained,
            theta0.anatomy,
            theta0.values,
            settings.sigma,
            "ticket.l1_lambda",
        )
        self._finding.begin(model)
        path, covered = theta0.pretrained.path, theta0.anatomy.covered
        distance = InitDistance(theta0.values, path, covered, copy=False)
        pulls = settings.step == "subgradient"
        return L1ToInit.around(criterion, task, settings.l1_lambda or 0.0, distance, pulls)

    def _step_and_pull(self, step: Any, *args: Any, **kwargs: Any) -> None:
        """The optimizer's step, and the proximal one of what it stepped."""
        step(*args, **kwargs)
        copies = halves.stepped(self._optimizer)
        pairs = (
            (copies.get(parameter, parameter), init)
            for parameter, _, init in self.get_criterion().distance.covered
        )
        inner = _inner(self._optimizer).optimizer
        proximal_step(inner, pairs, self.settings.l1_lambda or 0.0, self._clipped)

    def _write_ticket(self) -> None:
        if self._finding is not None:
            copies, known = halves.fp32_copies(self.optimizer), self.settings.l1_lambda
            updates = self.get_num_updates()
            self._finding.write_ticket(self.get_model(), copies, updates, l1_lambda=known)

    # -- stage 2: train inside one -----------------------------------------------------------------

    def _stage_2(self, cfg: DictConfig, task: Any, model: torch.nn.Module, criterion: Any) -> None:
        settings, anatomy = self.settings, self.theta0.anatomy
        word = settings.file or ""
        self.theta0 = replace(self.theta0, values={})  # of stage 1 alone; as large as the model
        ticket = ticket_of_run(
            word,
            cfg,
            self.theta0.pretrained,
            lambda: find_in_batches(word, self.theta0, cfg, task, model, criterion, settings.k),
            k=settings.k,
            seed=settings.seed,
            like=settings.like,
            percent=settings.percent,
        )
        self._now["ticket"] = ticket.digest()
        check_folder(cfg, self._now)
        keep_ticket(cfg, ticket)
        own = sum(p.numel() for p in criterion.parameters() if p.requires_grad)
        pretrained, mode = self.theta0.pretrained, settings.mode
        if train_inside(ticket, cfg, pretrained, model, anatomy, mode, own) == 0:
            raise DwtError(
                f"ticket.file: {settings.file}: expected a ticket with columns, or a model with a "
                "head to train, got neither; lower ticket.l1_lambda in stage 1"
            )
        every = settings.move_every
        self._moving = moving_slice(ticket, cfg, pretrained, model, anatomy, every)
        step = functools.partial(step_and_write_back, task.optimizer_step, self._moving)
        task.optimizer_step = step

    # -- what fairseq calls ------------------------------------------------------------------------

    def _build_optimizer(self) -> None:
        super()._build_optimizer()
        if self.settings.l1_lambda is None:
            return
        self.get_criterion().distance.cover(self.get_model())
        self.get_criterion().follow(self._optimizer)
        if self.settings.step == "proximal":
            inner = _inner(self._optimizer)
            check_known(inner.optimizer)
            inner.step = functools.partial(self._step_and_pull, inner.step)

    def clip_grad_norm(self, clip_norm: float) -> Any:
        """As fairseq; by how much it clipped goes into the proximal step."""
        norm = super().clip_grad_norm(clip_norm)
        self._clipped = min(1.0, clip_norm / (float(norm) + 1e-6)) if clip_norm > 0 else 1.0
        return norm

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> Any:
        """As fairseq, and the fp32 copies of half precision."""
        extra = super().load_checkpoint(filename, *args, **kwargs)
        # of θ0's own file, perhaps a stage 1's, the rounded weights are θ0
        starts = os.path.abspath(filename) == self.theta0.pretrained.path
        if extra is not None and not starts and halves.stepped(self.optimizer):
            kept = checkpoint_utils.load_checkpoint_to_cpu(filename).get("task_state") or {}
            named = self.get_model().named_parameters()
            halves.load_state(kept.get(halves.KEY) or {}, self.optimizer, named)
        if self._moving is not None:
            self._moving.settle(self.get_num_updates())
        return extra

    def begin_valid_epoch(self, epoch: int) -> None:
        """Stage 1: write the ticket of the weights that are about to be validated."""
        self._write_ticket()
        super().begin_valid_epoch(epoch)

    def save_checkpoint(self, filename: str, extra_state: Any) -> Any:
        """As fairseq; stage 1's ticket of the same weights goes beside it."""
        self._write_ticket()
        return super().save_checkpoint(filename, extra_state)

    def state_dict(self) -> dict[str, Any]:
        """A checkpoint whose settings are the recipe's own: fairseq loads it without us."""
        keep_slices(self.cfg, self._moving)
        state: dict[str, Any] = super().state_dict()
        cfg = {name: without_ours(section) for name, section in state["cfg"].items()}
        cfg["optimizer"] = without_ours(self._recipe["optimizer"])
        cfg["common"].update(self._recipe["common"])
        if "fairseq_dwt" in str(cfg["common"]["user_dir"]):
            cfg["common"]["user_dir"] = self.settings.user_dir
        cfg["checkpoint"].update(self._recipe["checkpoint"])
        state["cfg"] = cfg
        state[KEY] = {
            "names": dict(self.theta0.names),
            "init": os.path.basename(self.theta0.pretrained.path),
            **self._now,
        }
        named = self.get_model().named_parameters()
        half = halves.state(self.optimizer, named, weights=self.settings.file is None)
        state["task_state"] = {**(state["task_state"] or {}), **early_stopping_state()}
        state["task_state"].pop(halves.KEY, None)
        if half:
            state["task_state"][halves.KEY] = half
        return state


def _refuse_our_own(cfg: DictConfig) -> None:
    """Refuse ``ticket.*`` on top of what is a stage already, by its optimizer or criterion."""
    for section, ours in (("optimizer", "dominant_ticket"), ("criterion", "l1_to_init")):
        if section in cfg and getattr(cfg[section], "_name", None) == ours:
            raise DwtError(
                f"ticket: expected a recipe of full fine-tuning, got {section} {ours}, which makes "
                "the run a stage already; name a config such as full_mrpc, or leave ticket.* out "
                f"and set {section}.*"
            )


def _inner(optimizer: Any) -> Any:
    """What steps the parameters, or their fp32 copies in half precision."""
    return getattr(optimizer, "fp32_optimizer", optimizer)
