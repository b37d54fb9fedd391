"""What does a model lose without the dominant columns? Their inputs set to their means.

    python benchmarks/ablation.py --tuned RUN/checkpoint_best.pt --task SST-2 \
      --data data-bin/SST-2 --ticket ticket.json --draws 5 --json ablation.json
    python benchmarks/ablation.py --tuned moments/6000.pt --task MLM --data bin-all --ticket …

y = Wx + b with x_j held at its mean m_j over the dev set's tokens is y = W'x + b' with W'_j = 0
and b' = b + W_j m_j: an ablated model is a checkpoint, which ``fairseq-dwt evaluate`` scores, or,
a pre-trained model's loss of MLM in bits, ``fairseq-validate``.
Beside the ticket's columns as many random ones, drawn several times. The bias stays.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
from typing import Any

import torch
from adapt import call
from fairseq.data import data_utils
from machine import machine
from torch import Tensor
from tqdm import tqdm

from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.glue.suite import glue_task
from fairseq_dwt.model.anatomy import parameter_shapes, ticket_layers
from fairseq_dwt.serving.evaluate import evaluate
from fairseq_dwt.serving.model import load_roberta
from fairseq_dwt.ticket import Ticket

#: Tokens of a row, at most, in MLM.
LONGEST = 128


def means(checkpoint: str, data: str, rows: int) -> dict[str, Tensor]:
    """``{matrix name: mean of each input over tokens}`` of the first rows of the dev set."""
    model = load_roberta(Pretrained(checkpoint))
    sums: dict[str, tuple[Any, int]] = {}
    modules, hooks = dict(model.named_modules()), []
    for layer, matrix in ticket_layers(parameter_shapes(model)).items():

        def see(_module: Any, inputs: tuple[Tensor], name: str = matrix.name) -> None:
            total, number = sums.get(name, (0.0, 0))
            sums[name] = (total + inputs[0].double().sum(0), number + len(inputs[0]))

        hooks.append(modules[layer].register_forward_pre_hook(see))
    first = f"{data}/valid" if os.path.isfile(f"{data}/valid.idx") else f"{data}/input0/valid"
    text = [data_utils.load_indexed_dataset(first, None)]
    if os.path.isfile(f"{data}/input1/dict.txt"):
        text.append(data_utils.load_indexed_dataset(f"{data}/input1/valid", None))
    with torch.no_grad():
        for i in range(min(rows, len(text[0]))):
            row = [torch.tensor([0]), text[0][i].long()]
            row += [torch.tensor([2]), text[1][i].long()] if len(text) > 1 else []
            model(torch.cat(row)[None, :LONGEST], features_only=True)
    return {name: (total / number).float() for name, (total, number) in sums.items()}


def mlm(checkpoint: str, data: str) -> float:
    """Bits a masked token of the dev set, the same tokens masked every time."""
    given = ["--task", "masked_lm", "--criterion", "masked_lm", "--batch-size", "16", "--cpu"]
    given += ["--tokens-per-sample", str(LONGEST), "--sample-break-mode", "complete"]
    given += ["--skip-invalid-size-inputs-valid-test", "--log-format", "json"]
    said = call("fairseq-validate", data, "--path", checkpoint, *given)
    return float(re.findall(r'"valid_loss": "([\d.]+)"', said)[-1])


def score(args: argparse.Namespace, at_mean: dict[str, Tensor], ticket: Ticket | None) -> float:
    """The task's first metric, or the loss of MLM, of the checkpoint without some columns."""
    state = load_checkpoint(args.tuned)
    model = {name: tensor.clone() for name, tensor in state["model"].items()}
    for matrix in Pretrained(args.tuned, state).matrices:
        entry = None if ticket is None else ticket.matrices.get(matrix.name)
        columns = [c for c in (entry.columns if entry else ()) if c < matrix.in_features]
        weight, bias = model[matrix.weight], model[matrix.bias]
        bias += weight[:, columns] @ at_mean[matrix.name][columns]
        weight[:, columns] = 0
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ablated.pt"
        torch.save({**state, "model": model, "last_optimizer_state": None}, path)
        if args.task == "MLM":
            return mlm(path, args.data)
        found = evaluate(path, glue_task(args.task), args.data)
    return next(iter(found["valid"].values()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tuned", required=True, help="fine-tuned checkpoint, with its head")
    parser.add_argument("--task", required=True, help="a task of GLUE, or MLM")
    parser.add_argument("--data", required=True)
    parser.add_argument("--ticket", required=True)
    parser.add_argument("--draws", type=int, default=5, help="of random columns [%(default)s]")
    parser.add_argument("--rows", type=int, default=300, help="for the means [%(default)s]")
    parser.add_argument("--json", default="ablation.json")
    args = parser.parse_args()
    ticket, at_mean = Ticket.load(args.ticket), means(args.tuned, args.data, args.rows)
    matrices = Pretrained(args.tuned).matrices
    result: dict[str, Any] = {"machine": machine(), "task": args.task}
    result["intact"] = score(args, at_mean, None)
    for k in tqdm((1, 3), desc="k"):
        result[f"Dominant-{k}"] = score(args, at_mean, ticket.top(k))
        drawn = [
            random_columns(matrices, k, seed, ticket.origin, ticket)
            for seed in range(1, args.draws + 1)
        ]
        result[f"Random-{k}"] = [score(args, at_mean, one) for one in drawn]
    with open(args.json, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    for name, found in result.items():
        if isinstance(found, list):
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            print(f"{name}: {statistics.mean(found):.2f} ± {spread:.2f}")
        elif isinstance(found, float):
            print(f"{name}: {found:.2f}")


if __name__ == "__main__":
    main()
