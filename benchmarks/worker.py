"""One row in a process of its own: does a step when told to, and says what it took.

Reads commands from stdin, one a line (``step``, ``memory``), and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from typing import Any, Dict

import torch
from rows import ROWS, Row, Shape, batch, trained

MEBI = 2**20


def memory(row: Row, tokens: torch.Tensor, labels: torch.Tensor) -> Dict[str, float]:
    """MiB of what a step keeps; the peak is of the process so far."""
    own = {t.untyped_storage().data_ptr() for t in [*row.model.parameters(), *row.constants]}
    kept: Dict[int, int] = {}

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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "activations": activations / MEBI,
        "states": states / MEBI,
        "peak": peak / MEBI,
        "saved": saved / MEBI,
        "trained": sum(p.numel() for _, p in trained(row.model)),
    }


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
    tokens, labels = batch(shape)
    answer("ready")
    for line in sys.stdin:
        if line.strip() == "memory":
            answer(memory(row, tokens, labels))
            continue
        start = time.perf_counter()
        row.step(tokens, labels)
        answer(time.perf_counter() - start)


if __name__ == "__main__":
    main()
