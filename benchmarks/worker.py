"""One row in a process of its own: does a step when told to, and says what it took.

Reads commands from stdin, one a line, and answers each with a line of JSON: ``step`` or ``step N``
(seconds of wall and CPU time a step), ``memory`` (what a step keeps), ``peak`` (MiB, of a GPU's
memory where it computes there).
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from rows import ROWS
from shapes import Row, Shape, batches, trained

MEBI = 2**20


def memory(row: Row, tokens: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """MiB of what a step keeps; the peak is of the process so far."""
    own = {t.untyped_storage().data_ptr() for t in [*row.model.parameters(), *row.constants]}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sparse = tensor.layout == torch.sparse_coo
        for part in (tensor._indices(), tensor._values()) if sparse else (tensor,):
            storage = part.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    row.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = row.loss(tokens, labels)
    activations = sum(kept.values())
    loss.backward()
    row.update()
    states = 0
    for _, parameter in trained(row.model):
        states += 0 if parameter.grad is None else _bytes(parameter.grad)
        moments = row.optimizer.state.get(parameter, {}).values()
        states += sum(_bytes(v) for v in moments if torch.is_tensor(v))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "task.pt")
        torch.save({n: p.detach() for n, p in trained(row.model)}, path)
        saved = os.path.getsize(path)
    return {
        "activations": activations / MEBI,
        "states": states / MEBI,
        "peak": peak("cpu"),
        "saved": saved / MEBI,
        "trained": sum(p.numel() for _, p in trained(row.model)),
    }


def peak(device: str) -> float:
    """MiB of the process so far, or of its GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / MEBI


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def main() -> None:
    name, shape, threads = sys.argv[1], Shape(**json.loads(sys.argv[2])), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    # what libraries print must not come between the answers
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    row = ROWS[name](shape)
    made = itertools.cycle(batches(shape))
    answer("ready")
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        if command == "memory":
            answer(memory(row, *next(made)))
        elif command == "peak":
            answer(peak(shape.device))
        else:
            answer(timed(row, made, int(number or 1), shape.device))


def timed(row: Row, made: Iterator[Any], number: int, device: str) -> dict[str, float]:
    """Seconds a step, over so many steps."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(number):
        row.step(*next(made))
    if device != "cpu":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall / number, "cpu": cpu / number}


if __name__ == "__main__":
    main()
