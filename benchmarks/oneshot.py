"""Which score, at θ0, names the columns that L1 lets through? The study of docs/oneshot.md.

    python benchmarks/oneshot.py --init model.pt --data data-bin --l1 runs/dwt_*/*/ticket.json


For each task of the L1 tickets and each seed: one pass over the first train batches at θ0, in which
every score adds up its columns; then the same without dropout, with random labels, and after the
head was trained for some updates; for a model with an LM head, with the masked-LM loss on the text.
Each ranking is compared with each L1 ticket: mean over the matrices of the Jaccard similarity of
the top k. Prints tables in Markdown; ``--json`` keeps every number, ``--figures`` draws.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from oneshot_tables import compare, l1_pairs, tables
from torch import Tensor
from tqdm import tqdm

from fairseq_dwt import register
from fairseq_dwt.find.oneshot import ColumnScores, column_norms, rank
from fairseq_dwt.model.names import is_head
from fairseq_dwt.ticket import Origin, Ticket

ORIGIN = Origin("oneshot")
Sums = dict[str, Tensor]


def scores(l1_lambda: float) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """What can be said of a column from the input x (length, batch, in) and output gradient dy."""

    def with_one(x: Tensor) -> Tensor:
        return torch.cat([x.float(), x.new_ones(*x.shape[:-1], 1).float()], dim=-1)

    def count(x: Tensor, dy: Tensor) -> Tensor:
        dense = dy.flatten(0, 1).t() @ with_one(x).flatten(0, 1)
        return (dense.abs() > l1_lambda).sum(0).float() + 1e-9 * dense.abs().sum(0)

    def fisher(x: Tensor, dy: Tensor) -> Tensor:
        return torch.einsum("tbo,tbi->boi", dy, with_one(x)).square_().sum((0, 1))

    def times_input(x: Tensor, dy: Tensor) -> Tensor:
        return column_norms(x, dy).sqrt() * with_one(x).flatten(0, 1).norm(dim=0)

    def activation(x: Tensor, dy: Tensor) -> Tensor:
        return with_one(x).flatten(0, 1).square().sum(0)

    return {
        "gradient norm": column_norms,
        "count of g beyond λ": count,
        "Fisher, per sample": fisher,
        "gradient × input": times_input,
        "activation (forward only)": activation,
    }


class Subject:
    """A model at θ0 with a fresh head, and a task's train batches.

    Args:
        config: of the run, as ``full_mrpc``.
        settings: overrides.
        seed: of the head and the batches.
    """

    def __init__(self, config: str, settings: list[str], seed: int):
        from fairseq import tasks, utils

        from fairseq_dwt.run.at_theta0 import train_batches
        from fairseq_dwt.run.config import compose
        from fairseq_dwt.run.first_batches import start_at

        # padded: some scores are of each row by itself
        given = [f"task.cwd='{os.getcwd()}'", f"common.seed={seed}", "task.attention=sdpa"]
        cfg = compose(config, [*given, *settings])
        utils.set_torch_seed(seed)
        self.task = tasks.setup_task(cfg.task)
        self.model: Any = self.task.build_model(cfg.model)
        start_at(self.model, self.task.pretrained)
        self.model.load_state_dict(self.task.pretrained.lm_head, strict=False)
        self.criterion: Any = self.task.build_criterion(cfg.criterion)
        self.batches: Callable[[], Iterator[Any]] = lambda: train_batches(
            self.task, self.model, cfg
        )

    def loss(self, sample: Any) -> Tensor:
        """Mean loss of a batch."""
        total, size, _ = self.criterion(self.model, sample)
        return total / size

    def masked_lm(self, sample: Any) -> Tensor:
        """Mean masked-LM loss of the batch's text: 15 % of the tokens masked."""
        tokens = sample["net_input"]["src_tokens"]
        special = tokens < self.task.source_dictionary.nspecial
        generator = torch.Generator().manual_seed(int(tokens.sum()))
        chosen = (torch.rand(tokens.shape, generator=generator) < 0.15) & ~special
        masked = tokens.masked_fill(chosen, self.task.source_dictionary.index("<mask>"))
        logits, _ = self.model(masked, masked_tokens=chosen)
        return F.cross_entropy(logits, tokens[chosen])

    def train_head(self, updates: int) -> None:
        """Some updates of the head alone."""
        head = [p for name, p in self.model.named_parameters() if is_head(name)]
        optimizer = torch.optim.Adam(head, lr=1e-3)
        for _, sample in zip(range(updates), self.batches()):
            optimizer.zero_grad()
            self.loss(sample).backward()
            optimizer.step()
        self.model.zero_grad()

    def observe(
        self,
        score: Callable[[Tensor, Tensor], Tensor],
        number: int,
        loss: Callable[[Any], Tensor],
        shuffled_labels: bool = False,
    ) -> tuple[ColumnScores, dict[int, Sums]]:
        """Sums after 1, 2, 4, … batches."""
        snapshots: dict[int, Sums] = {}
        generator = torch.Generator().manual_seed(0)
        with ColumnScores(self.model, score) as watched:
            for seen, sample in zip(range(1, number + 1), self.batches()):
                if shuffled_labels:
                    order = torch.randperm(len(sample["target"]), generator=generator)
                    sample["target"] = sample["target"][order]
                watched.backward(loss(sample))
                if seen & (seen - 1) == 0:
                    snapshots[seen] = dict(watched.sums)
        return watched, snapshots


