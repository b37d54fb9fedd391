"""Many tasks over one backbone: a mixed batch beside switching deltas and beside merged models.

    python benchmarks/mixed.py                    24 layers of RoBERTa-large, 64 rows of 64 tokens
    python benchmarks/mixed.py --layers 6 --tasks 1 16 --rounds 3

Rows belong to the tasks in turn. Three ways to serve them: all rows in one forward pass
(``MixedTasks``); task after task, its delta attached for its rows (``DeltaHost.switch``); task
after task, each with a merged model of its own. A round does every way once; times are in units of
one pass of all rows through the base alone, and so is one switch without a forward pass. Weights
and deltas are random; memory is that of the tensors that each way needs. Prints Markdown.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rows import HEAD, fairseq_roberta
from shapes import Shape, batches
from torch import Tensor, nn
from tqdm import tqdm

from fairseq_dwt.delta import Delta
from fairseq_dwt.delta.head import HEAD as HEAD_PARTS
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.model.anatomy import ticket_layers
from fairseq_dwt.model.encoder import use_sdpa
from fairseq_dwt.serving import DeltaHost, MixedTasks
from fairseq_dwt.ticket import Origin

BASE = "0" * 64
WAYS = ("mixed", "switching", "merged")
MEBI = 2**20


def model_of(shape: Shape) -> nn.Module:
    """A random RoBERTa in evaluation mode."""
    model = fairseq_roberta(shape)
    use_sdpa(model)
    del model.classification_heads[HEAD]  # type: ignore[operator, union-attr]
    return model.eval().requires_grad_(False)


def random_delta(model: nn.Module, k: int, seed: int, width: int) -> Delta:
    """k random columns of each matrix and a head of two classes, in fp32."""
    generator = torch.Generator().manual_seed(seed)
    matrices = list(ticket_layers({n: p.shape for n, p in model.named_parameters()}).values())
    ticket = random_columns(matrices, k, seed, Origin("random", base=BASE))
    shapes = dict(zip(HEAD_PARTS, [(width, width), (width,), (2, width), (2,)]))

    def values(size: Any) -> Tensor:
        return 0.02 * torch.randn(size, generator=generator)

    return Delta(
        ticket=ticket,
        values={n: values(part.values_shape) for n, part in ticket.parts(matrices).items()},
        head={name: values(size) for name, size in shapes.items()},
        labels=("a", "b"),
        settings={"classification_head_name": HEAD, "num_classes": 2},
        dtype=torch.float32,
        saved_dtype=torch.float32,
    )


def tensors_of(delta: Delta) -> list[Tensor]:
    return [*delta.values.values(), *delta.head.values()]


def mebibytes(tensors: list[Tensor]) -> float:
    """Of the storages behind ``tensors``, each once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values()) / MEBI


@torch.no_grad()
def measure(tasks: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times in units of the base's pass, one list per way, and MiB of each way."""
    shape = Shape(layers=arguments.layers, batch=arguments.batch, length=arguments.length)
    torch.manual_seed(1)
    base = model_of(shape)
    deltas = [random_delta(base, arguments.k, seed, shape.width) for seed in range(tasks)]
    names = [f"task{number}" for number in range(tasks)]
    ((tokens, _),) = batches(shape)
    rows = [names[row % tasks] for row in range(shape.batch)]
    of_task = [tokens[number::tasks] for number in range(tasks)]
    one = mebibytes(list(base.parameters()))

    def all_of_base() -> None:
        base(tokens, features_only=True)

    def switching() -> None:
        host = DeltaHost(base, BASE)
        for delta, its_tokens in zip(deltas, of_task):
            host.switch("task", delta)
            base(its_tokens, features_only=True, classification_head_name="task")
        host.detach("task")

    def one_switch() -> None:
        for delta in (deltas[0], deltas[-1]) * 5:
            host.switch("task", delta)

    def merged() -> None:
        # a merged model computes as the base does; its weights are elsewhere in memory
        for model, its_tokens in zip(models, of_task):
            model(its_tokens, features_only=True)

    copies = min(tasks, int(0.5 * free_mebibytes() / one))
    models = [base, *(model_of(shape) for _ in range(copies - 1))]
    models = [models[number % copies] for number in range(tasks)]
    mixed = MixedTasks(base, BASE)
    for name, delta in zip(names, deltas):
        mixed.add(name, delta)
    mixed(tokens, rows)
    served = mebibytes([*base.parameters(), *mixed.buffers()])
    mixed.close()

    host = DeltaHost(base, BASE)
    seconds: dict[str, list[float]] = {way: [] for way in (*WAYS, "one switch")}
    for turn in range(arguments.rounds + 1):
        unit = timed(all_of_base)
        taken = {"switching": timed(switching), "merged": timed(merged)}
        taken["one switch"] = timed(one_switch) / 10
        host.detach("task")
        mixed = MixedTasks(base, BASE)
        for name, delta in zip(names, deltas):
            mixed.add(name, delta)
        mixed(tokens[:1], rows[:1])  # stacks what was added
        taken["mixed"] = timed(functools.partial(mixed, tokens, rows))
        mixed.close()
        for way, duration in taken.items():
            if turn:  # the first round warms up
                seconds[way].append(duration / unit)
    kept = mebibytes([t for delta in deltas for t in tensors_of(delta)])
    return {**seconds, "MiB": {"mixed": served, "switching": one + kept, "merged": tasks * one}}


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def free_mebibytes() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MEBI


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("-k", type=int, default=1, help="columns per matrix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.layers} layers, {arguments.batch} rows of {arguments.length} tokens, k = "
        f"{arguments.k}, torch {torch.__version__}, fp32, {arguments.threads} threads, "
        f"{arguments.rounds} rounds\n"
    )
    timed_ways = (*WAYS, "one switch")
    print("| tasks | " + " | ".join(f"{way}, time" for way in timed_ways) + " | ", end="")
    print(" | ".join(f"{way}, MiB" for way in WAYS) + " |\n|" + "---:|" * 8)
    for tasks in tqdm(arguments.tasks, desc="tasks", unit="number"):
        measured = measure(tasks, arguments)
        times = [
            f"{statistics.median(measured[way]):.3f} "
            f"({min(measured[way]):.3f}–{max(measured[way]):.3f})"
            for way in timed_ways
        ]
        sizes = [f"{measured['MiB'][way]:,.0f}" for way in WAYS]
        print(f"| {tasks} | {' | '.join(times)} | {' | '.join(sizes)} |", flush=True)


if __name__ == "__main__":
    main()
