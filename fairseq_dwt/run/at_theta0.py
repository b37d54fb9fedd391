"""A run's model at θ0 and its first train batches: what finds a ticket of them looks at."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from fairseq import utils
from omegaconf import DictConfig

from ..errors import DwtError
from ..find.forward import find_forward
from ..find.oneshot import Settling, find_ticket
from ..model.names import Matrix
from ..ticket import Origin, Ticket
from ..ticket.columns import RANKED_COLUMNS

logger = logging.getLogger(__name__)

#: The word for a ticket of inputs alone; the other one, oneshot, is of gradients.
FORWARD = "forward"
#: Beyond any recipe's first updates.
_LATE = 2**31
#: The mean loss of a batch, what runs the model on one, and the batches.
Looking = tuple[Callable[[Any], torch.Tensor], Callable[[Any], Any], Iterator[Any]]


@contextmanager
def at_theta0(
    root: DictConfig, task: Any, model: torch.nn.Module, criterion: Any
) -> Iterator[Looking]:
    """A model at θ0 in training mode, on a GPU where there is one; nothing drawn is missing later.

    Yields the mean loss of a batch, what runs the model on one, and the first train batches.
    """
    gpu = torch.cuda.is_available() and not root.common.cpu
    device = torch.device("cuda" if gpu else "cpu")

    def loss(sample: Any) -> torch.Tensor:
        optimizer = _Losses()
        # the task's own step; what a recipe freezes for its first updates is looked at too
        _, size, _ = task.train_step(there(sample), model, criterion, optimizer, _LATE)
        return optimizer.total() / size

    def compute(sample: Any) -> None:
        drawn = np.random.get_state()
        # the model's own flag alone, by which a criterion decides whether to score
        model.training, model.train = True, lambda mode=True: model  # type: ignore[method-assign]
        try:
            with torch.random.fork_rng():
                task.train_step(there(sample), model, criterion, _Losses(), _LATE)
        finally:
            del model.train
            model.training = False
            np.random.set_state(drawn)

    def there(sample: Any) -> Any:
        return utils.apply_to_sample(lambda tensor: tensor.to(device), sample)

    training, drawn = model.training, np.random.get_state()
    model.to(device).train()
    criterion.to(device).train()
    try:
        with torch.random.fork_rng():
            utils.set_torch_seed(root.common.seed)
            yield loss, compute, (b for b in train_batches(task, model, root) if b)
    finally:
        if hasattr(model, "set_num_updates"):
            model.set_num_updates(0)  # type: ignore[operator]
        # what the run itself will load: some tasks fail where it is there already
        task.datasets.pop(root.dataset.train_subset, None)
        np.random.set_state(drawn)
        model.train(training).cpu()
        criterion.cpu()


def ticket_of(
    word: str,
    model: torch.nn.Module,
    looking: Looking,
    origin: Origin,
    k: int | None,
    number: int | None = None,
    on_batch: Callable[[Iterator[Any]], Iterator[Any]] = iter,
    on_settling: Callable[[Settling], None] = lambda settling: None,
    layers: Mapping[str, Matrix] | None = None,
) -> Ticket:
    """The ticket of a word, of what :func:`at_theta0` yields.

    Args:
        layers: the linear layers of the model's ticket matrices; by default a RoBERTa's.
    """
    loss, compute, batches = looking
    given = (on_batch(batches), origin, number, on_settling, layers, ranked(k))
    if word == FORWARD:
        return find_forward(model, compute, *given)[0]
    return find_ticket(model, loss, *given)[0]


def ranked(k: int | None) -> int:
    """How many columns of a matrix a ticket must rank of which k are asked for."""
    return max(RANKED_COLUMNS, k or 0)


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


class _Losses:
    """What a task takes for its optimizer: it keeps the losses, and steps nothing."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []

    def backward(self, loss: torch.Tensor) -> None:
        self._losses.append(loss)

    def total(self) -> torch.Tensor:
        return torch.stack(self._losses).sum()