def rankings(subject: Subject, number: int, warm_up: int, l1_lambda: float) -> dict[str, Ticket]:
    """Every score's ranking, by the score's name; "gradient norm, n" after n batches."""
    subject.model.train()
    named = scores(l1_lambda)
    everything, snapshots = subject.observe(
        lambda x, dy: torch.stack([score(x, dy) for score in named.values()]), number, subject.loss
    )
    shapes = {name: m.shape for name, m in everything.matrices.items()}
    found = {}
    for seen, sums in snapshots.items():
        for row, name in enumerate(named):
            ranking = rank({m: s[row] for m, s in sums.items()}, shapes, ORIGIN)
            found[f"{name}, {seen}"] = ranking
            if seen == max(snapshots):
                found[name] = ranking
    modules = dict(subject.model.named_modules())
    layers = {m.name: modules[layer] for layer, m in everything._layers.items()}
    norms = {
        name: torch.cat([layer.weight.norm(dim=0), layer.bias.norm().view(1)]).detach()
        for name, layer in layers.items()
    }
    found["weight norm (no data)"] = rank(norms, shapes, ORIGIN)

    def norm(name: str, **kind: Any) -> None:
        loss = kind.pop("loss", subject.loss)
        found[name] = subject.observe(column_norms, number, loss, **kind)[0].ticket(ORIGIN)

    norm("gradient norm, random labels", shuffled_labels=True)
    if subject.task.pretrained.lm_head:
        norm("gradient norm, masked LM (no task)", loss=subject.masked_lm)
    subject.model.eval()
    norm("gradient norm, without dropout")
    subject.model.train()
    subject.train_head(warm_up)
    norm(f"gradient norm, head after {warm_up} updates")
    return found


def time_ratio(config: str, settings: list[str], rounds: int) -> float:
    """Time of a one-shot batch in updates of stage 1, median of interleaved rounds."""
    from fairseq_dwt.find.l1 import InitDistance
    from fairseq_dwt.model.names import is_layer
    from fairseq_dwt.model.roberta import canonical_name

    watched, trained = Subject(config, settings, 1), Subject(config, settings, 1)
    watched.model.train()
    trained.model.train()
    parameters = []
    for name, parameter in trained.model.named_parameters():
        canonical = canonical_name(name)
        parameter.requires_grad_(is_head(name) or (canonical is not None and is_layer(canonical)))
        parameters += [parameter] if parameter.requires_grad else []
    distance = InitDistance(trained.task.pretrained.tensors, "θ0")
    optimizer = torch.optim.AdamW(parameters, lr=1e-9, fused=True)
    ratios = []
    with ColumnScores(watched.model) as scores:
        for _, sample in zip(range(rounds + 1), watched.batches()):
            start = time.perf_counter()
            scores.backward(watched.loss(sample))
            middle = time.perf_counter()
            optimizer.zero_grad()
            (trained.loss(sample) + 1e-3 * distance(trained.model)).backward()
            optimizer.step()
            ratios.append((middle - start) / (time.perf_counter() - middle))
    return statistics.median(ratios[1:])


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--init", required=True, help="pre-trained checkpoint")
    parser.add_argument("--data", required=True, help="data-bin, a folder for each task")
    parser.add_argument("--l1", nargs="+", required=True, help="tickets of stage 1")
    parser.add_argument("--tasks", nargs="+", help="tasks to look at [those of the L1 tickets]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--warm-up", type=int, default=20, help="updates of the head")
    parser.add_argument("--rounds", type=int, default=9, help="of the timing; 0 for none")
    parser.add_argument("--json", help="file for every number")
    parser.add_argument("--figures", help="folder for the figures")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    register()
    references = [(path, Ticket.load(path)) for path in args.l1]
    known = list(dict.fromkeys(str(ticket.origin.task) for _, ticket in references))
    tasks = args.tasks or known
    rows: list[dict[str, Any]] = []
    for task, seed in tqdm([(t, s) for t in tasks for s in args.seeds], unit="pass"):
        config = "full_" + task.lower().replace("-", "_")
        settings = [
            f"task.data={os.path.join(args.data, task)}",
            f"checkpoint.finetune_from_model={args.init}",
        ]
        l1_lambda = next(t.origin.l1_lambda for _, t in references) or 1e-3
        found = rankings(Subject(config, settings, seed), args.batches, args.warm_up, l1_lambda)
        for name, ticket in found.items():
            for path, reference in references:
                values = compare(ticket, reference)
                rows.append(
                    {"score": name, "task": task, "seed": seed, "l1": path}
                    | {"l1_task": reference.origin.task, **values}
                )
    result: dict[str, Any] = {"rows": rows, "l1": l1_pairs(references)}
    if args.rounds:
        result["time"] = {
            task: time_ratio(
                "full_" + task.lower().replace("-", "_"),
                [
                    f"task.data={os.path.join(args.data, task)}",
                    f"checkpoint.finetune_from_model={args.init}",
                ],
                args.rounds,
            )
            for task in tasks
        }
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file)
    print(tables(result, known))
    if args.figures:
        from oneshot_figures import draw_all

        for path in draw_all(result, args.figures):
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
