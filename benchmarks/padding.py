"""How many of the tokens that a training epoch computes are padding, with and without
``task.batch_by_length``.

    python benchmarks/padding.py data-bin/CoLA data-bin/MRPC … [--batch-size 16] [--lengths FILE]

Batches are made as fairseq makes them: of rows in a random order, or in about the
order of their length. Special tokens count as tokens; rows are cut to 512. Prints Markdown.
``--lengths`` writes how many rows there are of each length: benchmarks/lengths.json (GPT-2's BPE).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from typing import Any

import numpy as np
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from fairseq_dwt.run.batches import ByLength


def padded_share(dataset: object, batch_size: int) -> float:
    """Padding / all tokens of one epoch's batches."""
    order = dataset.ordered_indices()  # type: ignore[attr-defined]
    lengths = np.array([dataset.size(int(row)) for row in order])  # type: ignore[attr-defined]
    batches = [lengths[start : start + batch_size] for start in range(0, len(order), batch_size)]
    computed = sum(int(batch.max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / computed


def train_set(data: str) -> Any:
    """One task's training set as fairseq reads it."""
    config = SentencePredictionConfig(
        data=data, num_classes=2, init_token=0, separator_token=2, max_positions=512, seed=1,
        regression_target=os.path.isfile(os.path.join(data, "label", "train.label")),
        shorten_method="truncate",
    )  # fmt: skip
    task = SentencePredictionTask.setup_task(config)
    return task.load_dataset("train")


def shares(dataset: Any, batch_size: int) -> dict[str, float]:
    """Of one task's training set."""
    return {
        "random": padded_share(dataset, batch_size),
        "by length": padded_share(ByLength(dataset, 1), batch_size),
        "rows": len(dataset),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Padding of an epoch, in per cent of its tokens.")
    parser.add_argument("data", nargs="+", help="data-bin folders")
    parser.add_argument("--batch-size", type=int, default=16, help="[%(default)s]")
    parser.add_argument("--lengths", help="file to write {task: {length: rows}} into")
    args = parser.parse_args()
    lengths = {}
    print("| task | rows | padded, random batches | batches by length |")
    print("|---|---|---|---|")
    for data in args.data:
        dataset, name = train_set(data), os.path.basename(os.path.normpath(data))
        found = shares(dataset, args.batch_size)
        lengths[name] = Counter(sorted(int(dataset.size(row)) for row in range(len(dataset))))
        print(f"| {name} | {found['rows']:,} | {found['random']:.1%} | {found['by length']:.1%} |")
    if args.lengths:
        with open(args.lengths, "w", encoding="utf-8") as file:
            json.dump(lengths, file)


if __name__ == "__main__":
    main()
