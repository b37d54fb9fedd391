"""The two stages of a run, of our GLUE tasks and of any recipe alike: what trains, what is kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from fairseq.distributed.utils import is_master
from omegaconf import DictConfig, open_dict
from torch import Tensor

from ..any_checkpoint import AnyPretrained
from ..checkpoint import Pretrained
from ..errors import DwtError
from ..find.by_name import check_options, open_ticket
from ..find.dominant import Movement, tensors_of
from ..find.methods import METHODS, slice_number
from ..model.anatomy import Anatomy, refuse_quant_noise
from ..patches.ema import average_inside
from ..ticket import AnyTicket, Ticket, origin_of
from ..ticket.columns import RANKED_COLUMNS
from ..train.compact import make_compact
from ..train.masked import freeze_outside, trained_parts
from ..train.moving import MovingSlice
from .first_batches import agreed_ticket
from .folder import ELEMENT_MASK, FOUND, SIGMA_MASK, SLICES, TICKET
from .resume import checkpoint_to_resume

logger = logging.getLogger(__name__)

#: More than this share of weights beyond σ is no ticket.
_MOST = 0.5


class Finding:
    """Stage 1: layers and head train, and the ticket of the weights goes beside the checkpoints.

    Args:
        root: fairseq's whole config.
        pretrained: θ0's file.
        anatomy: of the model.
        values: θ0, ``{canonical name: tensor}``.
        sigma: σ of equation 2.
        l1_lambda: the setting of λ, as the user calls it, for warnings.
        limit: columns kept a matrix.
        keep_mask: whether to write m_σ too.
    """

    def __init__(
        self,
        root: DictConfig,
        pretrained: Pretrained | AnyPretrained,
        anatomy: Anatomy,
        values: Mapping[str, Tensor],
        sigma: float,
        l1_lambda: str,
        limit: int = RANKED_COLUMNS,
        keep_mask: bool = False,
    ):
        self._root, self._pretrained = root, pretrained
        self._anatomy, self._values = anatomy, values
        self._sigma, self._setting = sigma, l1_lambda
        self._limit, self._keep_mask = limit, keep_mask
        self._written_at: int | None = None

    def begin(self, model: torch.nn.Module) -> None:
        """Train the parameters of transformer layers, and the head; embeddings are frozen."""
        refuse_quant_noise(model)
        trained = {*self._anatomy.covered, *self._anatomy.head}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        moving = sum(p.numel() for p in model.parameters() if p.requires_grad)
        logger.info(
            f"stage 1, fine-tuning with an L1 pull toward {self._pretrained.path}: {moving:,} "
            f"parameters of layers and head train; {len(self._anatomy.layers)} matrices"
        )

    def write_ticket(
        self,
        model: torch.nn.Module,
        copies: Mapping[Tensor, Tensor],
        updates: int | None,
        **known: Any,
    ) -> None:
        """The ticket of the weights as they stand (Algorithm 1); once an update.

        Args:
            model: without wrappers.
            copies: θ in half precision: the optimizer's fp32 copies, ``{parameter: copy}``.
            updates: that were made; None or 0 writes nothing.
            known: of the ticket's origin.
        """
        if not updates or updates == self._written_at:
            return
        self._written_at = updates
        if not is_master(self._root.distributed_training):
            return
        parameters = dict(model.named_parameters())
        theta = {
            canonical: copies.get(parameters[name], parameters[name].detach())
            for name, canonical in self._anatomy.covered.items()
        }
        dtype = next(iter(parameters.values())).dtype
        moved = Movement(
            self._pretrained.matrices,
            tensors_of(self._values, self._pretrained.path, dtype),
            tensors_of(theta, "the model"),
            self._sigma,
        )
        told = {**known, "sigma": self._sigma, "num_updates": updates}
        origin, folder = origin_of("dominant", self._pretrained, **told), self._folder
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, TICKET)
        moved.ticket(origin, self._limit).save(path)
        if self._keep_mask:
            moved.mask(origin).save(os.path.join(folder, SIGMA_MASK))
        logger.info(f"update {updates}: {moved.told(kinds=True)} → {os.path.abspath(path)}")
        self._warn(sum(moved.counts.values()))

    @property
    def _folder(self) -> str:
        return str(self._root.checkpoint.save_dir)

    def _warn(self, moved: int) -> None:
        share = moved / sum(m.num_parameters for m in self._pretrained.matrices)
        if share == 0:
            logger.warning(
                f"ticket: no weight moved further than σ = {self._sigma:g}, and the ticket is "
                f"empty: lower {self._setting}, which holds back gradients that are smaller"
            )
        if share > _MOST:
            logger.warning(
                f"ticket: {share:.0%} of the weights moved further than σ = {self._sigma:g}, which "
                f"is no skeleton: raise {self._setting}, or let the learning rate decay to 0"
            )


def ticket_of_run(
    word: str | None,
    root: DictConfig,
    pretrained: Pretrained | AnyPretrained,
    find: Callable[[], Ticket],
    k: int | None,
    seed: int | None,
    **options: Any,
) -> AnyTicket:
    """Stage 2's ticket, by what the user names it.

    Args:
        word: see :func:`~fairseq_dwt.find.by_name.open_ticket`; or the word of a method that looks
            at the run's own first batches.
        root: fairseq's whole config.
        pretrained: θ0's file.
        find: finds the ticket of the first batches.
        k: columns a matrix, at most; None takes all.
        seed: of what is drawn; None takes the run's.
        options: of the method.

    Raises:
        DwtError: an option that the method does not take; see
            :func:`~fairseq_dwt.find.by_name.open_ticket`.
    """
    check_options(word, options)
    if word in FOUND:
        return agreed_ticket(word, root, pretrained, find).top(k)
    seed = root.common.seed if seed is None else seed
    ticket = open_ticket(word, pretrained, k=k, seed=seed, **options)
    most = 0 if k is None else ticket.as_columns("k").k
    if k is not None and 0 < most < k and word not in METHODS:
        logger.warning(
            f"k: {word} has {most} columns a matrix at most, which all train, fewer than the "
            f"{k} that were asked for; a stage 1 with task.ranked_columns={k} ranks more"
        )
    return ticket


def train_inside(
    ticket: AnyTicket,
    root: DictConfig,
    pretrained: Pretrained | AnyPretrained,
    model: torch.nn.Module,
    anatomy: Anatomy,
    mode: str,
    of_criterion: int = 0,
) -> int:
    """Stage 2: leave the ticket and the head trainable, and tell the optimizer how much that is.

    Args:
        ticket: fits the model.
        root: fairseq's whole config, with optimizer ``dominant_ticket``.
        pretrained: θ0's file.
        model: before any wrapper.
        anatomy: of the model.
        mode: ``compact`` or ``masked``.
        of_criterion: parameters of the criterion, which train too.

    Returns:
        how many parameters train, the head among them.
    """
    refuse_quant_noise(model)
    if root.ema.store_ema:
        average_inside(model, trained_parts(model, ticket, anatomy))
    shapes = {name: p.numel() for name, p in model.named_parameters()}
    head = sum(shapes[name] for name in anatomy.head) + of_criterion
    cut_down = make_compact if mode == "compact" else freeze_outside
    trained = cut_down(model, ticket, anatomy)
    with open_dict(root):
        root.optimizer.trained_entries = trained + head
    say(f"ticket {ticket.origin.method}", pretrained, trained, head)
    return trained + head


def moving_slice(
    ticket: AnyTicket,
    root: DictConfig,
    pretrained: Pretrained | AnyPretrained,
    model: torch.nn.Module,
    anatomy: Anatomy,
    every: int | None,
) -> MovingSlice | None:
    """Of a model that trains inside the first slice; None where the ticket is another.

    Args:
        ticket, root, pretrained, model, anatomy: as for :func:`train_inside`, after it.
        every: updates between two moves.

    Raises:
        DwtError: a slice that does not move, another ticket that is to, or EMA.
    """
    method = ticket.origin.method
    if (method == "slice") != (every is not None):
        raise DwtError(
            f"move_every: expected a number of updates with the ticket slice, and none with "
            f"another, got {every} with {method}; set both or neither"
        )
    if every is None:
        return None
    if root.ema.store_ema:
        raise DwtError("move_every: expected no EMA, whose average is of fixed columns, got one")
    k, seed = ticket.as_columns(SLICES).k, ticket.origin.seed
    assert seed is not None
    path = os.path.join(root.checkpoint.save_dir, SLICES)
    resumes = checkpoint_to_resume(root) is not None and os.path.isfile(path)

    def draw(number: int) -> Ticket:
        return slice_number(pretrained, k, seed, number)

    earlier = Ticket.load(path) if resumes else None
    return MovingSlice(model, anatomy.layers, draw, every, earlier)


def keep_slices(root: DictConfig, moving: MovingSlice | None) -> None:
    """With each checkpoint, the columns that a moving slice has trained so far."""
    if moving is not None and is_master(root.distributed_training):
        os.makedirs(root.checkpoint.save_dir, exist_ok=True)
        moving.trained().save(os.path.join(root.checkpoint.save_dir, SLICES))


def keep_ticket(root: DictConfig, ticket: AnyTicket) -> None:
    """The ticket that a run trains inside of, beside its checkpoints; no other lies there."""
    if not is_master(root.distributed_training):
        return
    folder = root.checkpoint.save_dir
    os.makedirs(folder, exist_ok=True)
    name, other = (TICKET, ELEMENT_MASK) if ticket.unit == "columns" else (ELEMENT_MASK, TICKET)
    ticket.save(os.path.join(folder, name))
    if os.path.isfile(os.path.join(folder, other)):
        os.remove(os.path.join(folder, other))


def say(what: str, pretrained: Pretrained | AnyPretrained, trained: int, head: int) -> None:
    """What of the model trains: a line of the log, which reports read."""
    total = pretrained.num_parameters
    logger.info(
        f"{what}: {trained:,} of {total:,} pre-trained parameters train (sparsity "
        f"{trained / total:.4%}), and the head's {head:,}; θ0 is {pretrained.path}"
    )
