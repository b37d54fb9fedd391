"""LoRA of a ticket's size, by peft, for Table 2: the same data, schedule and epochs.

    python benchmarks/lora.py --hf FOLDER --data data-bin/MRPC --task MRPC --rate 1e-3 \\
      --out table2/runs/MRPC

FOLDER is the pre-trained model as ``fairseq-dwt export-hf`` writes it. Rank 2 of Q and V has about
as many parameters as a ticket of k = 1. Writes OUT/r2_lr0.001_seed1.lora.json, which table2.py
keeps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, data_utils
from tqdm import tqdm

from fairseq_dwt.files import replacing
from fairseq_dwt.glue.metrics import METRICS
from fairseq_dwt.glue.suite import glue_task
from fairseq_dwt.model.products import Linear
from fairseq_dwt.run.config import compose

BOS, PAD, EOS = 0, 1, 2
TARGETS = ["query", "value"]


def read(data: str, split: str, regression: bool) -> list[tuple[list[int], float]]:
    """The examples of a split: tokens as fairseq joins them, label."""
    sides = [data_utils.load_indexed_dataset(f"{data}/input0/{split}", None)]
    if os.path.isfile(f"{data}/input1/dict.txt"):
        sides.append(data_utils.load_indexed_dataset(f"{data}/input1/{split}", None))
    if regression:
        with open(f"{data}/label/{split}.label", encoding="utf-8") as file:
            labels = [float(line) for line in file]
    else:
        words = Dictionary.load(f"{data}/label/dict.txt")
        stored = data_utils.load_indexed_dataset(f"{data}/label/{split}", words)
        labels = [float(label[0]) - words.nspecial for label in stored]
    rows = []
    for i, label in enumerate(labels):
        tokens = [BOS, *sides[0][i].tolist()]
        for side in sides[1:]:
            tokens += [EOS, *side[i].tolist()]
        rows.append((tokens, label))
    return rows


def batch(rows: list[tuple[list[int], float]], regression: bool) -> dict[str, torch.Tensor]:
    """Examples, padded, as transformers takes them."""
    length = max(len(tokens) for tokens, _ in rows)
    ids = torch.tensor([tokens + [PAD] * (length - len(tokens)) for tokens, _ in rows])
    labels = torch.tensor([label for _, label in rows])
    kind = torch.float if regression else torch.long
    return {"input_ids": ids, "attention_mask": ids.ne(PAD).long(), "labels": labels.to(kind)}


def score(model: Any, rows: list[tuple[list[int], float]], metric: str, regression: bool) -> float:
    """The task's metric of a split, per cent."""
    model.eval()
    found: list[float] = []
    with torch.no_grad():
        for start in range(0, len(rows), 16):
            logits = model(**batch(rows[start : start + 16], regression)).logits
            found += (logits[:, 0] if regression else logits.argmax(1)).tolist()
    model.train()
    return 100 * METRICS[metric](np.array(found), np.array([label for _, label in rows]), 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hf", required=True, help="exported folder of the pre-trained model")
    parser.add_argument("--data", required=True, help="binarised data of the task")
    parser.add_argument("--task", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rank", type=int, default=2, help="of Q and V [%(default)s]")
    parser.add_argument("--updates", type=int, help="[the config's epochs]")
    args = parser.parse_args()
    path = f"{args.out}/r{args.rank}_lr{args.rate:g}_seed{args.seed}.lora.json"
    if os.path.isfile(path):
        return
    import peft
    from transformers import AutoModelForSequenceClassification

    task = glue_task(args.task)
    known = ["task.cwd=.", f"task.data={args.data}", "checkpoint.finetune_from_model=model.pt"]
    cfg = compose(f"full_{task.name}", known)
    regression = bool(cfg.task.regression_target)
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    base = AutoModelForSequenceClassification.from_pretrained(
        args.hf, num_labels=cfg.task.num_classes, dtype=torch.float32
    )
    kinds: dict[str, Any] = {"task_type": "SEQ_CLS", "target_modules": TARGETS}
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=args.rank, lora_alpha=2 * args.rank, **kinds)
    )
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Linear
    trained = [p for p in model.parameters() if p.requires_grad]
    size = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    rows, dev = (read(args.data, split, regression) for split in ("train", "valid"))
    size_of = cfg.dataset.batch_size
    epoch = -(-len(rows) // size_of)
    updates = args.updates or cfg.optimization.max_epoch * epoch
    often = args.updates // 3 if args.updates else epoch
    warm = max(1, round(0.06 * updates))
    adam = torch.optim.AdamW(trained, args.rate, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
    decay = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda n: min((n + 1) / warm, max(0.0, (updates - n) / (updates - warm)))
    )
    metric, validations, made = cfg.checkpoint.best_checkpoint_metric, [], 0
    order = (start for _ in range(updates) for start in range(0, len(rows), size_of))
    for start in tqdm(itertools.islice(order, updates), f"{args.task}, LoRA", updates):
        if start == 0:
            random.shuffle(rows)
        adam.zero_grad()
        model(**batch(rows[start : start + size_of], regression)).loss.backward()
        adam.step()
        decay.step()
        made += 1
        if made % often and made < updates:
            continue
        validations.append([float(made), score(model, dev, metric, regression)])
        scores = [found for _, found in validations]
        if len(scores) - 1 - scores.index(max(scores)) >= cfg.checkpoint.patience > 0:
            break
    facts = {
        "method": f"LoRA-{args.rank}",
        "task": args.task,
        "lr": args.rate,
        "seed": args.seed,
        "trained": size,
        "metric": metric,
        "best": max(scores),
        "from_predictions": False,
        "validations": [[update, round(found, 1)] for update, found in validations],
    }
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1)


if __name__ == "__main__":
    main()
