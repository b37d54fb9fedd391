"""How many of the tokens that a training epoch computes are padding, with and without
``task.batch_by_length``.

    python benchmarks/padding.py data-bin/CoLA data-bin/MRPC … [--batch-size 16]

Batches are made as fairseq makes them: of rows in a random order, or in about the
order of their length. Special tokens count as tokens; rows are cut to 512. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
from typing import Dict

import numpy as np
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from fairseq_dwt.tasks._batches import ByLength


def padded_share(dataset: object, batch_size: int) -> float:
    """Padding / all tokens of one epoch's batches."""
    order = dataset.ordered_indices()  # type: ignore[attr-defined]
    lengths = np.array([dataset.size(int(row)) for row in order])  # type: ignore[attr-defined]
    batches = [lengths[start : start + batch_size] for start in range(0, len(order), batch_size)]
    computed = sum(int(batch.max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / computed


def shares(data: str, batch_size: int) -> Dict[str, float]:
    """Of one task's training set."""
    config = SentencePredictionConfig(
        data=data, num_classes=2, init_token=0, separator_token=2, max_positions=512, seed=1,
        regression_target=os.path.isfile(os.path.join(data, "label", "train.label")),
        shorten_method="truncate",
    )  # fmt: skip
    task = SentencePredictionTask.setup_task(config)
    dataset = task.load_dataset("train")
    return {
        "random": padded_share(dataset, batch_size),
        "by length": padded_share(ByLength(dataset, 1), batch_size),
        "rows": len(dataset),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Padding of an epoch, in per cent of its tokens.")
    parser.add_argument("data", nargs="+", help="data-bin folders")
    parser.add_argument("--batch-size", type=int, default=16, help="[%(default)s]")
    args = parser.parse_args()
    print("| task | rows | padded, random batches | batches by length |")
    print("|---|---|---|---|")
    for data in args.data:
        found = shares(data, args.batch_size)
        name = os.path.basename(os.path.normpath(data))
        print(f"| {name} | {found['rows']:,} | {found['random']:.1%} | {found['by length']:.1%} |")


if __name__ == "__main__":
    main()
